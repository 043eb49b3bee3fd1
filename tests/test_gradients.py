"""Gradients, against autograd by hand."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reportgen.probe import gradients
from reportgen.probe.guard import untouched
from reportgen.probe.steps import NotMeasuredError
from reportgen.subject.data import Batch


def measure(model: nn.Module, batches: list[Batch], order: dict[str, int] | None = None, loss: Any = None) -> Any:
    with untouched(model):
        return gradients.measure(model, batches, loss or nn.MSELoss(), "MSELoss", order or {}, seed=0)


def data(n: int = 3) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    return [
        Batch((torch.randn(5, 4, generator=generator),), {}, torch.randn(5, 2, generator=generator)) for _ in range(n)
    ]


def test_parameter_gradients_are_autograd_s() -> None:
    torch.manual_seed(0)
    model, batches = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)), data()
    facts = measure(model, batches, {"0": 0, "1": 1, "2": 2})
    for name, parameter in model.named_parameters():
        parts = [torch.autograd.grad(nn.functional.mse_loss(model(b.args[0]), b.target), parameter)[0] for b in batches]
        wanted = torch.stack(parts).double()
        row = next(row for row in facts.rows if row.name == name)
        assert row.stats.norm == pytest.approx(float(wanted.norm()), rel=1e-5)
        assert row.stats.mean == pytest.approx(float(wanted.mean()), rel=1e-4, abs=1e-9)
        assert (row.n_none, row.n_zero) == (0, 0)
    assert [row.order for row in facts.rows] == [0, 0, 2, 2]


def test_output_gradients_are_autograd_s_through_an_in_place_activation() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Linear(6, 2))
    (batch,) = data(1)
    facts = measure(model, [batch], {"0": 0, "1": 1, "2": 2})
    hidden = model[0](batch.args[0]).detach().requires_grad_()
    loss = nn.functional.mse_loss(model[2](hidden.relu()), batch.target)
    (wanted,) = torch.autograd.grad(loss, hidden)
    row = next(row for row in facts.outputs if row.name == "0")
    assert row.stats.norm == pytest.approx(float(wanted.norm()), rel=1e-5)


def test_a_last_batch_of_one_sample_is_left_out_where_a_batch_norm_refuses_it() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 2))
    whole = data(2)
    last = Batch((torch.randn(1, 4),), {}, torch.randn(1, 2))
    facts, wanted = measure(model, [*whole, last]), measure(model, whole)
    assert (facts.mode, facts.fallback, facts.n_batches, facts.n_samples) == ("train", wanted.fallback, 2, 10)
    assert [row.stats.norm for row in facts.rows] == [row.stats.norm for row in wanted.rows]
    alone = measure(model, [last])
    assert alone.mode == "eval"
    assert "more than 1 value" in alone.fallback


def test_the_gradient_in_a_large_output_is_told_from_its_places() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 2, 3)).eval()
    batch = Batch((torch.randn(4, 3, 68, 68),), {}, torch.randn(4, 2, 64, 64))
    facts = measure(model, [batch], {"0": 0, "1": 1, "2": 2})
    hidden = model[0](batch.args[0]).detach().requires_grad_()
    (wanted,) = torch.autograd.grad(nn.functional.mse_loss(model[2](hidden.relu()), batch.target), hidden)
    stats = next(row for row in facts.outputs if row.name == "0").stats
    assert stats.count < wanted.numel()
    assert stats.rms == pytest.approx(float(wanted.square().mean().sqrt()), rel=0.05)
    assert stats.zero_share == pytest.approx(float((wanted == 0).double().mean()), abs=0.02)


def test_what_follows_meets_the_running_statistics_of_the_model() -> None:
    """A norm that follows its last batch would else be another one for the experiments than for the evaluation."""
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(6, momentum=0.99)
    model = nn.Sequential(nn.Linear(4, 6), norm, nn.Linear(6, 2)).eval()
    before = copy.deepcopy(model.state_dict())
    facts = gradients.measure(model, data(), nn.MSELoss(), "MSELoss", {}, seed=0)
    assert facts.mode == "train"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module.training for module in model.modules())


def test_none_zero_and_frozen_are_three_different_facts() -> None:
    class Parts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.cut, self.zeroed, self.unused = (nn.Linear(4, 2) for _ in range(4))
            self.frozen = nn.Linear(4, 2).requires_grad_(False)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x) + self.cut(x).detach() + 0.0 * self.zeroed(x) + self.frozen(x)

    facts = measure(Parts(), data())
    found = {row.name: (row.requires_grad, row.n_none, row.n_zero) for row in facts.rows if row.name.endswith("weight")}
    assert found == {
        "used.weight": (True, 0, 0),
        "cut.weight": (True, 3, 0),
        "zeroed.weight": (True, 0, 3),
        "unused.weight": (True, 3, 0),
        "frozen.weight": (False, 3, 0),
    }


def test_frozen_norms_stay_in_eval_mode_and_the_rest_trains() -> None:
    seen = []

    class Spy(nn.BatchNorm1d):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(self.training)
            return super().forward(x)

    model = nn.Sequential(nn.Linear(4, 2), Spy(2), Spy(2))
    model[2].eval()
    facts = measure(model, data(1))
    assert facts.mode == "train"
    assert seen == [True, False]


def test_a_model_that_cannot_train_on_one_sample_is_measured_in_eval_mode() -> None:
    model = nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2))
    facts = measure(model, [Batch((torch.randn(1, 4),), {}, torch.randn(1, 2))])
    assert facts.mode == "eval"
    assert facts.rows[0].stats is not None


def test_non_finite_gradients_are_counted() -> None:
    model = nn.Linear(4, 2)
    facts = measure(model, data(1), loss=lambda out, target: (out * float("inf")).sum() * 0)
    assert facts.rows[0].stats.nonfinite == 8
    assert facts.loss_values == [None]


def test_a_loss_that_is_no_number_is_refused() -> None:
    with pytest.raises(NotMeasuredError, match="expected a tensor with one real number"):
        measure(nn.Linear(4, 2), data(1), loss=lambda out, target: out)
