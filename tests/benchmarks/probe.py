"""What probing costs, as a multiple of the bare passes: eval mode, batch 8 at 224 pixels, one thread.

python -m tests.benchmarks.probe [resnet18 mobilenet_v3_large ...]
"""

from __future__ import annotations

import sys

import torch
from torch import nn

from reportgen.probe import gradients
from reportgen.probe.activations import ActivationProbe
from reportgen.probe.guard import untouched
from reportgen.subject.data import Batch
from reportgen.subject.model import load_model

from .pairs import ratio, show

MODELS = ["resnet18", "resnet50", "vit_b_16", "mobilenet_v3_large"]


def activations(model: nn.Module, x: torch.Tensor) -> None:
    """Compare one hooked forward pass with a bare one."""
    probe = ActivationProbe(model)

    def hooked() -> None:
        with torch.no_grad(), probe.attached():
            probe.next_batch(Batch((x,)))
            model(x)

    def bare() -> None:
        with torch.no_grad():
            model(x)

    show("  activations of all layers / forward", ratio(hooked, bare))


def backward(model: nn.Module, x: torch.Tensor) -> None:
    """Compare the measured forward and backward pass with a bare one."""
    y = torch.zeros(len(x), dtype=torch.long)
    loss, batch = nn.CrossEntropyLoss(), Batch((x,), {}, y)

    def measured() -> None:
        with untouched(model):
            gradients.measure(model, [batch], loss, "CrossEntropyLoss", {}, seed=0)

    def bare() -> None:
        model.train()
        model.zero_grad(set_to_none=True)
        loss(model(x), y).backward()
        model.zero_grad(set_to_none=True)
        model.eval()

    show("  gradients / forward and backward", ratio(measured, bare))


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = torch.randn(8, 3, 224, 224)
    for name in sys.argv[1:] or MODELS:
        print(name)
        model = load_model(f"torchvision:{name}").eval()
        activations(model, x)
        backward(model, x)


if __name__ == "__main__":
    main()
