"""What probing costs, as a multiple of the bare passes: eval mode, batch 8 at 224 pixels, one thread.

python -m tests.benchmarks.probe [resnet18 mobilenet_v3_large ...]

The guard that puts the model back is held around a whole report, so its price stands by itself; the most memory held
at once is counted operator by operator. Beside it, over the same batch, what others charge: TensorBoard's add_histogram
on every output, torchinfo, and torchlens where it is installed.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from importlib import import_module

import torch
import torchinfo
from torch import Tensor, nn

from reportgen.probe import gradients
from reportgen.probe.activations import ActivationProbe
from reportgen.probe.guard import untouched
from reportgen.probe.layers import layers_of, main_tensor
from reportgen.subject.data import Batch
from reportgen.subject.model import load_model

from ..test_probe_cost import peak
from .pairs import ratio, show

BATCHES = 4  # of one look at the activations: what is done once a report is shared by them
MODELS = ["resnet18", "resnet50", "vit_b_16", "mobilenet_v3_large"]


def bare_forward(model: nn.Module, x: Tensor, batches: int = 1) -> Callable[[], None]:
    def run() -> None:
        with torch.no_grad():
            for _ in range(batches):
                model(x)

    return run


def activations(model: nn.Module, x: Tensor) -> None:
    """Compare hooked forward passes, hooks put on and off around them, with bare ones."""
    probe = ActivationProbe(model)

    def hooked() -> None:
        with torch.no_grad(), probe.attached():
            for _ in range(BATCHES):
                probe.next_batch(Batch((x,)))
                model(x)

    show("  activations of all layers / forward", ratio(hooked, bare_forward(model, x, BATCHES), pairs=9))


def memory(model: nn.Module, x: Tensor) -> None:
    """Compare the most bytes held during a hooked pass, accumulators left out, with those of a bare one."""
    bare, _ = peak(model, x, None)
    probed, kept = peak(model, x, ActivationProbe(model))
    megabytes = f"{bare / 1e6:.1f} MB bare, {kept / 1e6:.1f} MB of accumulators"
    print(f"  {'peak memory / forward':42} {(probed - kept) / bare:5.2f}x  [{megabytes}]", flush=True)


def backward(model: nn.Module, x: Tensor) -> None:
    """Compare the measured forward and backward pass with a bare one."""
    y = torch.zeros(len(x), dtype=torch.long)
    loss, batch = nn.CrossEntropyLoss(), Batch((x,), {}, y)

    def measured() -> None:
        gradients.measure(model, [batch], loss, "CrossEntropyLoss", {}, seed=0)

    def guarded() -> None:
        with untouched(model):
            pass

    def bare() -> None:
        model.train()
        model.zero_grad(set_to_none=True)
        loss(model(x), y).backward()
        model.zero_grad(set_to_none=True)
        model.eval()

    with untouched(model):
        show("  gradients / forward and backward", ratio(measured, bare))
    show("  guard, once a report / forward and backward", ratio(guarded, bare, pairs=3))


def others(model: nn.Module, x: Tensor) -> None:
    """Print what TensorBoard, torchinfo and torchlens take for the same batch."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print("  TensorBoard is not installed")
    else:
        with tempfile.TemporaryDirectory() as folder, SummaryWriter(folder) as writer:

            def histograms() -> None:
                handles = [
                    m.register_forward_hook(lambda m, a, out, n=n: writer.add_histogram(n, main_tensor(out), 0))
                    for n, m in layers_of(model).items()
                ]
                bare_forward(model, x)()
                for handle in handles:
                    handle.remove()

            show("  TensorBoard add_histogram / forward", ratio(histograms, bare_forward(model, x), pairs=3))

    def summary() -> None:
        torchinfo.summary(model, input_data=x, verbose=0)

    show("  torchinfo / forward", ratio(summary, bare_forward(model, x), pairs=3))
    try:
        torchlens = import_module("torchlens")
    except ImportError:
        print("  torchlens is not installed")
    else:
        # the functions of torch stay wrapped else, and the bare pass would pay for it too
        capture = import_module("torchlens.options").CaptureOptions(unwrap_when_done=True)
        traced = ratio(lambda: torchlens.trace(model, x, capture=capture), bare_forward(model, x), pairs=3)
        show("  torchlens trace / forward", traced)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = torch.randn(8, 3, 224, 224)
    for name in sys.argv[1:] or MODELS:
        print(name)
        model = load_model(f"torchvision:{name}").eval()
        activations(model, x)
        memory(model, x)
        backward(model, x)
        others(model, x)


if __name__ == "__main__":
    main()
