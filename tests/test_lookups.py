"""Columns that are codes, and codes that each sample has for itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.document.facts import Report
from reportgen.page import words_claims
from reportgen.probe.trials import lookups
from reportgen.probe.trials import run as trials
from reportgen.probe.trials.lab import Clock, Lab, NotApplicableError
from reportgen.subject.data import Batch

from .test_trials import Made

pytestmark = pytest.mark.slow  # models are trained, pages are drawn

N, OF = 600, 800


def table(codes: int | None = None) -> tuple[Tensor, Tensor]:
    """Return rows whose first column is a code, the number of the row where none is said, and their classes."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(OF, 5, generator=generator)
    y = (x[:, 0] - x[:, 1] + 0.7 * torch.randn(OF, generator=generator) > 0).long()
    code = torch.arange(OF) if codes is None else torch.randint(codes, (OF,), generator=generator)
    order = torch.randperm(OF, generator=generator)
    return torch.cat([code[:, None].float(), x], 1)[order], y[order]


def net(forward: Callable[[Any, Tensor], Tensor], rows: int = OF + 3) -> nn.Module:
    torch.manual_seed(1)
    return Made(forward, table=nn.Embedding(rows, 6), a=nn.Linear(11, 24), b=nn.Linear(24, 2), raw=nn.Linear(6, 24))


def embedded(s: Any, x: Tensor) -> Tensor:
    return s.b(F.relu(s.a(torch.cat([s.table(x[:, 0].long()), x[:, 1:]], 1))))


def by_function(s: Any, x: Tensor) -> Tensor:
    return s.b(F.relu(s.a(torch.cat([F.embedding(x[:, :1].long() + 3, s.table.weight)[:, 0], x[:, 1:]], 1))))


def both_ways(s: Any, x: Tensor) -> Tensor:
    return s.b(F.relu(s.a(torch.cat([s.table(x[:, 0].long()), x[:, 1:]], 1)) + s.raw(x)))


def as_numbers(s: Any, x: Tensor) -> Tensor:
    return s.b(F.relu(s.raw(x)))


def lab(model: nn.Module, x: Tensor, y: Tensor) -> Lab:
    batches = [Batch((a,), {}, b) for a, b in zip(x.split(100), y.split(100), strict=True)]
    train, given = batches[:6], batches[6:]
    return trials.laboratory(model, nn.CrossEntropyLoss(), (), given, train, Clock(60.0), 0, (given, train))


@pytest.mark.parametrize(("forward", "columns"), [(embedded, "0"), (by_function, "0"), (both_ways, "")])
def test_a_column_that_is_looked_up_is_a_code(forward: Callable[[Any, Tensor], Tensor], columns: str) -> None:
    result = lookups.lookups(lab(net(forward), *table()))
    assert result.detail["columns"] == columns
    assert result.numbers["coded"] == len(columns)
    assert (result.numbers["samples"], result.numbers["distinct"], result.numbers["known"]) == (N, N, 0)
    assert result.detail["table"] == "table"
    assert words_claims.OUTCOMES["lookups"](result.numbers, result.detail).endswith(".")


def test_codes_that_samples_share_are_counted() -> None:
    n = lookups.lookups(lab(net(embedded), *table(30))).numbers
    assert (n["distinct"], n["known"], n["places"], n["rows"]) == (30, OF - N, 30, OF + 3)


def test_numbers_are_not_looked_up() -> None:
    with pytest.raises(NotApplicableError, match="looked up"):
        lookups.lookups(lab(net(as_numbers), *table()))


def trained(forward: Callable[[Any, Tensor], Tensor], data: tuple[Tensor, Tensor], epochs: int = 12) -> Report:
    torch.set_num_threads(1)
    model, loss = net(forward), nn.CrossEntropyLoss()
    optimizer = AdamW(model.parameters(), lr=5e-3, weight_decay=0.3)
    train, val = (TensorDataset(*(t[part] for t in data)) for part in (slice(0, N), slice(N, OF)))
    loaders = DataLoader(train, 30, shuffle=True), DataLoader(val, 50)
    with reportgen.Monitor(model, optimizer, loss=loss, progress=False) as monitor:
        for epoch in range(epochs):
            for x, y in loaders[0]:
                optimizer.zero_grad()
                value = loss(model(x), y)
                value.backward()
                optimizer.step()
                monitor.log(train_loss=value.detach())
            with torch.no_grad():
                monitor.log(epoch=epoch, val_loss=sum(float(loss(model(x), y)) for x, y in loaders[1]) / 4)
    return monitor.report(loaders[1], train_data=loaders[0], loss=loss)


def causes(report: Report) -> set[str]:
    return {d.cause for d in report.diagnoses if d.severity.rank}


def test_an_embedding_of_the_number_of_each_row_is_learned_by_heart() -> None:
    report = trained(embedded, table(), epochs=25)
    found = next(f for f in report.findings if f.rule == "code-of-each-sample")
    assert (found.severity.value, found.subject) == ("warning", "table")
    assert causes(report) == {"overfitting"}


@pytest.mark.parametrize("users", [30, 250])
def test_an_embedding_of_users_is_none_and_has_no_scale(users: int) -> None:
    report = trained(embedded, table(users), epochs=4)
    assert [f for f in report.findings if f.rule in ("code-of-each-sample", "d-input-scale")] == []
    assert "unnormalised-input" not in causes(report)


def test_a_column_of_codes_that_is_read_as_a_number_is_on_a_raw_scale() -> None:
    report = trained(as_numbers, table(250), epochs=4)
    assert any(f.rule == "d-input-scale" for f in report.findings)


def test_the_number_of_a_row_in_a_sorted_file_is_to_go_and_not_to_be_scaled() -> None:
    x, y = table()
    rank = torch.empty(OF)
    rank[y.argsort(stable=True)] = torch.arange(float(OF))
    report = trained(as_numbers, (torch.cat([rank[:, None], x[:, 1:]], 1), y), epochs=4)
    assert "data-leakage" in causes(report)
    assert "unnormalised-input" not in causes(report)
