"""Heads that were drawn and frozen, and flags set on modules that no parameter follows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.document.facts import Report
from reportgen.page import wording
from reportgen.probe import weights

from .test_rules_model import causes, report, severity

pytestmark = pytest.mark.slow  # models are trained, pages are drawn


def stack() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))


def flagged(change: Callable[[nn.Sequential], None]) -> Report:
    model = stack()
    change(model)
    return report(weights=weights.of_model(model))


def _thaw_wrongly(model: nn.Sequential) -> None:
    model[:3].requires_grad_(False)
    for layer in model:
        layer.requires_grad = True  # type: ignore[assignment]


def _thaw(model: nn.Sequential) -> None:
    model.requires_grad_(False)
    model.requires_grad_(True)


def _thaw_a_part(model: nn.Sequential) -> None:
    model[0].requires_grad = True  # type: ignore[assignment]
    model[0].weight.requires_grad_(False)


def _freeze_wrongly(model: nn.Sequential) -> None:
    model[0].requires_grad = False  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("change", "expected"),
    [(_thaw_wrongly, "warning"), (_freeze_wrongly, "info"), (_thaw, None), (_thaw_a_part, None)],
)
def test_a_flag_set_on_modules(change: Callable[[nn.Sequential], None], expected: str | None) -> None:
    told = flagged(change)
    assert severity(told, "flag-on-module") == expected
    assert ("frozen-layers" in causes(told)) is (expected == "warning")
    for finding in (f for f in told.findings if f.rule == "flag-on-module"):
        assert "requires_grad = " in wording.describe(finding)


CENTRES = 3 * torch.randn(8, 12, generator=torch.Generator().manual_seed(1))


def drawn(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 8, (n,), generator=generator)
    return CENTRES[y] + torch.randn(n, 12, generator=generator), y


def handed_over(*, body: bool, head: bool) -> set[str]:
    """Train what is to be trained of a model whose head is new, beside one small layer, and look at it."""
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))
    with torch.no_grad():  # as a body that was learned on other data
        for layer in (model[0], model[2]):
            layer.weight.add_(0.2 * torch.randn_like(layer.weight))
    for layer, trains in ((model[0], body), (model[2], body), (model[4], head)):
        layer.requires_grad_(trains)
    model[0].bias.requires_grad_(True)
    training, given = (DataLoader(TensorDataset(*drawn(n, seed)), 64, shuffle=True) for n, seed in ((640, 3), (320, 4)))
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 3e-3)
    for _ in range(6):
        for x, y in training:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    told = reportgen.examine(
        model,
        given,
        train_data=training,
        loss=nn.CrossEntropyLoss(),
        optimizer=optimizer,
        options=reportgen.Options(pictures=0),
    )
    return {f.rule for f in told.findings if f.severity.rank}


def test_a_new_head_that_is_frozen_holds_nothing() -> None:
    assert "frozen-at-init" in handed_over(body=False, head=False)


def test_a_drawn_head_may_be_kept_where_the_body_learns() -> None:
    """Hoffer, Hubara and Soudry 2018: a fixed classifier costs next to nothing."""
    assert handed_over(body=True, head=False) == set()


def test_a_head_that_is_trained_on_a_frozen_body() -> None:
    assert handed_over(body=False, head=True) == set()
