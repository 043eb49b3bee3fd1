"""What evaluating costs, as a multiple of the bare passes: eval mode, no gradients, one thread.

python -m tests.benchmarks.evaluation [multiclass tokens ...]

Beside each the cost of what is said of the data, over the same batch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn

from reportgen.probe.dataset import DatasetProbe
from reportgen.probe.evaluation import EvaluationProbe
from reportgen.subject.data import Batch, call
from reportgen.subject.model import load_model

from .pairs import ratio, show


class Language(nn.Module):
    """A small transformer over a large vocabulary."""

    def __init__(self, vocabulary: int = 50_257, width: int = 512) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, width)
        layer = nn.TransformerEncoderLayer(width, 8, 4 * width, batch_first=True)
        self.body = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(self.table(tokens)))
        return out


def multiclass() -> tuple[nn.Module, Batch]:
    return load_model("torchvision:resnet18"), Batch((torch.randn(8, 3, 224, 224),), {}, torch.randint(1000, (8,)))


def small() -> tuple[nn.Module, Batch]:
    """Ten classes of small pictures: the passes are short, so what is done by batch weighs most."""
    net = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )
    return net, Batch((torch.randn(128, 3, 32, 32),), {}, torch.randint(10, (128,)))


def table() -> tuple[nn.Module, Batch]:
    net = nn.Sequential(nn.Linear(30, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 1))
    return net, Batch((torch.randn(512, 30),), {}, torch.randn(512, 1))


def yesno() -> tuple[nn.Module, Batch]:
    net = nn.Sequential(nn.Linear(30, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 1))
    return net, Batch((torch.randn(512, 30),), {}, torch.randint(2, (512, 1)).float())


def tokens() -> tuple[nn.Module, Batch]:
    x = torch.randint(50_257, (4, 128))
    return Language(), Batch((x,), {}, x.roll(-1, 1))


def segmentation() -> tuple[nn.Module, Batch]:
    net = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 21, 1),
    )
    return net, Batch((torch.randn(4, 3, 128, 128),), {}, torch.randint(21, (4, 128, 128)))


CASES: dict[str, Callable[[], tuple[nn.Module, Batch]]] = {
    f.__name__: f for f in (multiclass, small, table, yesno, tokens, segmentation)
}


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for name in sys.argv[1:] or CASES:
        model, batch = CASES[name]()
        model.eval()
        loss = None
        scores, data = EvaluationProbe(loss), DatasetProbe(model)

        def bare(model: nn.Module = model, batch: Batch = batch) -> object:
            with torch.no_grad():
                return call(model, batch)

        def evaluated(bare: Callable[[], object] = bare, batch: Batch = batch, p: EvaluationProbe = scores) -> None:
            output = bare()
            with torch.no_grad():
                p.update(output, batch)

        def described(bare: Callable[[], object] = bare, batch: Batch = batch, p: DatasetProbe = data) -> None:
            bare()
            with torch.no_grad():
                p.update(batch)

        print(name)
        show("  evaluation and pass / pass", ratio(evaluated, bare, pairs=15))
        show("  data and pass / pass", ratio(described, bare, pairs=15))
        assert not scores.trouble, scores.trouble


if __name__ == "__main__":
    main()
