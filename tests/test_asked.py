"""Which token a loss asks for at each place, told by its gradient, against the direction that the model reads in."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import reportgen
from reportgen.document.facts import Finding, Report
from reportgen.page import wording, words_claims

pytestmark = pytest.mark.slow  # models are trained, pages are drawn

WORDS, LENGTH = 12, 15
Loss = Callable[[Tensor, Tensor], Tensor]


class Reader(nn.Module):
    def __init__(self, *, both: bool = False, whole: bool = False) -> None:
        """``both``: read in both directions; ``whole``: answers come from the last state alone."""
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 16)
        self.layer = nn.GRU(16, 24, batch_first=True, bidirectional=both)
        self.back = nn.GRU(24, 24, batch_first=True) if whole else None
        self.head = nn.Linear(48 if both else 24, WORDS)

    def forward(self, tokens: Tensor) -> Tensor:
        states, last = self.layer(self.embedding(tokens))
        if self.back is not None:
            states, _ = self.back(last[0][:, None].expand(-1, tokens.shape[1], -1))
        out: Tensor = self.head(states)
        return out


class Flat(Reader):
    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(tokens).flatten(0, 1)


class Channels(Reader):
    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(tokens).mT


def texts(*, padded: bool = False) -> list[Tensor]:
    g = torch.Generator().manual_seed(3)
    out = []
    for _ in range(5):
        tokens = torch.randint(1, WORDS, (16, LENGTH), generator=g)
        if padded:
            ends = torch.randint(2, LENGTH, (16, 1), generator=g)
            tokens[torch.arange(LENGTH) >= ends] = 0
        out.append(tokens)
    return out


def own(said: Tensor, tokens: Tensor) -> Tensor:
    return F.cross_entropy(said.flatten(0, 1) if said.dim() == 3 else said, tokens.flatten())


def own_of_channels(said: Tensor, tokens: Tensor) -> Tensor:
    return F.cross_entropy(said, tokens)


def next_(said: Tensor, tokens: Tensor) -> Tensor:
    return F.cross_entropy(said[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


def next_by_name(said: Tensor, tokens: Tensor) -> Tensor:
    """Padding is asked for too."""
    return F.cross_entropy(said[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(), label_smoothing=0.1)


def hidden(said: Tensor, tokens: Tensor) -> Tensor:
    places = torch.rand(tokens.shape) < 0.3
    return F.cross_entropy(said[places], tokens[places])


def trained(model: nn.Module, loss: Loss, data: list[Tensor], masked: bool = False) -> Report:
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    options = reportgen.Options(trial_budget=3)
    monitor = reportgen.Monitor(model, optimizer, options=options)
    with monitor:
        for tokens in data:
            shown = tokens.masked_fill(torch.rand(tokens.shape) < 0.3, 0) if masked else tokens
            optimizer.zero_grad()
            loss(model(shown), tokens).backward()
            optimizer.step()
    return monitor.report(data)


def leaks(report: Report) -> list[Finding]:
    return [f for f in report.findings if f.rule == "causal-leak"]


@pytest.mark.parametrize(
    ("model", "loss", "kind"),
    [
        (Reader, own, "own"),
        (Flat, own, "own"),
        (Channels, own_of_channels, "own"),
        (lambda: Reader(both=True), next_, "next"),
    ],
)
def test_answers_that_can_be_read_off_the_input_are_named(
    model: Callable[[], nn.Module], loss: Loss, kind: str
) -> None:
    torch.manual_seed(1)
    report = trained(model(), loss, texts())
    (found,) = leaks(report)
    assert (found.severity, found.detail["kind"]) == ("error", kind)
    assert wording.describe(found).endswith(".")
    assert "causal-leak" in {d.cause for d in report.diagnoses}
    trial = report.tried("both-ways")
    assert trial is not None
    assert words_claims.OUTCOMES["both-ways"](trial.numbers, {}).endswith(".")


@pytest.mark.parametrize(
    ("model", "loss", "padded", "masked"),
    [
        (Reader, next_, False, False),
        (Reader, next_by_name, True, False),
        (lambda: Reader(whole=True), own, False, False),
        (lambda: Reader(both=True), hidden, False, True),
        (Reader, hidden, False, True),
        (lambda: Reader(both=True), own, False, False),
    ],
    ids=["next", "padded", "autoencoder", "masked", "masked, one way", "both ways"],
)
def test_a_model_that_has_to_tell_something_is_left_alone(
    model: Callable[[], nn.Module], loss: Loss, padded: bool, masked: bool
) -> None:
    torch.manual_seed(1)
    report = trained(model(), loss, texts(padded=padded), masked)
    assert report.training is not None
    assert report.training.loop is not None
    assert report.training.loop.n_asked > 0
    assert not leaks(report)


def test_targets_that_are_the_input_are_told_without_a_run() -> None:
    torch.manual_seed(1)
    pairs = [(tokens, tokens.clone()) for tokens in texts()]
    options = reportgen.Options(trial_budget=3)
    report = reportgen.examine(Reader(), pairs, loss=own, options=options)
    assert [f.detail["kind"] for f in leaks(report)] == ["own"]
    assert not leaks(reportgen.examine(Reader(whole=True), pairs, loss=own, options=options))


def test_classes_of_texts_and_other_labels_are_not_counted() -> None:
    class Label(Reader):
        def forward(self, tokens: Tensor) -> Tensor:
            return super().forward(tokens)[:, -1]

    torch.manual_seed(1)
    report = trained(Label(), lambda said, tokens: F.cross_entropy(said, tokens[:, 0]), texts())
    assert report.training is not None
    assert report.training.loop is not None
    assert report.training.loop.n_asked == 0
