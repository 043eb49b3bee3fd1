"""A column of mean targets: over all rows, which gives answers away, and over those that may be known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.document.facts import Finding
from reportgen.document.samples import Encoded, SplitFacts

from .test_rules_model import report, severity

pytestmark = pytest.mark.slow  # models are trained, pages are drawn

N, OF, KINDS = 900, 1200, 150


def table(classes: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Return other columns, a category of each row, and targets that hang on both; 1 class: numbers."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(OF, 4, generator=g)
    kind = torch.randint(KINDS, (OF,), generator=g)
    score = x[:, 0] + 0.5 * torch.randn(KINDS, generator=g)[kind] + torch.randn(OF, generator=g)
    if classes == 1:
        return x, kind, score
    return x, kind, torch.bucketize(score, score.quantile(torch.arange(1, classes) / classes))


def means(kind: Tensor, y: Tensor, rows: slice = slice(None), prior: float = 0.0) -> Tensor:
    """Return the mean target of each category over some rows, drawn towards the common one by so many rows."""
    y = y.double()
    sums = torch.zeros(KINDS).double().index_add_(0, kind[rows], y[rows])
    return (sums + prior * y[rows].mean()) / (kind[rows].bincount(minlength=KINDS) + prior).clamp_min(1e-9)


def found(x: Tensor, column: Tensor, y: Tensor) -> Finding | None:
    whole = torch.cat([x, column[:, None].float()], 1)
    torch.manual_seed(0)
    loaders = [DataLoader(TensorDataset(whole[p], y[p]), 50) for p in (slice(0, N), slice(N, OF))]
    options = reportgen.Options(trial_budget=0, pictures=0)
    model = nn.Linear(5, int(y.max()) + 1 if y.dtype == torch.int64 else 1)
    seen = reportgen.examine(model, loaders[1], train_data=loaders[0], options=options)
    return next((f for f in seen.findings if f.rule == "d-mean-target"), None)


def plain(kind: Tensor, y: Tensor) -> Tensor:
    return means(kind, y)[kind]


def smoothed(kind: Tensor, y: Tensor) -> Tensor:
    return means(kind, y, prior=10.0)[kind]


def standardised(kind: Tensor, y: Tensor) -> Tensor:
    column = plain(kind, y)
    return (column - column.mean()) / column.std()


@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize("encode", [plain, smoothed, standardised])
def test_means_over_all_rows_hold_the_answers_of_the_data_given(
    encode: Callable[[Tensor, Tensor], Tensor], classes: int
) -> None:
    x, kind, y = table(classes)
    finding = found(x, encode(kind, y), y)
    assert finding is not None
    assert (finding.severity.value, finding.subject) == ("warning", "input 4")
    assert finding.evidence["train_off"] > 0.1


def test_the_share_of_one_class_of_several_is_a_mean_too() -> None:
    x, kind, y = table(4)
    finding = found(x, plain(kind, (y == 2).long()), y)
    assert finding is not None
    assert finding.evidence["off"] < 1e-4


def of_training(kind: Tensor, y: Tensor) -> Tensor:
    return means(kind, y, slice(0, N), 5.0)[kind]


def of_other_folds(kind: Tensor, y: Tensor) -> Tensor:
    column = of_training(kind, y)
    for fold in range(5):
        rows = torch.arange(N) % 5 != fold
        column[:N][~rows] = means(kind[:N][rows], y[:N][rows], prior=5.0)[kind[:N][~rows]]
    return column


def frequency(kind: Tensor, y: Tensor) -> Tensor:
    return kind.bincount(minlength=KINDS)[kind].double()


def by_category(kind: Tensor, y: Tensor) -> Tensor:
    """A number that belongs to the category by itself."""
    return torch.randn(KINDS, generator=torch.Generator().manual_seed(5))[kind]


@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize("encode", [of_training, of_other_folds, frequency, by_category])
def test_what_may_be_known_is_no_leak(encode: Callable[[Tensor, Tensor], Tensor], classes: int) -> None:
    x, kind, y = table(classes)
    assert found(x, encode(kind, y), y) is None


def test_a_target_that_hangs_on_the_category_alone_is_known_from_either_split() -> None:
    x, kind, _ = table()
    y = by_category(kind, kind)
    assert found(x, plain(kind, y), y) is None


def test_as_many_yes_in_each_category_are_no_smoothing() -> None:
    kind = torch.arange(OF) % 100
    y = (torch.arange(OF) // 100 % 4 == 0).long()
    order = torch.randperm(OF, generator=torch.Generator().manual_seed(1))
    assert found(torch.randn(OF, 4), (kind[order] / 10.0), y[order]) is None


@pytest.mark.parametrize(("told", "expected"), [(0.2, "warning"), (0.02, "info")])
def test_many_rows_to_a_category_give_little_away(told: float, expected: str) -> None:
    column = Encoded(feature=4, values=40, told=told, off=1e-7, train_off=0.3)
    assert severity(report(splits=SplitFacts(encoded=column)), "d-mean-target") == expected


def of_few(*, leaving: bool = False, ends: bool = True) -> Finding | None:
    """Ask of a table of yes and no where one or two rows share a category, and what its mean holds of them."""
    g = torch.Generator().manual_seed(3)
    n = 1600
    x, kind = torch.randn(n, 4, generator=g), torch.randint(1100, (n,), generator=g)
    y = (x[:, 0] + torch.randn(n, generator=g) > 0).double()
    if not ends:  # no category without a yes
        kind, y = torch.cat([kind, torch.arange(1100)]), torch.cat([y, torch.ones(1100).double()])
        x = torch.cat([x, torch.randn(1100, 4, generator=g)])
    sums, count = torch.zeros(1100).double().index_add_(0, kind, y), kind.bincount(minlength=1100)
    column = (sums / count.clamp_min(1))[kind]
    if leaving:  # each row's own answer left out
        column = ((sums[kind] - y) / (count[kind] - 1).clamp_min(1)).clamp(0, 1)
    order = torch.randperm(len(y), generator=g)
    loaders = [
        DataLoader(TensorDataset(torch.cat([x, column[:, None].float()], 1)[p], y[p].float()), 50)
        for p in (order[:1200], order[1200:])
    ]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 1), nn.Flatten(0))
    options = reportgen.Options(trial_budget=0, pictures=0)
    seen = reportgen.examine(model, loaders[1], train_data=loaders[0], loss=nn.BCEWithLogitsLoss(), options=options)
    return next((f for f in seen.findings if f.rule == "d-mean-target"), None)


def test_means_of_a_few_rows_take_few_values_and_hold_whole_answers() -> None:
    finding = of_few()
    assert finding is not None
    assert (finding.severity.value, finding.subject) == ("warning", "input 4")
    assert finding.evidence["values"] < 20
    assert finding.evidence["told"] > 0.3
    assert of_few(leaving=True) is None
    assert of_few(ends=False) is None


@pytest.mark.parametrize("ends", [True, False])
def test_grades_of_which_more_say_yes_are_no_means(ends: bool) -> None:
    """Of nine grades the first never says yes and the last always, and those between about as often as they say."""
    g = torch.Generator().manual_seed(4)
    grade = torch.randint(9, (OF,), generator=g) / 8
    chance = grade if ends else 0.1 + 0.8 * grade
    y = (torch.rand(OF, generator=g) < chance).long()
    assert found(torch.randn(OF, 4, generator=g), grade.double(), y) is None


def test_categories_of_mostly_one_row_are_found() -> None:
    """Of which the column is the row's own target, unchanged."""
    g = torch.Generator().manual_seed(1)
    x, kind = torch.randn(OF, 4, generator=g), torch.randint(OF, (OF,), generator=g)
    y = x[:, 0] + torch.randn(OF, generator=g)
    sums, counts = torch.zeros(OF).double().index_add_(0, kind, y.double()), kind.bincount(minlength=OF)
    column = (sums / counts.clamp_min(1))[kind]
    assert len(column.unique()) > OF / 2
    found_ = found(x, column, y)
    assert found_ is not None
    assert found_.severity == "warning"
    assert found(x, column + 0.01 * torch.randn(OF, generator=g), y) is None
