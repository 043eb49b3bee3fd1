"""Decoders that are handed their targets as they stand, and models to which these may rightly be handed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import reportgen
from reportgen.document.facts import Report
from reportgen.page import words_claims, words_trials
from reportgen.probe.trials import given
from reportgen.probe.trials import run as trials
from reportgen.probe.trials.lab import Clock, Lab, NotApplicableError
from reportgen.subject.data import Batch

from .test_rules_model import causes

SOURCE = torch.randint(0, 9, (24, 6), generator=torch.Generator().manual_seed(0))
WORDS = torch.randint(0, 9, (24, 8), generator=torch.Generator().manual_seed(1))
PAST = torch.randn(24, 6, generator=torch.Generator().manual_seed(2))
NUMBERS = torch.randn(24, 8, generator=torch.Generator().manual_seed(3))


class Reads(nn.Module):
    """An answer at each place, of what stands there, of what stood before and a little of the source."""

    def __init__(self, *, here: float = 5.0, past: float = 0.1, whole: float = 0.0) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([here, past, whole]))

    def forward(self, source: Tensor, fed: Tensor) -> Tensor:
        if source.is_floating_point():
            before, told, beside = self._before(fed), fed, source.mean(1, keepdim=True)
            whole = fed.mean(1, keepdim=True)
        else:
            told = F.one_hot(fed, 9).float()
            before, beside = self._before(told), F.one_hot(source, 9).float().mean(1, keepdim=True)
            whole = told.mean(1, keepdim=True)
        here, past, all_of_it = self.weights
        return here * told + past * before + all_of_it * whole + 0.1 * beside

    @staticmethod
    def _before(x: Tensor) -> Tensor:
        return F.pad(x.movedim(1, -1), (1, 0))[..., :-1].movedim(-1, 1)


class Shifts(Reads):
    """Moves what it is fed on by one itself, as models that are handed their labels do."""

    def forward(self, source: Tensor, fed: Tensor) -> Tensor:
        return super().forward(source, torch.cat([torch.zeros_like(fed[:, :1]), fed[:, :-1]], 1))


class Unread(Reads):
    def forward(self, source: Tensor, fed: Tensor) -> Tensor:
        return super().forward(source, 0 * fed) + 0 * fed[..., None]


def words(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output.flatten(0, 1), target.flatten())


def lab(model: nn.Module, source: Tensor, target: Tensor, fed: Tensor | None = None) -> Lab:
    batch = Batch((source, target if fed is None else fed), {}, target)
    return trials.laboratory(model, None, (), [batch], [], Clock(60.0), 0)


def examined(model: nn.Module, source: Tensor, target: Tensor, fed: Tensor) -> Report:
    loss = words if not target.is_floating_point() else nn.MSELoss()
    options = reportgen.Options(trial_budget=2)
    return reportgen.examine(model, [(source, fed, target)], loss=loss, options=options)


@pytest.mark.parametrize(
    ("model", "source", "target"),
    [(Reads(), SOURCE, WORDS), (Reads(here=1.0), PAST, NUMBERS)],
    ids=["words", "numbers"],
)
def test_a_decoder_that_is_fed_its_targets_is_told(model: nn.Module, source: Tensor, target: Tensor) -> None:
    report = examined(model, source, target, target)
    found = [f for f in report.findings if f.rule == "causal-leak"]
    assert [(f.detail["kind"], f.severity.value) for f in found] == [("given", "error")]
    assert found[0].evidence["followed"] > 0.9
    assert "causal-leak" in causes(report)
    assert "follow it to" in words_trials.RULES["causal-leak"][1](found[0])
    trial = report.tried("targets-given")
    assert trial is not None
    assert words_claims.OUTCOMES["targets-given"](trial.numbers, {}).endswith(".")


@pytest.mark.parametrize(
    ("model", "source", "target"),
    [
        (Shifts(), SOURCE, WORDS),
        (Unread(), SOURCE, WORDS),
        # what learned to say what comes next, under a loss that moves the targets itself
        (Reads(here=0.1, past=5.0), SOURCE, WORDS),
        # what rebuilds its input under a condition: out of all of it, or place by place
        (Reads(whole=1.0), SOURCE, WORDS),
        (Reads(past=0.0), SOURCE, WORDS),
        (Reads(here=1.0, whole=0.3), PAST, NUMBERS),
        (Reads(here=1.0, past=0.0), PAST, NUMBERS),
        (Shifts(here=1.0), PAST, NUMBERS),
    ],
)
def test_targets_that_are_rightly_an_input_are_left_alone(model: nn.Module, source: Tensor, target: Tensor) -> None:
    report = examined(model, source, target, target)
    assert report.tried("targets-given") is not None
    assert not [f for f in report.findings if f.rule == "causal-leak"]


def test_only_a_sequence_beside_another_is_asked() -> None:
    given.targets_given(lab(Reads(), SOURCE, WORDS))
    moved = torch.cat([torch.zeros_like(WORDS[:, :1]), WORDS[:, :-1]], 1)
    for source, fed in (
        (SOURCE, moved),
        (WORDS, WORDS),
        ((WORDS > 3).long(), WORDS),
        (SOURCE[:1].expand(24, 6), WORDS),
    ):
        with pytest.raises(NotApplicableError, match="no input beside others"):
            given.targets_given(lab(Reads(), source, WORDS, fed))
