"""Codes of categories that each split numbered for itself, and tables that lose their skill for other reasons."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from reportgen.page import words_preparation
from reportgen.probe.trials import preparation
from reportgen.probe.trials import run as trials
from reportgen.probe.trials.codes import renumbered
from reportgen.probe.trials.lab import Clock, NotApplicableError, Result
from reportgen.subject.data import Batch

KINDS, COLUMNS = 30, 3
Table = tuple[Tensor, Tensor]


def shops(n: int, seed: int, shares: Tensor | None = None) -> Table:
    """Three columns of categories, some far more frequent than others, each with an effect of its own."""
    g = torch.Generator().manual_seed(7)
    mixed = torch.stack([torch.randperm(KINDS, generator=g) for _ in range(COLUMNS)])
    effect = torch.randn(COLUMNS, KINDS, generator=g)
    usual = torch.arange(1, KINDS + 1).double() ** -1.2
    g = torch.Generator().manual_seed(seed)
    drawn = torch.multinomial(usual if shares is None else shares, n * COLUMNS, replacement=True, generator=g)
    x = torch.stack([mixed[k][part] for k, part in enumerate(drawn.view(COLUMNS, n))], 1)
    return x, (sum(effect[k][x[:, k]] for k in range(COLUMNS)) > 0).long()


def fitted_again(x: Tensor) -> Tensor:
    """Number the categories that occur from 0 in their order, as an encoder does."""
    return torch.stack([torch.unique(column, return_inverse=True)[1] for column in x.T], 1)


def as_they_come(x: Tensor) -> Tensor:
    """Number the categories in the order of their first rows, as ``factorize`` does."""
    columns = []
    for column in x.T:
        codes = {code: k for k, code in enumerate(dict.fromkeys(column.tolist()))}
        columns.append(torch.tensor([codes[code] for code in column.tolist()]))
    return torch.stack(columns, 1)


class Embedded(nn.Module):
    def __init__(self, whole: bool) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Embedding(KINDS, 4) for _ in range(COLUMNS))
        self.head = nn.Sequential(nn.Linear(4 * COLUMNS, 24), nn.ReLU(), nn.Linear(24, 2))
        self.whole = whole

    def forward(self, x: Tensor) -> Tensor:
        assert x.is_floating_point() is not self.whole
        return self.head(torch.cat([part(x[:, k].long()) for k, part in enumerate(self.parts)], 1))


def learned(data: Table, whole: bool) -> nn.Module:
    torch.manual_seed(0)
    model = Embedded(whole)
    optimizer = torch.optim.Adam(model.parameters(), 2e-2)
    for _ in range(120):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(data[0]), data[1]).backward()
        optimizer.step()
    return model


def asked(training: Table, given: Table, whole: bool = False) -> Result:
    kind = torch.int64 if whole else torch.float32
    (x, y), (x_val, y_val) = ((x.to(kind), y) for x, y in (training, given))
    ours, theirs = [Batch((x,), {}, y)], [Batch((x_val,), {}, y_val)]
    model = learned((x, y), whole)
    return preparation.prepared_otherwise(
        trials.laboratory(model, nn.CrossEntropyLoss(), (), theirs, ours, Clock(600.0), 0, (theirs, ours))
    )


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(("change", "steep", "rows"), [(fitted_again, 1.2, 240), (as_they_come, 2.0, 400)])
def test_an_encoder_of_each_split_is_told(
    change: Callable[[Tensor], Tensor], steep: float, rows: int, whole: bool
) -> None:
    shares = torch.arange(1, KINDS + 1).double() ** -steep
    training, (x, y) = shops(2000, 1, shares), shops(rows, 2, shares)
    known = change(training[0]) if change is as_they_come else training[0]
    result = asked((known, training[1]), (change(x), y), whole)
    n = result.numbers
    assert result.detail["what"] == "codes"
    assert n["best"] - n["given"] > max(0.15, (n["training"] - n["given"]) / 2)
    assert words_preparation.OUTCOMES["prepared-otherwise"](n, result.detail).endswith(".")


@pytest.mark.parametrize("n", [80, 400])
def test_one_encoder_leaves_nothing_to_be_changed(n: int) -> None:
    training, given = shops(2000, 1), shops(n, 2)
    with pytest.raises(NotApplicableError, match="nothing of what was learned"):
        asked(training, given)
    assert not list(renumbered(training[0], given[0], given[0]))


def test_other_categories_in_use_are_no_other_encoder() -> None:
    # what was sold hardly ever is sold most: as much is lost, and no numbering brings it back
    turned = torch.arange(1, KINDS + 1).double().flip(0) ** -1.2
    g = torch.Generator().manual_seed(3)
    training, (x, y) = shops(400, 1), shops(400, 2, turned)
    y = torch.where(torch.rand(len(y), generator=g) < 0.3, 1 - y, y)
    n = asked(training, (x, y)).numbers
    assert n["training"] > 0.9
    assert n["best"] - n["given"] < (n["training"] - n["given"]) / 2


def test_numbers_that_hardly_repeat_are_no_codes() -> None:
    x = torch.arange(400)[:, None].float().repeat(1, 2)
    assert not list(renumbered(x, x[:300] - 100, x[:100]))
    assert not list(renumbered(x / 7, x / 3, x[:100]))


def test_one_map_for_all_columns() -> None:
    g = torch.Generator().manual_seed(0)
    shares = (torch.arange(1, 21).double() ** -1.0)[torch.randperm(20, generator=g)]
    known, given = (torch.multinomial(shares, n * 8, replacement=True, generator=g).view(n, 8) for n in (400, 60))
    given = given[(given != 3).all(1)]
    changed = given - (given > 3).long()  # one token of the vocabulary does not occur
    found = list(renumbered(known, changed, changed))
    assert any(bool((table == given).double().mean() > 0.95) for table in found)
