"""A softmax along the wrong dimension: classes by place whose probabilities sum to 1 somewhere else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from reportgen.probe.trials import axes
from reportgen.probe.trials.lab import NotApplicableError
from reportgen.subject.data import Batch

from .test_rules_model import BAD, GOOD, causes, report, severity, tried
from .test_trials import Made, lab


def told(end: Callable[[Tensor], Tensor], shape: tuple[int, ...] = (16, 9, 5), classes: int = 2) -> dict[str, float]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator)
    places = shape[:classes] + shape[classes + 1 :]
    y = torch.randint(shape[classes], places, generator=generator)
    return axes.sums_to_one(lab(Made(lambda s, x: end(s.fc(x)), fc=nn.Identity()), Batch((x,), {}, y))).numbers


@pytest.mark.parametrize(
    "end", [lambda x: x.log_softmax(1), lambda x: x.softmax(1), lambda x: x.softmax(1).log(), nn.Softmax(1)]
)
def test_a_softmax_over_time_is_seen(end: Callable[[Tensor], Tensor]) -> None:
    numbers = told(end)
    assert numbers["elsewhere"] < 1e-3
    assert numbers["classes"] > 0.1
    assert numbers["dim"] == 1
    found = report(BAD, trials=tried("sums-to-one", **numbers))
    assert severity(found, "output-range") == "error"
    assert causes(found) == {"wrong-output-activation"}
    assert severity(report(GOOD, trials=tried("sums-to-one", **numbers)), "output-range") == "warning"


@pytest.mark.parametrize(
    ("end", "shape", "classes"),
    [
        (lambda x: x.log_softmax(2), (16, 9, 5), 2),
        (lambda x: x.softmax(1), (16, 5, 9), 1),
        (lambda x: x.log_softmax(1), (4, 3, 6, 7), 1),
        (lambda x: x, (16, 9, 5), 2),  # scores
        (torch.sigmoid, (16, 9, 5), 2),
        (lambda x: x.softmax(2).mean(1, keepdim=True).expand_as(x), (16, 9, 5), 2),  # the same shares at all places
    ],
)
def test_what_sums_to_one_over_classes_or_nowhere_is_fine(
    end: Callable[[Tensor], Tensor], shape: tuple[int, ...], classes: int
) -> None:
    numbers = told(end, shape, classes)
    found = report(BAD, trials=tried("sums-to-one", **numbers))
    assert severity(found, "output-range") is None


def test_a_softmax_over_samples_and_equal_sizes_are_left_to_others() -> None:
    assert told(lambda x: x.softmax(0))["elsewhere"] > 0.01
    with pytest.raises(NotApplicableError):
        told(lambda x: x.softmax(1), (16, 5, 5))
    with pytest.raises(NotApplicableError):
        told(lambda x: x.softmax(0), (16, 5), 1)
