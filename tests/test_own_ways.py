"""Models that treat their input as their own, or differentiate inside their forward pass."""

import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import reportgen
from reportgen.document.facts import Report

PARTS = ("architecture", "weights", "activations", "gradients", "dataset", "evaluation")


def batches(n: int = 3, targets: tuple[int, ...] = ()) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 6, 4, generator=generator) + 5
    y = torch.randn(n, 6, *targets, generator=generator) if targets else torch.arange(6).expand(n, 6) % 3
    return list(zip(x, y, strict=True))


def examined(model: nn.Module, data: object, budget: float = 0.0, loss: object = functional.cross_entropy) -> Report:
    options = reportgen.Options(trial_budget=budget, inference_budget=0)
    return reportgen.examine(model, data, loss=loss, options=options)


def status(report: Report) -> dict[str, str]:
    return {row.part: row.status for row in report.coverage if row.part in PARTS}


class Writes(nn.Module):
    """Brings its input to another scale in place, always or in training alone."""

    def __init__(self, *, always: bool = True) -> None:
        super().__init__()
        self.fc, self.always = nn.Linear(4, 3), always

    def forward(self, x: Tensor) -> Tensor:
        if self.always or self.training:
            x -= 5
            x *= 2
        return self.fc(x)


@pytest.mark.parametrize("always", [True, False])
def test_what_a_model_writes_into_its_input_reaches_neither_data_nor_figures(always: bool) -> None:
    torch.manual_seed(0)
    model, data = Writes(always=always), batches()
    before = [(x.clone(), y.clone()) for x, y in data]
    report = examined(model, data, budget=2.0)
    assert all(torch.equal(a, b) for old, new in zip(before, data, strict=True) for a, b in zip(old, new, strict=True))
    assert report.activations is not None
    assert report.dataset is not None
    (row,) = report.activations.rows
    with torch.no_grad():
        made = torch.cat([model.fc((x - 5) * 2 if always else x) for x, _ in data])
    assert row.stats.mean == pytest.approx(float(made.mean()), abs=1e-5)
    remarks = {r.part: r.reason for r in report.coverage}
    assert ("the model writes into its input" in remarks["dataset"]) is always


def test_a_model_that_takes_entries_out_of_its_dict_finds_them_again() -> None:
    class Pops(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def forward(self, batch: dict[str, Tensor]) -> Tensor:
            return self.fc(batch.pop("left") - batch.pop("right"))

    data = [{"left": x, "right": -x, "labels": y} for x, y in batches()]
    report = examined(Pops(), data)
    assert set(status(report).values()) == {"measured"}
    assert all(set(batch) == {"left", "right", "labels"} for batch in data)


class Forces(nn.Module):
    """As models of molecules have it: the output is the derivative of an energy in the places."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.energy = nn.Linear(4, 8), nn.Linear(8, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x.requires_grad_()
        energy = self.energy(torch.tanh(self.hidden(x)))
        (slope,) = torch.autograd.grad(energy.sum(), x, create_graph=self.training)
        return -slope


def test_a_model_that_differentiates_inside_its_forward_is_measured() -> None:
    torch.manual_seed(0)
    model, data = Forces(), batches(targets=(4,))
    report = examined(model, data, budget=3.0, loss=functional.mse_loss)
    assert set(status(report).values()) == {"measured"}
    assert report.architecture is not None
    assert report.architecture.flops == 2 * 6 * (4 * 8 + 8) * 2  # as much back to the input as to the energy
    assert not any(x.requires_grad or x.grad is not None for x, _ in data)
    assert not any(d.cause == "unregistered-parameters" for d in report.diagnoses)
    assert report.gradients is not None
    # of the energy no gradient of the loss arrives, only one inside the forward pass, which is none of the loss
    assert [row.name for row in report.gradients.outputs] == ["hidden"]
    assert report.trials is not None
    assert [t.name for t in report.trials.trials if t.failed] == []


def test_layers_inside_a_transform_of_functions_have_no_figures() -> None:
    class Each(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
            self.scale = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.scale(torch.func.vmap(self.body)(x))
            return out

    report = examined(Each(), batches())
    assert report.activations is not None
    assert [row.name for row in report.activations.rows] == ["scale"]
    assert "body.1: it runs inside a transform of functions" in " ".join(report.activations.reasons)
    assert report.architecture is not None
    assert report.architecture.flops == 2 * 6 * (32 + 24 + 9)
    assert not any(d.cause == "dead-relu" for d in report.diagnoses)
    assert status(report)["gradients"] == "measured"


def test_generators_that_a_model_holds_are_where_they_were() -> None:
    class Draws(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 3)
            self.new, self.old = np.random.default_rng(1), np.random.RandomState(2)
            self.own, self.plain = torch.Generator().manual_seed(3), random.Random(4)

        def draws(self) -> list[float]:
            torchs = float(torch.rand((), generator=self.own))
            return [self.new.random(), self.old.random_sample(), torchs, self.plain.random()]

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x + sum(self.draws()))

    model = Draws()
    examined(model, batches())
    assert model.draws() == Draws().draws()


def test_batches_without_a_tensor_are_not_timed() -> None:
    class Takes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def forward(self, x: np.ndarray) -> Tensor:
            return self.fc(torch.as_tensor(x))

    data = [(x.numpy(), y) for x, y in batches()]
    report = reportgen.examine(Takes(), data, options=reportgen.Options(trial_budget=0))
    (row,) = [row for row in report.coverage if row.part == "latency"]
    assert (row.status, row.failed) == ("not measured", False)
    assert "hold no tensor" in row.reason


class Resizes(nn.Module):
    """Gives a buffer its size when it is first called, as observers of quantisation do."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.register_buffer("least", torch.zeros(0))

    def forward(self, x: Tensor) -> Tensor:
        if not self.least.numel():
            self.least.resize_(4).fill_(0.0)
        self.least.copy_(torch.minimum(self.least, x.amin(0)))
        return self.fc(x)


def test_a_buffer_that_was_resized_gets_its_size_back() -> None:
    model = Resizes().train()
    buffer = model.least
    report = examined(model, batches(), budget=1.0)
    assert set(status(report).values()) == {"measured"}
    assert model.least is buffer
    assert model.least.shape == (0,)
    assert model.training
    assert not model._forward_hooks


def test_what_cannot_be_put_back_keeps_nothing_else_from_it() -> None:
    class Holds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("held", torch.zeros(2))

        def forward(self, x: Tensor) -> Tensor:
            self.held.data = torch.from_numpy(np.zeros(1, dtype=np.float32))  # memory that torch cannot resize
            return x + self.held

    class Counts(Writes):
        def __init__(self) -> None:
            super().__init__(always=False)
            self.register_buffer("n", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.n += torch.rand(())
            return super().forward(x)

    model = nn.Sequential(Holds(), Counts())
    before = torch.get_rng_state()
    report = examined(model, batches())
    assert float(model[1].n) == 0.0
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)
    (row,) = [row for row in report.coverage if row.part == "restoration"]
    assert row.failed
    assert "Holds" in row.reason


def test_a_norm_on_the_meta_device_has_shapes_and_work() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    report = examined(model, [torch.empty(6, 4, device="meta")], loss=None)
    assert report.architecture is not None
    assert report.architecture.flops == 2 * 6 * (32 + 24)
    assert "restoration" not in {row.part for row in report.coverage}
