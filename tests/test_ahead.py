"""How far ahead the targets of a sequence lie: in the data, by the loss, and by both."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reportgen.page import words_claims
from reportgen.probe.trials import ahead
from reportgen.probe.trials.lab import NotApplicableError
from reportgen.subject.data import Batch

from .test_rules_model import BAD, causes, report, severity, tried
from .test_trials import lab

TEXT = torch.randint(0, 9, (12, 14), generator=torch.Generator().manual_seed(0))
Lost = Callable[[Tensor, Tensor], Tensor]


def plain(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output.transpose(1, 2), target)


def shifting(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output[:, :-1].flatten(0, 1), target[:, 1:].flatten())


def padded(output: Tensor, target: Tensor) -> Tensor:
    """Shift as newer language models do: the labels get one to be left out at their end."""
    return F.cross_entropy(output.flatten(0, 1), F.pad(target, (0, 1), value=-100)[:, 1:].flatten())


def reader() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 9))


@pytest.mark.parametrize(
    ("target", "loss", "data", "by_loss"),
    [
        (TEXT[:, :-1], shifting, 0, 1),
        (TEXT[:, :-1], padded, 0, 1),
        (TEXT[:, 1:], plain, 1, 0),
        (TEXT[:, 1:], shifting, 1, 1),
        (TEXT[:, 1:], padded, 1, 1),
        (torch.where(torch.arange(13) < 4, -100, TEXT[:, 1:]), shifting, 1, 1),  # a prompt that is left out
    ],
)
def test_what_is_moved_in_the_data_and_by_the_loss(target: Tensor, loss: Lost, data: int, by_loss: int) -> None:
    numbers = ahead.targets_ahead(lab(reader(), Batch((TEXT[:, :-1],), {}, target), loss=loss)).numbers
    assert (numbers["data"], numbers["loss"]) == (data, by_loss)
    told = report(BAD, trials=tried("targets-ahead", None, **numbers))
    sick = data == by_loss == 1
    assert severity(told, "shifted-twice") == ("error" if sick else None)
    assert ("label-corruption" in causes(told)) is sick
    assert words_claims.OUTCOMES["targets-ahead"](numbers, {}).endswith(".")
    for finding in told.findings:
        if finding.rule == "shifted-twice":
            assert words_claims.RULES["shifted-twice"][1](finding).endswith("1 more.")


@pytest.mark.parametrize(
    "batch",
    [
        Batch((TEXT,), {}, TEXT.flip(1)),  # tags
        Batch((TEXT,), {}, TEXT[:, 0]),
        Batch((torch.full((12, 14), 3),), {}, torch.full((12, 14), 3)),
    ],
)
def test_targets_that_are_no_sequence_ahead(batch: Batch) -> None:
    with pytest.raises(NotApplicableError):
        ahead.targets_ahead(lab(reader(), batch, loss=plain))
