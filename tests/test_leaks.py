"""Columns that know the answer, and rows that were multiplied before the split; honest columns and rows beside."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from torch import Tensor, nn

import reportgen
from reportgen.document.facts import Finding, Report
from reportgen.health.rules.splits import _usual_repeats
from reportgen.options import Options
from reportgen.probe.repeats import coincidences
from reportgen.probe.shortcut import _places, filled, halves_meet
from reportgen.probe.twins import dimension_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_learning")]

Split = tuple[Tensor, Tensor]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clusters(n: int, seed: int = 0, k: int = 3, spread: float = 1.6) -> Split:
    y = torch.randint(k, (n,), generator=seeded(seed))
    centres = torch.randn(k, 9, generator=seeded(99))
    return centres[y] + spread * torch.randn(n, 9, generator=seeded(seed + 1)), y


def examined(train: Split, given: Split) -> Report:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(given[0].shape[1], 8), nn.ReLU(), nn.Linear(8, int(given[1].max()) + 1))
    batches = [list(zip(x.split(50), y.split(50), strict=True)) for x, y in (given, train)]
    options = Options(trial_budget=0, pictures=0)
    return reportgen.examine(model, batches[0], train_data=batches[1], loss=nn.CrossEntropyLoss(), options=options)


def told(report: Report, rule: str) -> Finding | None:
    return next((f for f in report.findings if f.rule == rule), None)


def halved(x: Tensor, y: Tensor, seed: int = 5) -> tuple[Split, Split]:
    order = torch.randperm(len(x), generator=seeded(seed))
    a, b = order[: len(x) * 7 // 10], order[len(x) * 7 // 10 :]
    return (x[a], y[a]), (x[b], y[b])


def beside(x: Tensor, column: Tensor) -> Tensor:
    column = column.float()
    return torch.cat([x, ((column - column.mean()) / column.std())[:, None]], 1)


# ------------------------------------------------------------------------------------------------ numbers of rows


def test_the_number_of_a_row_in_a_sorted_file_is_a_leak() -> None:
    x, y = clusters(1500)
    order = y.argsort(stable=True)
    report = examined(*halved(beside(x[order], torch.arange(1500)), y[order]))
    finding = told(report, "d-shortcut")
    assert finding is not None
    assert (finding.severity, finding.detail["column"], finding.subject) == ("warning", "row number", "input 9")
    assert any(d.cause == "data-leakage" and d.severity == "warning" for d in report.diagnoses)


@pytest.mark.parametrize(("noise", "expected"), [(0.1, "warning"), (0.18, "info")])
def test_an_answer_with_a_little_noise_is_a_leak_and_a_measurement_that_decides_informs(
    noise: float, expected: str
) -> None:
    x, y = clusters(1500)
    report = examined(*halved(beside(x, y + noise * torch.randn(1500, generator=seeded(3))), y))
    finding = told(report, "d-shortcut")
    assert finding is not None
    assert (finding.severity, "column" in finding.detail) == (expected, False)


@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("name", ["uniform", "normal", "two humps"])
def test_classes_cut_from_a_measurement_only_inform(k: int, name: str) -> None:
    x, _ = clusters(1500)
    generator = seeded(3)
    measured = torch.rand(1500, generator=generator) if name == "uniform" else torch.randn(1500, generator=generator)
    if name == "two humps":
        measured += 4 * (torch.rand(1500, generator=generator) < 0.5).float()
    y = torch.bucketize(measured, measured.quantile(torch.arange(1, k) / k))
    finding = told(examined(*halved(beside(x, measured), y)), "d-shortcut")
    assert finding is not None
    assert finding.severity == "info"


def test_the_number_of_a_row_in_a_mixed_file_says_nothing() -> None:
    x, y = clusters(1500)
    report = examined(*halved(beside(x, torch.arange(1500)), y))
    assert told(report, "d-shortcut") is None


@pytest.mark.parametrize("scale", [1.0, 0.001, 1 / 433.0])
def test_places_are_counted_between_rows_that_are_left(scale: float) -> None:
    kept = torch.randperm(5000, generator=seeded(0))[:400]
    places = _places(((kept.float() - 2500) * scale).double())
    assert places is not None
    assert places == int(kept.max() - kept.min()) + 1


@pytest.mark.parametrize(
    "values",
    [
        torch.randn(500, generator=seeded(1)),
        torch.rand(500, generator=seeded(1)) * 1e4,
        torch.randint(0, 300, (500,), generator=seeded(1)).float(),
        torch.randn(500, generator=seeded(1)).exp(),
        torch.zeros(500),
    ],
)
def test_measurements_are_no_row_numbers(values: Tensor) -> None:
    assert _places(values.double()) is None


# ------------------------------------------------------------------------------------- filled in after the outcome


def test_a_column_that_is_filled_for_one_class_is_a_leak() -> None:
    x, y = clusters(1200, k=2)
    amount = torch.where(y == 1, 1 + torch.rand(1200, generator=seeded(4)), 0.0)
    report = examined(*halved(beside(x, amount), y))
    finding = told(report, "d-filled-in")
    assert finding is not None
    assert (finding.severity, finding.evidence["share"], finding.evidence["label"]) == ("warning", 1.0, 1)
    assert any(d.cause == "data-leakage" and d.severity == "warning" for d in report.diagnoses)


def test_a_column_that_is_filled_for_most_of_a_class_informs() -> None:
    x, y = clusters(1200, k=2)
    known = (y == 1) & (torch.rand(1200, generator=seeded(6)) < 0.8)
    report = examined(*halved(beside(x, torch.where(known, 1 + torch.rand(1200, generator=seeded(4)), 0.0)), y))
    finding = told(report, "d-filled-in")
    assert finding is not None
    assert finding.severity == "info"
    assert finding.evidence["share"] == pytest.approx(0.8, abs=0.08)


def by_chance(y: Tensor) -> Tensor:
    return torch.where(torch.rand(len(y), generator=seeded(7)) < 0.5, torch.rand(len(y), generator=seeded(4)), 0.0)


def rare_symptom(y: Tensor) -> Tensor:
    hit = (y == 1) & (torch.rand(len(y), generator=seeded(7)) < 0.2)
    return torch.where(hit, torch.rand(len(y), generator=seeded(4)), 0.0)


def often(y: Tensor) -> Tensor:
    """Filled for nearly all of one class, and for one in twenty of the other."""
    hit = (y == 1) | (torch.rand(len(y), generator=seeded(7)) < 0.05)
    return torch.where(hit, torch.rand(len(y), generator=seeded(4)), 0.0)


def flag(y: Tensor) -> Tensor:
    return ((y == 1) & (torch.rand(len(y), generator=seeded(7)) < 0.7)).float()


@pytest.mark.parametrize("column", [by_chance, rare_symptom, often, flag, lambda y: y + torch.randn(len(y))])
def test_honest_columns_raise_no_alarm(column: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    x, y = clusters(1200, k=2)
    report = examined(*halved(beside(x, column(y)), y))
    assert told(report, "d-filled-in") is None


@pytest.mark.parametrize("load", [load_breast_cancer, load_iris, load_wine, load_digits])
def test_tables_of_old_have_neither(load: Callable[..., Any]) -> None:
    x, y = (torch.tensor(part) for part in load(return_X_y=True))
    order = torch.randperm(len(x), generator=seeded(0))
    found = filled((x[order].float()[:512], y[order].double()[:512]), "classes", 1)
    assert found is None or found.share < 0.5 or found.second >= 0.5 * found.share
    assert all(_places(column.double()) is None for column in x.T)


# ---------------------------------------------------------------------------------------------- multiplied rows


def rare(n: int, copies: int) -> Split:
    """One class of twenty in the hundred; its rows come ``copies`` times."""
    x, y = torch.randn(n, 9, generator=seeded(1)), (torch.rand(n, generator=seeded(2)) < 0.05).long()
    seldom = (y == 1).nonzero()[:, 0].repeat(copies - 1)
    return torch.cat([x, x[seldom]]), torch.cat([y, y[seldom]])


def test_rare_rows_that_were_multiplied_before_the_split_are_a_leak() -> None:
    report = examined(*halved(*rare(1500, 8)))
    finding = told(report, "leakage")
    assert finding is not None
    assert finding.severity == "error"


def test_rare_rows_that_were_multiplied_after_the_split_are_none() -> None:
    (x, y), given = halved(*rare(1500, 1))
    seldom = (y == 1).nonzero()[:, 0].repeat(7)
    assert told(examined((torch.cat([x, x[seldom]]), torch.cat([y, y[seldom]])), given), "leakage") is None


def wines(times: int) -> Split:
    x, y = load_wine(return_X_y=True)
    x = (x - x.mean(0)) / x.std(0)
    return torch.tensor(x).float().repeat(times, 1), torch.tensor(y).long().repeat(times)


def from_a_finite_set() -> Split:
    """Six hundred different rows, drawn again and again."""
    kinds, labels = torch.randn(600, 9, generator=seeded(1)), torch.randint(2, (600,), generator=seeded(2))
    drawn = torch.randint(600, (900,), generator=seeded(3))
    return kinds[drawn], labels[drawn]


def scraped() -> Split:
    """A table of six columns whose rows were found several times each."""
    x = torch.randn(900, 6, generator=seeded(1))
    rows = torch.cat([torch.arange(900), torch.randint(900, (1300,), generator=seeded(2))])
    return x[rows], (x[:, 0] + x[:, 1] * x[:, 2] > 0).long()[rows]


@pytest.mark.parametrize("make", [lambda: wines(2), lambda: wines(3), from_a_finite_set, scraped])
def test_measurements_do_not_repeat_by_nature(make: Callable[[], Split]) -> None:
    finding = told(examined(*halved(*make())), "leakage")
    assert finding is not None
    assert finding.severity == "error"


def test_rows_once_each_are_no_leak() -> None:
    assert told(examined(*halved(*wines(1))), "leakage") is None


def days() -> Split:
    """Ten columns that are all made of the day of the year, and a target that hangs on it."""
    day = torch.randint(365, (1500,), generator=seeded(1)).float() / 365 * 6.2831853
    waves = [f(k * day) for k in (1, 2, 3, 4, 5) for f in (torch.sin, torch.cos)]
    return torch.stack(waves, 1), (day.sin() > 0).long()


def grid() -> Split:
    """Two coordinates of a place among 120 x 5, and ten functions of them."""
    a, b = torch.randint(120, (1500,), generator=seeded(1)) / 20, torch.randint(5, (1500,), generator=seeded(2)) / 2
    return torch.stack([f(a * k + b) for k in (1, 2, 3, 4, 5) for f in (torch.sin, torch.cos)], 1), (a > 3).long()


def blank_pictures() -> Split:
    """One picture in eight shows nothing."""
    x, y = torch.randn(1200, 40, generator=seeded(1)), torch.randint(2, (1200,), generator=seeded(2))
    blank = torch.rand(1200, generator=seeded(3)) < 0.125
    x[blank], y[blank] = 0.0, 0
    return x, y


def codes() -> Split:
    x = torch.randint(0, 3, (1500, 8), generator=seeded(1)).float()
    return x, (x.sum(1) > 8).long()


def empty_forms() -> Split:
    """One row in four is empty but for two columns of codes."""
    x, y = clusters(1500, k=2)
    empty = torch.rand(1500, generator=seeded(3)) < 0.25
    x[empty] = 0.0
    x[empty, :2] = torch.randint(0, 4, (int(empty.sum()), 2), generator=seeded(4)).float()
    return x, y


def narrow(make: Callable[[], Split], columns: int) -> Callable[[], Split]:
    return lambda: (make()[0][:, :columns], make()[1])


def rounded_measurements() -> Split:
    """Five columns that hang on two quantities and a little of their own, to a hundred steps each."""
    a, b = torch.randn(2, 1500, generator=seeded(1))
    own = 0.02 * torch.randn(1500, 5, generator=seeded(2))
    x = torch.stack([a, b, a + b, a - b, 2 * a + b], 1) + own
    return (x * 15).round() / 15, (a > 0).long()


@pytest.mark.parametrize(
    "make",
    [days, grid, blank_pictures, codes, empty_forms, narrow(days, 5), narrow(grid, 6), rounded_measurements],
)
def test_rows_that_repeat_by_nature_only_inform(make: Callable[[], Split]) -> None:
    finding = told(examined(*halved(*make())), "leakage")
    assert finding is None or finding.severity == "info"


def test_coincidences_are_the_product_of_shares() -> None:
    x = torch.randn(200, 5, generator=seeded(0))
    y = torch.zeros(200)
    assert coincidences((x, y)) == pytest.approx(200.0 ** (-5 / 2))
    x[:, 0] = torch.arange(100.0).repeat(2)
    assert coincidences((x, y)) == pytest.approx((2 / 200) ** 0.5 * 200.0**-2)
    assert coincidences((x, y), 4.0) == pytest.approx(((2 / 200) * 200.0**-4) ** (4 / 5))
    assert coincidences((x, y), 1.5) == coincidences((x, y))  # columns that hang together
    assert coincidences((x, y), 9.0) == pytest.approx((2 / 200) * 200.0**-4)
    assert coincidences((x[:, :2], y)) is None
    assert coincidences((x[:50], y)) is None
    assert coincidences((x.mul(3).round(), y)) is None


def test_halves_meet_where_values_are_few() -> None:
    y = torch.zeros(300)
    assert halves_meet((torch.randn(300, 8, generator=seeded(0)), y)) == 0.0
    x = torch.randint(0, 2, (300, 8), generator=seeded(0)).float()
    pairs = [(a, b) for a in range(300) for b in range(a)]
    other = [(a, b) for a, b in pairs if not torch.equal(x[a], x[b])]
    met = sum(torch.equal(x[a, k::2], x[b, k::2]) for a, b in other for k in (0, 1))
    assert halves_meet((x, y)) == pytest.approx(met / len(pairs))
    assert halves_meet((x[:50], y)) is None
    assert halves_meet((x[:, :3], y)) is None


@pytest.mark.parametrize("mean", [0.05, 0.5, 1.0, 3.0])
def test_usual_repeats_are_those_of_draws(mean: float) -> None:
    draws = random.Random(0)
    kinds = 40_000
    counts = Counter(draws.randrange(kinds) for _ in range(int(mean * kinds)))
    often = [c for c in counts.values() if c > 1]
    assert _usual_repeats(len(counts) / sum(counts.values())) == pytest.approx(sum(often) / len(often), rel=0.02)


@pytest.mark.parametrize("dimension", [1, 2, 3, 5])
@pytest.mark.parametrize("columns", [5, 12])
def test_the_dimension_of_data_is_told_whatever_the_number_of_columns(dimension: int, columns: int) -> None:
    x = torch.rand(500, dimension, generator=seeded(1)) @ torch.randn(dimension, columns, generator=seeded(2))
    assert dimension_of(x.repeat(2, 1)) == pytest.approx(dimension, rel=0.2)
    assert dimension_of(x[:90]) is None
