"""Pages that together show every block: for tests that look at them in a browser or by a validator."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from msgspec.structs import replace
from torch import nn

import reportgen
from reportgen.document.facts import Report, SubjectFacts
from reportgen.render.write import render

from . import builders


def run() -> Report:
    """Return a report of a run alone: curves, heat maps, hills, events."""
    subject = SubjectFacts(name="history.jsonl", kind="run")
    return replace(builders.smallest(), title="runs/7", subject=subject, training=builders.watched())


@cache
def attention() -> Report:
    """Return a report of a small transformer: maps of heads, token signals, the diagram with branches."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    model = nn.Sequential(nn.Embedding(30, 16), nn.TransformerEncoder(layer, 2), nn.Linear(16, 30))
    tokens = torch.randint(0, 30, (16, 12))

    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(output.flatten(0, 1), target.flatten())

    return reportgen.examine(model, [(tokens, tokens)], loss=loss)


@cache
def convolutions() -> Report:
    """Return a report of a small network on images, with all that is measured of one: half of its units are dead."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )
    with torch.no_grad():
        model[0].bias[:4] = -9.0  # type: ignore[index]
    images, labels = torch.rand(64, 1, 8, 8), torch.arange(64) % 4
    batches = [(images[:32], labels[:32]), (images[32:], labels[32:])]
    loss = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    return reportgen.examine(model, batches[:1], train_data=batches[1:], loss=loss, optimizer=optimizer)


REPORTS: dict[str, Callable[[], Report]] = {
    **builders.ALL,
    "run": run,
    "attention": attention,
    "convolutions": convolutions,
    "chinese": builders.classifier,
    "chinese-run": run,
    "chinese-convolutions": convolutions,
}


def html(name: str) -> bytes:
    """Return a page of the showcase, as it is written: with its data inside."""
    return render(REPORTS[name](), ".html", language="zh" if name.startswith("chinese") else "en")


def pdf(name: str) -> bytes:
    """Return the same as a PDF."""
    return render(REPORTS[name](), ".pdf", language="zh" if name.startswith("chinese") else "en")
