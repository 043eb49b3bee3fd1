"""What pictures cost, as a multiple of bare passes over the same data: eval mode, batch 8 at 224 pixels, one thread.

python -m tests.benchmarks.pictures [resnet18 mobilenet_v3_large ...]
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn

from reportgen.options import Options
from reportgen.probe.fingerprints import Fingerprints
from reportgen.probe.guard import untouched
from reportgen.probe.pictures.run import Watching, of_model
from reportgen.subject.data import Batch
from reportgen.subject.model import load_model

from .pairs import ratio, show

MODELS = ["resnet18", "mobilenet_v3_large", "vit_b_16"]


def batches() -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    return [Batch((torch.randn(8, 3, 224, 224, generator=generator),), {}, torch.arange(8) + 8 * i) for i in range(4)]


def bare(model: nn.Module, data: list[Batch]) -> list[Tensor]:
    with torch.no_grad():
        return [model(batch.args[0]) for batch in data]


def watched(model: nn.Module, data: list[Batch]) -> Watching:
    """Make the pass with everything that pictures take from it; hashes are made by the data section anyway."""
    copies = Fingerprints()
    watching = Watching(model, lambda: copies.latest)
    with watching.attached(), torch.no_grad():
        for batch in data:
            watching.update(model(batch.args[0]), batch)
    return watching


def drawn(model: nn.Module, watching: Watching) -> None:
    with untouched(model):
        of_model(model, watching, Options())


def compare(model: nn.Module, data: list[Batch]) -> None:
    """Hold the pass that is watched against a bare one, and the drawing afterwards against one batch."""
    show("  watching 4 batches / bare pass", ratio(lambda: watched(model, data), lambda: bare(model, data)))
    watching = watched(model, data)
    show("  drawing / one bare batch", ratio(lambda: drawn(model, watching), lambda: bare(model, data[:1])))


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = batches()
    for name in sys.argv[1:] or MODELS:
        print(name)
        compare(load_model(f"torchvision:{name}").eval(), data)


if __name__ == "__main__":
    main()
