"""Probing does no harm: everything about the model is bit for bit what it was, whatever happens."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import reportgen
from reportgen.probe.guard import untouched
from reportgen.subject.data import Batch


class Awkward(nn.Module):
    """Frozen batch norm, dropout, a shared module, in-place ReLU, a max-norm embedding, a buffer that counts."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 6, max_norm=1.0)
        self.conv = nn.Conv1d(6, 6, 1)
        self.norm, self.frozen = nn.BatchNorm1d(6), nn.BatchNorm1d(6)
        self.relu, self.drop = nn.ReLU(inplace=True), nn.Dropout(0.3)
        self.head = nn.Linear(6, 3)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.explode = False

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        hidden = self.embed(x).transpose(1, 2)  # (B, 6, T)
        hidden = self.relu(self.norm(self.conv(hidden)))
        if self.explode and self.calls > 2:
            raise RuntimeError("half way through")
        hidden = self.drop(self.relu(self.frozen(hidden) + hidden))
        return self.head(hidden.mean(2))


def awkward() -> Awkward:
    torch.manual_seed(0)
    model = Awkward()
    model(torch.randint(10, (4, 5))).sum().backward()
    with torch.no_grad():
        model.embed.weight.mul_(5)  # so that max_norm has something to write
    model.frozen.eval()
    model.conv.bias.requires_grad_(False)
    model.head.register_forward_hook(lambda m, a, o: None)
    return model


def picture(model: nn.Module) -> dict[str, Any]:
    """Everything that probing might change."""
    return {
        "state": {name: value.clone() for name, value in model.state_dict().items()},
        "identity": [id(p) for p in model.parameters()] + [id(b) for b in model.buffers()],
        "modes": [m.training for m in model.modules()],
        "requires_grad": [p.requires_grad for p in model.parameters()],
        "grads": [(id(p.grad), None if p.grad is None else p.grad.clone()) for p in model.parameters()],
        "hooks": [
            [sorted(getattr(m, table)) for table in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")]
            for m in model.modules()
        ],
        "rng": (torch.get_rng_state(), random.getstate(), np.random.get_state()),
        "grad mode": torch.is_grad_enabled(),
    }


def assert_same(a: Any, b: Any) -> None:
    if isinstance(a, Tensor):
        assert a.dtype == b.dtype
        assert a.numpy().tobytes() == b.numpy().tobytes()  # NaN and -0.0 included
    elif isinstance(a, np.ndarray):
        assert a.tobytes() == b.tobytes()
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b


def batches(n: int = 3) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randint(10, (4, 5), generator=generator), torch.randint(3, (4,), generator=generator)) for _ in range(n)
    ]


@pytest.mark.parametrize("training", [True, False])
def test_examine_changes_nothing(training: bool) -> None:
    model = awkward()
    if not training:
        model.eval()
    before = picture(model)
    report = reportgen.examine(model, batches(), train_data=batches(), loss=nn.CrossEntropyLoss())
    assert report.activations is not None
    assert report.gradients is not None
    assert report.evaluation is not None
    assert_same(picture(model), before)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_forward_that_raises_in_the_middle_changes_nothing(error: type[BaseException]) -> None:
    model = awkward()
    before = picture(model)

    def loss(output: Tensor, target: Tensor) -> Tensor:
        raise error("on purpose")

    if error is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt):
            reportgen.examine(model, batches(), loss=loss)
    else:
        report = reportgen.examine(model, batches(), loss=loss)
        failed = {row.part: row.reason for row in report.coverage if row.failed}
        assert "on purpose" in failed["gradients"]
        assert report.activations is not None
    assert_same(picture(model), before)


def test_a_model_that_fails_on_a_later_batch_is_reported_in_part() -> None:
    model = awkward()
    model.explode = True
    with torch.no_grad():
        model.calls -= 1  # the pass for structure and the first batch still run
    before = picture(model)
    report = reportgen.examine(model, batches(8))
    row = next(row for row in report.coverage if row.part == "activations")
    assert row.status == "partial"
    assert "half way through" in row.reason
    assert report.subject.n_batches < 8
    assert_same(picture(model), before)


def test_outputs_are_the_same_to_the_bit_under_the_probe() -> None:
    from reportgen.probe.activations import ActivationProbe

    model = awkward().eval()
    x = batches(1)[0][0]
    with torch.no_grad():
        plain = model(x)
        probe = ActivationProbe(model)
        with probe.attached():
            probe.next_batch(Batch((x,)))
            probed = model(x)
    assert_same(probed, plain)


def test_hooks_that_someone_else_leaves_behind_are_removed() -> None:
    model = nn.Linear(2, 2)

    def inside() -> None:
        with untouched(model):
            model.register_forward_hook(lambda m, a, o: None)
            model.weight.requires_grad_(False)
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        inside()
    assert not model._forward_hooks
    assert model.weight.requires_grad


def test_a_replaced_buffer_comes_back() -> None:
    norm = nn.BatchNorm1d(3)
    mean = norm.running_mean
    with untouched(norm):
        norm.running_mean = torch.ones(3)
    assert norm.running_mean is mean


def test_an_optimizer_that_steps_inside_backward_does_not_step_here() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizers = {p: torch.optim.Adam([p], 0.1) for p in model.parameters()}
    steps = []

    def step(parameter: Tensor) -> None:
        steps.append(1)
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    for p in model.parameters():
        p.register_post_accumulate_grad_hook(step)
    before = picture(model)
    data = [(torch.randn(5, 4), torch.randint(3, (5,)))]
    report = reportgen.examine(model, data, loss=nn.CrossEntropyLoss())
    assert_same(picture(model)["state"], before["state"])
    assert not steps
    assert report.gradients is not None
    assert all(row.n_none == 0 for row in report.gradients.rows)
    model(data[0][0]).sum().backward()
    assert len(steps) == 4  # and the hooks are back


class Adapter(nn.Module):
    """Merges its adapter into the weight when it is put in eval mode, as libraries for low-rank adapters do."""

    def __init__(self) -> None:
        super().__init__()
        self.base, self.adapter = nn.Linear(4, 3), nn.Parameter(torch.randn(3, 4))
        self.merged, self.calls = False, 0

    def train(self, mode: bool = True) -> "Adapter":
        super().train(mode)
        if mode == self.merged:
            self.base.weight.data += -self.adapter if mode else self.adapter
            self.merged = not mode
        return self

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.base(x) if self.merged else self.base(x) + x @ self.adapter.T


class Momentum(nn.Module):
    """Writes one of its parameters, makes a buffer and counts, all in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.key.weight.mul_(0.9).add_(self.query.weight, alpha=0.1)
        self.register_buffer("last", x.detach().mean(0))
        return self.query(x) + self.key(x)


@pytest.mark.parametrize("make", [Adapter, Momentum])
def test_models_that_write_on_themselves_come_back(make: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = make()
    before, attributes = picture(model), set(vars(model))
    plain = {name: getattr(model, name) for name in ("merged", "calls") if hasattr(model, name)}
    data = [(torch.randn(5, 4), torch.randint(3, (5,))) for _ in range(3)]
    report = reportgen.examine(model, data, loss=nn.CrossEntropyLoss())
    assert not [d for d in report.diagnoses if d.severity != "info"]
    assert_same(picture(model)["state"], before["state"])
    assert picture(model)["modes"] == before["modes"]
    assert {name: getattr(model, name) for name in plain} == plain
    assert set(vars(model)) == attributes


def test_loaders_losses_and_inputs_are_left_alone_too() -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(12, 4).requires_grad_()
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(x, torch.randint(3, (12,))), 4, shuffle=True, generator=generator
    )
    state = generator.get_state()

    class Loss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, output: Tensor, target: Tensor) -> Tensor:
            self.calls += 1
            return nn.functional.cross_entropy(output * self.scale, target)

    loss = Loss()
    report = reportgen.examine(nn.Linear(4, 3), loader, loss=loss)
    assert report.gradients is not None
    assert torch.equal(generator.get_state(), state)
    assert loss.scale.grad is None
    assert float(loss.calls) == 0
    assert x.grad is None


def test_inference_mode_around_the_call_cuts_no_graph() -> None:
    data = [(torch.randn(5, 4), torch.randint(3, (5,)))]
    model = nn.Linear(4, 3)
    with torch.inference_mode():
        report = reportgen.examine(model, data, loss=nn.CrossEntropyLoss())
        born_there = reportgen.examine(nn.Linear(4, 3), data, loss=nn.CrossEntropyLoss())
    assert not [d for d in born_there.diagnoses if d.severity != "info"]
    assert "inference mode" in next(row.reason for row in born_there.coverage if row.part == "gradients")
    assert report.gradients is not None
    assert not [d for d in report.diagnoses if d.severity != "info"]
