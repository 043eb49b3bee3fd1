"""Labels of one split that are wrong: told by copies that have not seen the samples that they are asked for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from msgspec import structs
from torch import Tensor, nn

from reportgen.document.evaluation import Curve
from reportgen.document.facts import Classification, DatasetFacts, EvaluationFacts, Report
from reportgen.document.samples import Apart, Signal, SplitFacts
from reportgen.page import words_anew
from reportgen.probe.trials import anew
from reportgen.probe.trials.lab import NotApplicableError

from .test_learned_anew import SCORES, clusters, lab, net
from .test_rules_model import BAD, GOOD, causes, report, run, severity, tried


def guessed(data: tuple[Tensor, Tensor], share: float) -> tuple[Tensor, Tensor]:
    """Replace a share of the labels by others."""
    x, y = data
    g = torch.Generator().manual_seed(7)
    other = (y + torch.randint(1, 4, y.shape, generator=g)) % 4
    return x, torch.where(torch.rand(y.shape, generator=g) < share, other, y)


def by_heart(data: tuple[Tensor, Tensor]) -> nn.Module:
    model = net(6, 128, 4)
    optimizer = torch.optim.Adam(model.parameters(), 2e-2)
    for _ in range(400):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(data[0]), data[1]).backward()
        optimizer.step()
    return model


def hard(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Clusters that overlap, in both splits alike."""
    x, y = clusters(n, seed)
    return x + 2.0 * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed + 9)), y


def judged(numbers: dict[str, float], trial: str = "unseen-half", **more: Any) -> Report:
    told = tried(trial, {"kind": "classes"}, **numbers)
    data = DatasetFacts(n_samples=400, n_batches=4, shape="N x 6", dtype="float32", class_counts=[100] * 4)
    given = structs.replace(data, class_counts=more.pop("counts", [50] * 4))
    return report(GOOD, trials=told, training=run(), train_dataset=data, dataset=given, **more)


def test_wrong_labels_learned_by_heart_are_told_by_a_copy_that_has_not_seen_them() -> None:
    data = guessed(clusters(600, 1), 0.35)
    result = anew.unseen_half(lab(by_heart(data), data, clusters(400, 2)))
    n = result.numbers
    assert n["by_heart"] > n["as_is"] + 0.15
    assert n["training_given"] > n["training_training"] + 0.15
    facts = judged(n)
    assert severity(facts, "training-labels-noisier") == "warning"
    assert causes(facts) == {"label-noise"}
    assert words_anew.OUTCOMES["unseen-half"](n, result.detail).endswith(".")


@pytest.mark.parametrize("noisy", [0.0, 0.3])
def test_what_is_as_hard_in_both_splits_is_no_noise_of_one(noisy: float) -> None:
    data = guessed(hard(600, 1), noisy)
    n = anew.unseen_half(lab(by_heart(data), data, guessed(hard(400, 2), noisy))).numbers
    assert n["by_heart"] > n["as_is"] + 0.15
    assert severity(judged(n), "training-labels-noisier") is None


def test_a_model_that_holds_what_it_learned_is_left_alone() -> None:
    data = clusters(600, 1)
    with pytest.raises(NotApplicableError, match="about as good"):
        anew.unseen_half(lab(by_heart(data), data, clusters(400, 2)))


NOISY = SCORES | {"training_training": 0.6, "training_given": 0.85}


def test_other_reasons_for_harder_training_samples() -> None:
    assert severity(judged(NOISY), "training-labels-noisier") == "warning"
    assert severity(judged(NOISY, "learned-anew"), "training-labels-noisier") == "warning"
    augmented = judged(NOISY, splits=SplitFacts(redrawn=1.0))
    assert severity(augmented, "training-labels-noisier") is None
    assert severity(judged(NOISY, counts=[150, 40, 5, 5]), "training-labels-noisier") is None
    few = NOISY | {"asked_training": 50.0, "asked_given": 50.0}
    assert severity(judged(few), "training-labels-noisier") is None
    for change, expected in ((3.0, None), (1e-7, "warning")):  # whose answers hang on who else is asked
        beside = tried("neighbours", {"first": "fc (Linear)"}, noise=1e-8, change=change)
        both = structs.replace(
            beside, trials=[*beside.trials, *tried("unseen-half", {"kind": "classes"}, **NOISY).trials]
        )
        assert severity(structs.replace(judged(NOISY), trials=both), "training-labels-noisier") == expected
    guesses = NOISY | {"training_training": 0.2, "training_given": 0.32}
    assert severity(judged(guesses), "training-labels-noisier") is None


@pytest.mark.parametrize(("ours", "expected"), [(BAD, "warning"), (GOOD, None)])
def test_neighbours_and_the_model_bear_witness_together(ours: Any, expected: str | None) -> None:
    """Neighbours agree less in training by five standard errors: too little alone."""
    signals = {
        name: Signal(kind="classes", n=250, k=5, score=score, null_mean=0.25, null_std=0.015, distance=0.76)
        for name, score in (("training_signal", 0.35), ("given_signal", 0.57))
    }
    at_home = report(ours).evaluation
    facts = report(GOOD, training=run(), splits=SplitFacts(**signals), train_evaluation=at_home)
    assert severity(facts, "d-label-noise") == expected


@pytest.mark.parametrize(
    ("right", "redrawn", "expected"),
    [(98, 1.0, None), (98, None, "warning"), (80, 1.0, "warning")],
)
def test_samples_made_anew_that_the_model_knows_have_right_labels(
    right: int, redrawn: float | None, expected: str | None
) -> None:
    """Noise on the inputs parts neighbours; labels that are wrong no model tells of samples that it never met."""
    signals = {
        name: Signal(kind="classes", n=300, k=5, score=score, null_mean=0.25, null_std=0.015, distance=0.76)
        for name, score in (("training_signal", 0.71), ("given_signal", 0.96))
    }
    table = Classification(classes=["0", "1"], confusion=[[right, 100 - right], [100 - right, right]])
    splits = SplitFacts(**signals, redrawn=redrawn)
    facts = report(GOOD, training=run(), splits=splits, train_evaluation=report(table).evaluation)
    assert severity(facts, "d-label-noise") == expected


MISLED = SCORES | {"training_training": 0.9, "training_given": 0.7}
ALIKE = Apart(n=300, area=0.51, neighbours=0.505, null_mean=0.5, null_std=0.01)


def test_labels_of_a_weak_model_hold_elsewhere_only_in_part() -> None:
    torch.manual_seed(0)
    x, y = clusters(900, 1)
    weak = nn.Linear(6, 4)
    optimizer = torch.optim.Adam(weak.parameters(), 5e-2)
    for _ in range(200):
        optimizer.zero_grad()
        nn.functional.cross_entropy(weak(x[:20]), y[:20]).backward()
        optimizer.step()
    data = x, weak(x).argmax(1)
    n = anew.unseen_half(lab(by_heart(data), data, clusters(400, 2))).numbers
    assert n["asked_given"] == 400
    facts = judged(n, splits=SplitFacts(apart=ALIKE))
    assert severity(facts, "splits-labelled-otherwise") == "warning"
    assert causes(facts) == {"label-noise"}


@pytest.mark.parametrize(
    ("apart", "expected"),
    [
        (ALIKE, "warning"),
        (structs.replace(ALIKE, area=0.65), None),  # drawn from other sources
        (structs.replace(ALIKE, neighbours=0.6), None),  # groups that stand in one split
        (structs.replace(ALIKE, n=90), None),
        (structs.replace(ALIKE, copies=0.3), None),
        (None, None),
    ],
)
def test_only_where_inputs_are_alike_it_is_the_labels_that_are_not(apart: Apart | None, expected: str | None) -> None:
    assert severity(judged(MISLED, splits=SplitFacts(apart=apart)), "splits-labelled-otherwise") == expected


@pytest.mark.parametrize(
    "change",
    [
        {"training_given": 0.85},  # not by a tenth
        {"training_given": 0.3},  # nearly all is lost: see splits-disagree
        {"asked_given": 40.0},
        {"training_training": 0.7},
    ],
)
def test_what_is_harder_by_chance_or_holds_nowhere_is_not_told_of_labels(change: dict[str, float]) -> None:
    facts = judged(MISLED | change, splits=SplitFacts(apart=ALIKE))
    assert severity(facts, "splits-labelled-otherwise") is None


def test_other_reasons_for_easier_training_samples() -> None:
    for more in ({"splits": SplitFacts(apart=ALIKE, redrawn=1.0)}, {"counts": [150, 40, 5, 5]}):
        facts = judged(MISLED, **{"splits": SplitFacts(apart=ALIKE)} | more)
        assert severity(facts, "splits-labelled-otherwise") is None


LIKE = Apart(n=400, area=0.5, neighbours=0.5, null_mean=0.5, null_std=0.01)


def fitted(train: list[list[int]], given: list[list[int]], splits: SplitFacts | None = None, **more: Any) -> Report:
    scores = [
        EvaluationFacts(
            task="classification",
            n_samples=sum(map(sum, table)),
            classification=Classification(classes=[str(i) for i in range(len(table))], confusion=table),
        )
        for table in (train, given)
    ]
    return report(
        None,
        train_evaluation=scores[0],
        evaluation=scores[1],
        splits=splits or SplitFacts(apart=LIKE),
        training=run(),
        **more,
    )


CLEAR = [[265, 28], [53, 54]]
FLIPPED = [[934, 141], [473, 252]]  # a third of the labels, so that more of them are a yes


@pytest.mark.parametrize(
    ("train", "given", "expected"),
    [
        (FLIPPED, CLEAR, "warning"),
        ([[1185, 125], [232, 258]], CLEAR, None),  # as clear
        ([[816, 84], [432, 468]], CLEAR, None),  # a sampler that deals out classes evenly: recall is the same
        ([[20, 6], [10, 4]], CLEAR, None),  # too few to tell
        ([[60, 40], [40, 60]], [[140, 60], [60, 140]], None),  # four standard errors are not met
        ([[580, 420], [420, 580]], [[140, 60], [60, 140]], "warning"),
        ([[400, 600], [600, 400]], [[100, 100], [100, 100]], None),  # it guesses
    ],
)
def test_what_was_fitted_is_agreed_with_at_least_as_often(
    train: list[list[int]], given: list[list[int]], expected: str | None
) -> None:
    facts = fitted(train, given)
    assert severity(facts, "fitted-labels-noisier") == expected
    assert ("label-noise" in causes(facts)) == bool(expected)


def test_training_samples_that_are_harder_by_their_inputs() -> None:
    told = structs.replace(LIKE, area=0.7)
    assert severity(fitted(FLIPPED, CLEAR, SplitFacts(apart=told)), "fitted-labels-noisier") is None
    assert severity(fitted(FLIPPED, CLEAR, SplitFacts(apart=LIKE, redrawn=1.0)), "fitted-labels-noisier") is None
    assert severity(fitted(FLIPPED, CLEAR, SplitFacts()), "fitted-labels-noisier") is None
    beside = tried("neighbours", {"first": "fc (Linear)"}, noise=1e-8, change=3.0)
    assert severity(fitted(FLIPPED, CLEAR, trials=beside), "fitted-labels-noisier") is None


def ranked(train: list[tuple[float, float]], given: list[tuple[float, float]], **more: Any) -> Report:
    """Evaluate answers of yes or no, each by an area under the ROC curve and the lower end of its interval."""
    scores = [
        EvaluationFacts(
            task="multilabel",
            n_samples=n,
            curves=[
                Curve(
                    label=str(i),
                    positives=100,
                    negatives=200,
                    auc=area,
                    auc_low=low,
                    auc_high=min(2 * area - low, 1.0),
                    average_precision=0.5,
                    ap_low=0.4,
                    ap_high=0.6,
                )
                for i, (area, low) in enumerate(areas)
            ],
        )
        for n, areas in ((900, train), (300, given))
    ]
    return report(
        None, train_evaluation=scores[0], evaluation=scores[1], splits=SplitFacts(apart=LIKE), training=run(), **more
    )


SHARP = [(0.97, 0.96), (0.98, 0.97)]


@pytest.mark.parametrize(
    ("train", "given", "expected"),
    [
        ([(0.97, 0.96), (0.84, 0.82)], SHARP, "warning"),  # many a yes of the second is missing
        ([(0.99, 0.98), (0.99, 0.98)], SHARP, None),
        ([(0.97, 0.96), (0.94, 0.92)], SHARP, None),  # a twentieth is not met
        ([(0.90, 0.80), (0.84, 0.70)], SHARP, None),  # too few to tell
    ],
)
def test_a_yes_that_was_fitted_ranks_no_lower(
    train: list[tuple[float, float]], given: list[tuple[float, float]], expected: str | None
) -> None:
    facts = ranked(train, given)
    assert severity(facts, "fitted-labels-noisier") == expected
    assert ("label-noise" in causes(facts)) == bool(expected)
