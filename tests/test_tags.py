"""Labels of a sequence that belong to the tokens of another place."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reportgen.page import words_claims
from reportgen.probe.trials import run as trials
from reportgen.probe.trials import tags
from reportgen.probe.trials.lab import Clock, Lab, NotApplicableError
from reportgen.subject.data import Batch

from .test_rules_model import BAD, FLAT, causes, report, run, severity, tried

N, T, KINDS, TOKENS = 120, 16, 4, 30


class Tagger(nn.Module):
    """Answers with the label of each token, or with one label for all."""

    def __init__(self, knows: bool) -> None:
        super().__init__()
        self.table = nn.Embedding(TOKENS, KINDS)
        with torch.no_grad():
            self.table.weight.zero_()
            self.table.weight[:, 0] = 1.0
            if knows:
                self.table.weight.copy_(nn.functional.one_hot(torch.arange(TOKENS) % KINDS, KINDS).float())

    def forward(self, x: Tensor) -> Tensor:
        return self.table(x)


def lab(x: Tensor, y: Tensor, model: nn.Module) -> Lab:
    return trials.laboratory(model, nn.CrossEntropyLoss(), (), [Batch((x,), {}, y)], [], Clock(60.0), 0)


def sequences(shift: int, noise: float = 0.1) -> tuple[Tensor, Tensor]:
    """Tokens, and the kinds of the tokens so many places further on; some kinds are drawn."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(TOKENS, (N, T), generator=generator)
    y = (x % KINDS).roll(-shift, 1)
    drawn = torch.rand(N, T, generator=generator) < noise
    return x, torch.where(drawn, torch.randint(KINDS, (N, T), generator=generator), y)


@pytest.mark.parametrize("shift", [-2, -1, 1, 3])
def test_labels_of_another_place_are_found_by_the_tokens_there(shift: int) -> None:
    numbers = tags.tags_slipped(lab(*sequences(shift), Tagger(knows=False))).numbers
    assert numbers["shift"] == shift
    assert numbers["moved"] == pytest.approx(0.925, abs=0.03)  # nine of ten, and a fourth of those that were drawn
    assert numbers["own"] < 0.35
    assert numbers["model"] == pytest.approx(numbers["commonest"], abs=0.1)
    assert words_claims.OUTCOMES["tags-slipped"](numbers, {}).endswith(".")


def test_labels_of_their_own_tokens_are_not() -> None:
    numbers = tags.tags_slipped(lab(*sequences(0), Tagger(knows=True))).numbers
    assert numbers["own"] == pytest.approx(0.925, abs=0.03) == numbers["model"]
    assert numbers["moved"] < 0.35


def test_a_first_place_that_is_always_the_same_is_no_merit_of_the_model() -> None:
    x, y = sequences(1)
    y[:, 0] = 0
    numbers = tags.tags_slipped(lab(x, y, Tagger(knows=False))).numbers
    asked = y[N // 2 :, tags.REACH : T - tags.REACH]
    assert numbers["model"] == pytest.approx(float((asked == 0).double().mean()))  # it says 0 wherever it is asked


def test_places_that_are_left_out_do_not_count() -> None:
    x, y = sequences(1)
    y[:, 5] = -100
    numbers = tags.tags_slipped(lab(x, y, Tagger(knows=False))).numbers
    assert numbers["asked"] == N // 2 * (T - 2 * tags.REACH - 1)
    assert numbers["moved"] > 0.85


@pytest.mark.parametrize(
    ("x", "y", "told"),
    [
        (torch.zeros(60, 12).long(), torch.zeros(60).long(), "no tokens, one for each place"),
        (torch.zeros(60, 12, 3), torch.zeros(60, 12).long(), "no tokens stand beside"),
        (torch.zeros(60, 5).long(), torch.zeros(60, 5).long(), "no tokens stand beside"),
        (torch.zeros(10, 12).long(), torch.zeros(10, 12).long(), "too few labels"),
        (torch.zeros(60, 12).long(), torch.full((60, 12), -100), "too few labels"),
        (torch.full((90, 12), -1), torch.zeros(90, 12).long(), "no tokens stand beside"),
    ],
)
def test_what_is_no_labelled_sequence_of_tokens(x: Tensor, y: Tensor, told: str) -> None:
    with pytest.raises(NotApplicableError, match=told):
        tags.tags_slipped(lab(x, y, nn.Identity()))


SLIPPED = {"own": 0.3, "moved": 0.92, "shift": -1.0, "commonest": 0.26, "model": 0.24, "asked": 1200.0}


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ({}, "warning"),
        ({"model": 0.4}, None),  # it learns some of what is to come
        ({"own": 0.9}, None),
        ({"own": 0.8}, None),  # the one before tells a little more
        ({"asked": 10.0, "moved": 0.5}, None),
    ],
)
def test_the_rule(numbers: dict[str, Any], expected: str | None) -> None:
    found = report(BAD, trials=tried("tags-slipped", **SLIPPED | numbers), training=run(FLAT))
    assert severity(found, "tags-slipped") == expected
    assert ("label-corruption" in causes(found)) is (expected is not None)
    untrained = report(BAD, trials=tried("tags-slipped", **SLIPPED))
    assert severity(untrained, "tags-slipped") is None
