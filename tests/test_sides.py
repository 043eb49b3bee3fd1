"""Answers that can never be no: the experiment on models whose last step is no activation, and what is said of it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import reportgen
from reportgen.document.facts import Report, Severity
from reportgen.probe.trials import sides
from reportgen.probe.trials.lab import NotApplicableError

from .test_checks import lab

YES = (torch.arange(64) % 2).float()
X = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))


class Towers(nn.Module):
    """Two towers, met by an inner product, or by a distance that an offset is taken from."""

    def __init__(self, last: nn.Module, *, offset: float | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right, self.last, self.offset = nn.Linear(4, 6), nn.Linear(4, 6), last, offset

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.last(self.left(x[:, :4])), self.last(self.right(x[:, 4:]))
        if self.offset is not None:
            return self.offset - (left - right).norm(dim=1)
        return (left * right).sum(1)


def reached(model: nn.Module) -> tuple[float, float]:
    numbers = sides.two_sides(lab(model, X, YES, nn.BCEWithLogitsLoss())).numbers
    return numbers["low"], numbers["high"]


def test_rectified_towers_never_say_no() -> None:
    low, high = reached(Towers(nn.ReLU()))
    assert low == 0
    assert high > 100
    assert reached(Towers(nn.Softplus()))[0] > 0


@pytest.mark.parametrize(
    "model",
    [
        Towers(nn.Identity()),
        Towers(nn.Tanh()),
        Towers(nn.Identity(), offset=1.0),  # towers that agree are nearer than that
        nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1), nn.Flatten(0)),
    ],
)
def test_others_can_say_both(model: nn.Module) -> None:
    low, high = reached(model)
    assert low < 0 < high


def test_other_targets_are_not_asked() -> None:
    with pytest.raises(NotApplicableError, match="yes or no"):
        sides.two_sides(lab(Towers(nn.ReLU()), X, torch.randn(64), nn.MSELoss()))
    with pytest.raises(NotApplicableError, match="the same"):
        sides.two_sides(lab(Towers(nn.ReLU()), X, torch.ones(64), nn.BCEWithLogitsLoss()))
    with pytest.raises(NotApplicableError, match="no affine layer"):
        sides.two_sides(lab(nn.Flatten(), X[:, :1], YES[:, None], nn.BCEWithLogitsLoss()))


def examined(model: nn.Module, loss: nn.Module) -> Report:
    data = [(X[i : i + 16], YES[i : i + 16]) for i in range(0, 64, 16)]
    return reportgen.examine(model, data, loss=loss)


def test_the_diagnosis_is_the_last_activation() -> None:
    told = examined(Towers(nn.ReLU()), nn.BCEWithLogitsLoss())
    assert "wrong-output-activation" in {d.cause for d in told.diagnoses if d.severity is not Severity.INFO}
    for model, loss in (
        (Towers(nn.Identity()), nn.BCEWithLogitsLoss()),
        (Towers(nn.ReLU()), nn.PoissonNLLLoss(log_input=False)),  # counts have no other side
    ):
        assert not [f for f in examined(model, loss).findings if f.rule == "output-range"]
