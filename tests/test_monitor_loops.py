"""The monitor in sick loops, and in loops that are only unusual."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import median
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import reportgen
from reportgen.document.history import History, LoopFacts
from reportgen.health.curves import is_adversarial

from .test_monitor import batches, layer, net, parameter, plain, series, watched


def loop(history: History) -> LoopFacts:
    assert history.loop is not None
    return history.loop


def loss_of(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return nn.functional.cross_entropy(model(x), y)


def sgd(model: nn.Module, lr: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=lr)


# --- gradients that are added up --------------------------------------------------------------------------------------


def never_cleared(model: nn.Module, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
    loss = loss_of(model, x, y)
    loss.backward()
    optimizer.step()
    return loss


def cleared_after(model: nn.Module, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
    loss = never_cleared(model, x, y, optimizer)
    optimizer.zero_grad()
    return loss


def cleared_to_zero(model: nn.Module, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
    optimizer.zero_grad(set_to_none=False)
    return never_cleared(model, x, y, optimizer)


def accumulated(model: nn.Module, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
    optimizer.zero_grad(set_to_none=False)
    for part in range(4):
        (loss_of(model, x[part::4], y[part::4]) / 4).backward()
    optimizer.step()
    return loss_of(model, x, y)


@pytest.mark.parametrize(
    ("step", "stale", "passes"),
    [(never_cleared, 9, 1), (plain, 0, 1), (cleared_after, 0, 1), (cleared_to_zero, 0, 1), (accumulated, 0, 4)],
)
def test_gradients_of_earlier_steps_are_seen(step: Callable[..., Tensor], stale: int, passes: int) -> None:
    model = net()
    facts = loop(watched(model, sgd(model), step, n=10, accumulation=passes))
    # the first step of all cannot be stale
    assert (facts.n_fresh_checked, facts.n_stale) == (10, stale)
    assert (facts.backwards_per_step, facts.declared_accumulation) == (passes, passes)
    assert facts.n_backwards_seen == 10 * passes


@pytest.mark.parametrize("part", [0, -1])
def test_gradients_of_one_part_that_are_never_cleared_are_seen(part: int) -> None:
    def step(model: nn.Module, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        list(model.children())[part].zero_grad()
        loss = loss_of(model, x, y)
        loss.backward()
        optimizer.step()
        return loss

    model = net()
    facts = loop(watched(model, sgd(model), step, n=10))
    assert (facts.n_fresh_checked, facts.n_stale) == (10, 9)


def test_a_loop_that_never_steps_is_seen() -> None:
    model = net()

    def step(model: nn.Module, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        loss = loss_of(model, x, y)
        loss.backward()
        return loss

    history = watched(model, sgd(model), step, n=50)
    assert (history.steps, loop(history).n_backwards_seen) == (0, 50)
    assert [o.n_steps for o in loop(history).optimizers] == [0]
    assert parameter(history, "0.weight").changed is False
    assert parameter(history, "0.weight").n_looked == 0


def averaged(model: nn.Module) -> None:
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p / 2)


def loaded(model: nn.Module) -> None:
    model.load_state_dict({name: 2 * value for name, value in model.state_dict().items()})


@pytest.mark.parametrize(("write", "expected"), [(averaged, True), (loaded, True), (nn.Module.eval, False)])
def test_weights_that_something_else_than_a_step_wrote_last(
    write: Callable[[nn.Module], object], expected: bool
) -> None:
    model = net()
    optimizer = sgd(model)
    monitor = reportgen.Monitor(model, optimizer)
    with monitor:
        for _ in range(5):
            plain(model, torch.randn(8, 6), torch.randint(3, (8,)), optimizer)
        assert [o.rewritten for o in loop(monitor.history()).optimizers] == [False]
        write(model)
        assert [o.rewritten for o in loop(monitor.history()).optimizers] == [expected]
        plain(model, torch.randn(8, 6), torch.randint(3, (8,)), optimizer)
    assert [o.rewritten for o in loop(monitor.history()).optimizers] == [False]


# --- parameters -------------------------------------------------------------------------------------------------------


def test_who_owns_what_and_what_gets_gradients() -> None:
    class Parts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.frozen, self.loose, self.idle = (nn.Linear(6, 6) for _ in range(4))
            self.head = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.loose(self.frozen(self.used(x)))) + 0 * self.idle(x)[:, :3]  # type: ignore[no-any-return]

    model = Parts()
    model.frozen.requires_grad_(False)
    stranger = nn.Parameter(torch.zeros(3))
    owned = [*model.used.parameters(), *model.idle.parameters(), *model.head.parameters(), stranger]
    history = watched(model, torch.optim.SGD([{"params": owned[:2]}, {"params": owned[2:]}], lr=0.1))
    rows = {p.name: p for p in history.parameters}
    assert {name: (p.optimizer, p.group, p.trainable) for name, p in rows.items() if "weight" in name} == {
        "used.weight": (0, 0, True),
        "frozen.weight": (None, None, False),
        "loose.weight": (None, None, True),
        "idle.weight": (0, 1, True),
        "head.weight": (0, 1, True),
    }
    assert loop(history).optimizers[0].foreign == 1
    assert loop(history).optimizers[0].group_sizes == [42, 42 + 21 + 3]
    assert rows["idle.weight"].n_grad_zero == rows["idle.weight"].n_looked > 3
    assert rows["frozen.weight"].n_looked == 0
    assert rows["loose.weight"].n_looked == rows["used.weight"].n_looked
    assert rows["loose.weight"].changed is False
    assert rows["used.weight"].changed is True


def test_parameters_without_any_gradient_are_counted() -> None:
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(6, 2), nn.Linear(2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(x).detach())  # type: ignore[no-any-return]

    model = Cut()
    history = watched(model, sgd(model))
    body = parameter(history, "body.weight")
    assert body.n_grad_none == body.n_looked > 3
    assert body.gradient_norm is None
    assert parameter(history, "head.weight").n_grad_none == 0
    assert loop(history).n_fresh_checked == 9  # seen at the head, once the body was known to get nothing


def test_a_group_that_is_added_later_and_a_part_that_thaws() -> None:
    model = net()
    model[0].requires_grad_(False)
    optimizer = torch.optim.SGD(model[2:].parameters(), lr=0.1)
    monitor = reportgen.Monitor(model, optimizer)
    with monitor:
        for i, (x, y) in enumerate(batches(20)):
            if i == 5:
                model[0].requires_grad_(True)
                optimizer.add_param_group({"params": model[0].parameters(), "lr": 0.01})
            plain(model, x, y, optimizer)
    history = monitor.history()
    row = parameter(history, "0.weight")
    assert (row.optimizer, row.group, row.trainable, row.changed) == (0, 1, True, True)
    assert 0 < row.n_looked < parameter(history, "4.weight").n_looked
    assert history.get("learning_rate/1") is not None


# --- clipping ---------------------------------------------------------------------------------------------------------


def clipped(limit: float) -> Callable[..., Tensor]:
    def step(model: nn.Module, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(model, x, y)
        loss.backward()
        norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), limit)))
        optimizer.step()
        return loss

    norms: list[float] = []
    step.norms = norms  # type: ignore[attr-defined]
    return step


def test_clipped_steps_are_counted_and_the_limit_is_found() -> None:
    model, step = net(), clipped(0.3)
    facts = loop(watched(model, sgd(model), step))
    factors = sorted(0.3 / n for n in step.norms if n > 0.3)  # type: ignore[attr-defined]
    assert (facts.n_clip_checked, facts.n_clipped) == (10, len(factors))
    assert facts.clip_norm == pytest.approx(0.3, rel=1e-3)
    assert facts.clip_factor == pytest.approx((factors[4] + factors[5]) / 2, rel=1e-3)
    facts = loop(watched(model, sgd(model), clipped(1e6)))
    assert (facts.n_clip_checked, facts.n_clipped, facts.clip_norm) == (10, 0, None)


def test_gradients_scaled_by_a_constant_are_not_clipped() -> None:
    model = net()

    def step(model: nn.Module, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(model, x, y) * 3
        loss.backward()
        for p in model.parameters():
            p.grad /= 3  # type: ignore[operator]
        optimizer.step()
        return loss

    assert loop(watched(model, sgd(model), step)).n_clipped == 0


# --- what stops being finite ------------------------------------------------------------------------------------------


def test_the_first_value_that_is_not_finite_is_placed() -> None:
    model = net()

    def step(model: nn.Module, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        seen.append(0)
        optimizer.zero_grad()
        loss = loss_of(model, x, y) * (math.inf if len(seen) == 37 else 1.0)
        loss.backward()
        optimizer.step()
        return loss

    seen: list[int] = []
    history = watched(model, sgd(model), step, n=60)
    events = {e.part: e for e in history.events if e.kind == "nonfinite"}
    assert {part: e.step for part, e in events.items()} == {"loss": 37, "gradient": 37, "weight": 37, "activation": 38}
    assert events["loss"].subject == "train_loss"
    assert events["activation"].subject == "0"
    assert events["weight"].subject == "0.weight"
    assert events["gradient"].subject == "4.bias"  # the last parameter is the first that gradients reach
    assert "learning_rate 0.1; gradient_norm " in events["loss"].detail
    assert history.get("train_loss", "step").first_nonfinite == 37  # type: ignore[union-attr]


def test_a_masked_position_is_no_fault_and_an_overflow_is_one() -> None:
    class Masked(nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.lin, self.mask, self.value = nn.Linear(6, 3), nn.Identity(), value
            self.fill = Fill(value)

        def forward(self, x: Tensor) -> Tensor:
            return self.fill(self.lin(x)).softmax(1)  # type: ignore[no-any-return]

    class Fill(nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.value = value

        def forward(self, x: Tensor) -> Tensor:
            return x.masked_fill(torch.tensor([False, False, True]), self.value)

    model: nn.Module = Masked(-math.inf)
    assert not [e for e in watched(model, sgd(model)).events if e.part == "activation"]
    model = Masked(math.inf)
    (event,) = [e for e in watched(model, sgd(model)).events if e.part == "activation"]
    assert (event.subject, event.step) == ("fill", 1)


# --- modes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_training_and_of_validation_is_seen(training: bool) -> None:
    model = net()
    optimizer = sgd(model)
    monitor = reportgen.Monitor(model, optimizer)
    with monitor:
        for _ in range(2):
            model.train(training)
            for x, y in batches(5):
                plain(model, x, y, optimizer)
            model.train(not training)
            with torch.no_grad():
                for x, _y in batches(3):
                    model(x)
    facts = loop(monitor.history())
    counts = (facts.n_train_steps, facts.n_eval_steps, facts.n_train_validations, facts.n_eval_validations)
    looked = parameter(monitor.history(), "0.weight").n_looked
    assert counts == ((looked, 0, 0, 6) if training else (0, looked, 6, 0))
    relu = layer(monitor.history(), "1")
    assert (relu.train_calls > 0, relu.eval_calls > 0) == (training, not training)


def test_a_model_without_such_modules_has_no_modes_to_speak_of() -> None:
    model = nn.Linear(6, 3)
    facts = loop(watched(model, sgd(model)))
    assert (facts.n_train_steps, facts.n_eval_steps) == (0, 0)


# --- optimizers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, foreach=True),
        lambda p: torch.optim.Adam(p, lr=0.01, foreach=True),
        lambda p: torch.optim.Adam(p, lr=0.01, fused=True),
        lambda p: torch.optim.Adam(p, lr=torch.tensor(0.01), foreach=False),
        lambda p: torch.optim.Adagrad(p, lr=0.1),
        lambda p: torch.optim.Adadelta(p),
        lambda p: torch.optim.RMSprop(p, lr=0.01),
        lambda p: torch.optim.NAdam(p, lr=0.01),
        lambda p: torch.optim.Adafactor(p, lr=0.01),
        lambda p: torch.optim.Rprop(p, lr=0.01),
        lambda p: torch.optim.ASGD(p, lr=0.01),
        lambda p: torch.optim.Adamax(p, lr=0.01),
    ],
)
def test_every_kind_of_optimizer(make: Callable[[Any], torch.optim.Optimizer]) -> None:
    model, twin = net(), net()
    optimizer, other = make(model.parameters()), make(twin.parameters())
    torch.manual_seed(3)
    history = watched(model, optimizer)
    torch.manual_seed(3)
    for x, y in batches():
        plain(twin, x, y, other)
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b)
    assert [e for e in history.events if e.kind == "note"] == []
    assert history.steps == 10
    assert len(series(history, "update_ratio")) >= 3
    assert parameter(history, "0.weight").changed
    assert history.get("learning_rate", "step") is not None
    assert loop(history).n_clipped == 0


def test_closures_are_one_step_however_often_they_are_called() -> None:
    model = net()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=5)
    calls = []

    def step(model: nn.Module, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        def closure() -> Tensor:
            calls.append(0)
            optimizer.zero_grad()
            loss = loss_of(model, x, y)
            loss.backward()
            return loss

        return optimizer.step(closure)  # type: ignore[no-any-return, call-overload]

    history = watched(model, optimizer, step, n=4)
    facts = loop(history)
    assert history.steps == 4
    assert facts.n_backwards_seen == len(calls) > 8
    assert (facts.n_stale, facts.n_fresh_checked, facts.n_clipped) == (0, 4, 0)
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert series(history, "gradient_norm")[-1] == pytest.approx(float(nn.utils.get_total_norm(gradients)), rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "clears", "micro", "stale"),
    [
        ("LBFGS", "inside", 1, 0),
        ("LBFGS", "before", 1, 4),  # each evaluation of a step adds to those before it
        ("LBFGS", "never", 1, 4),
        ("LBFGS", "inside", 3, 0),  # three parts of a batch to an evaluation
        ("SGD", "inside", 3, 0),
        ("SGD", "before", 1, 0),
        ("SGD", "never", 1, 3),
    ],
)
def test_a_closure_clears_the_gradients_of_its_own_evaluations(kind: str, clears: str, micro: int, stale: int) -> None:
    model = net()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=5) if kind == "LBFGS" else sgd(model)

    def step(model: nn.Module, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        def closure() -> Tensor:
            if clears == "inside":
                optimizer.zero_grad()
            for part in range(micro):
                loss = loss_of(model, x[part::micro], y[part::micro])
                loss.backward()
            return loss

        if clears == "before":
            optimizer.zero_grad()
        return optimizer.step(closure)  # type: ignore[no-any-return, call-overload]

    assert loop(watched(model, optimizer, step, n=4)).n_stale == stale


def test_sparse_gradients() -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(50, 8, sparse=True), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.table((x * 10).long().abs() % 50).mean(1))  # type: ignore[no-any-return]

    model = Words()
    norms = []

    def step(model: nn.Module, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        loss = plain(model, x, y, optimizer)
        norms.append(float(model.table.weight.grad.to_dense().norm()))  # type: ignore[union-attr]
        return loss

    history = watched(model, sgd(model), step, n=3)
    table = parameter(history, "table.weight")
    assert table.gradient_norm is not None
    assert table.gradient_norm.y == pytest.approx(norms, rel=1e-5)
    assert not table.is_matrix
    assert [e for e in history.events if e.kind == "note"] == []


def test_two_models_and_two_optimizers() -> None:
    """A GAN: the generator's backward pass adds onto gradients of the critic that its own step then clears."""
    torch.manual_seed(0)
    maker = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6))
    critic = nn.Sequential(nn.Linear(6, 8), nn.LeakyReLU(), nn.Dropout(0.1), nn.Linear(8, 1))
    first, second = torch.optim.Adam(critic.parameters(), lr=1e-3), torch.optim.Adam(maker.parameters(), lr=1e-2)
    monitor = reportgen.Monitor({"maker": maker, "critic": critic}, [first, second])
    with monitor:
        for x, _y in batches(12):
            fake = maker(torch.randn(8, 4))
            first.zero_grad()
            loss = critic(fake.detach()).mean() - critic(x).mean()
            loss.backward()
            first.step()
            second.zero_grad()
            made = -critic(fake).mean()
            made.backward()
            second.step()
            monitor.log(critic_loss=loss, maker_loss=made)
    history = monitor.history()
    facts = loop(history)
    assert (history.steps, [o.n_steps for o in facts.optimizers], history.optimizer) == (12, [12, 12], "Adam, Adam")
    assert parameter(history, "maker.0.weight").optimizer == 1
    assert parameter(history, "critic.0.weight").optimizer == 0
    assert facts.n_stale == 0
    assert facts.n_fresh_checked == 24
    assert {s.name for s in history.series} >= {
        "gradient_norm/critic",
        "gradient_norm/maker",
        "learning_rate/critic",
        "learning_rate/maker",
    }
    assert [o.label for o in facts.optimizers] == ["critic", "maker"]
    assert is_adversarial(history)
    assert {item.name for item in history.layers} >= {"maker.0", "critic.0"}
    assert facts.n_train_steps > 3


def test_models_in_a_list_are_told_apart() -> None:
    names = list(reportgen.Monitor([nn.Linear(1, 1), nn.ReLU(), nn.Linear(2, 2)]).run.models)
    assert names == ["Linear0.", "ReLU.", "Linear1."]


# --- mixed precision, compilation, casts ------------------------------------------------------------------------------


def test_the_scale_of_mixed_precision_is_followed() -> None:
    model = net()
    optimizer = sgd(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    monitor = reportgen.Monitor(model, optimizer, scaler=scaler)
    with monitor:
        for i, (x, y) in enumerate(batches(12)):
            optimizer.zero_grad()
            loss = loss_of(model, x, y) * (math.inf if i in (4, 7) else 1.0)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
    history = monitor.history()
    facts = loop(history)
    assert (facts.scaler_first, facts.scaler_last, facts.scaler_halvings) == (1024.0, 256.0, 2)
    assert [(e.kind, e.value) for e in history.events] == [("scaler", 512.0), ("scaler", 256.0)]
    assert history.steps == 10  # the scaler leaves two out
    # taking the scale off is no clipping
    assert facts.n_clip_checked > 5
    assert facts.n_clipped == 0


@pytest.mark.parametrize("limit", [math.inf, 0.1])
def test_a_scaler_that_nobody_told_of_is_found(limit: float) -> None:
    model = net()
    optimizer = sgd(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    monitor = reportgen.Monitor(model, optimizer)
    shares = []
    with monitor:
        for x, y in batches(12):
            optimizer.zero_grad()
            scaler.scale(loss_of(model, x, y)).backward()
            scaler.unscale_(optimizer)
            norm = float(nn.utils.clip_grad_norm_(model.parameters(), limit))
            shares.append(min(limit / norm, 1.0))
            scaler.step(optimizer)
            scaler.update()
    facts = loop(monitor.history())
    assert (facts.scaler_first, facts.scaler_halvings) == (1024.0, 0)
    if limit == math.inf:
        assert (facts.n_clipped, facts.clip_factor) == (0, None)
    else:
        assert max(shares) < 1
        assert facts.n_clipped == facts.n_clip_checked == 11  # all but the one in which it was found
        assert facts.clip_factor == pytest.approx(median(shares[1:]), rel=1e-3)


def test_a_scale_taken_off_by_hand_is_no_clipping() -> None:
    model = net()

    def step(model: nn.Module, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        optimizer.zero_grad()
        (loss_of(model, x, y) * 1024).backward()
        for p in model.parameters():
            p.grad /= 1024
        optimizer.step()
        return loss_of(model, x, y)

    facts = loop(watched(model, sgd(model), step))
    assert (facts.n_clipped, facts.scaler_first, facts.scaler_halvings) == (0, None, None)


def test_a_compiled_model_is_watched_from_outside() -> None:
    torch.compiler.reset()
    model, twin = net(), net()
    compiled = torch.compile(model, backend="eager")
    optimizer = sgd(model)
    torch.manual_seed(2)
    history = watched(compiled, optimizer)  # type: ignore[arg-type]
    torch.manual_seed(2)
    for x, y in batches():
        plain(twin, x, y, sgd(twin))
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    assert parameter(history, "0.weight").changed
    assert (history.steps, history.batch_size) == (10, 8)
    assert [e for e in history.events if e.kind == "note"] == []


def test_a_model_that_is_cast_in_the_middle() -> None:
    model = net()
    optimizer = sgd(model)
    monitor = reportgen.Monitor(model, optimizer)
    with monitor:
        for x, y in batches(4):
            plain(model, x, y, optimizer)
        model.double()
        for x, y in batches(4):
            plain(model, x.double(), y, optimizer)
    history = monitor.history()
    assert [e for e in history.events if e.kind == "note"] == []
    assert history.steps == 8
    assert loop(history).n_fresh_checked == 8
    assert parameter(history, "0.weight").changed


def test_half_precision_is_measured_in_full() -> None:
    model = nn.Linear(6, 3).to(torch.bfloat16)

    def step(model: nn.Module, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        return plain(model, x.to(torch.bfloat16), y, optimizer)

    history = watched(model, sgd(model), step, n=1)
    gradients = [p.grad.double() for p in model.parameters() if p.grad is not None]
    assert series(history, "gradient_norm") == pytest.approx([float(nn.utils.get_total_norm(gradients))], rel=1e-5)


def test_lazy_modules_and_a_loop_that_calls_no_forward_of_the_model() -> None:
    model = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 3))
    optimizer: torch.optim.Optimizer | None = None
    monitor = reportgen.Monitor(model)
    with monitor:
        monitor.log(train_loss=1.0)
        model(torch.randn(2, 6))
    assert monitor.history().steps == 1
    optimizer = sgd(model)

    def by_parts(model: nn.Module, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        optimizer.zero_grad()
        for part in model.children():
            x = part(x)
        loss = nn.functional.cross_entropy(x, y)
        loss.backward()
        optimizer.step()
        return loss

    history = watched(model, optimizer, by_parts)
    assert layer(history, "1").train_calls == loop(history).n_train_steps == parameter(history, "0.weight").n_looked
    assert series(history, "train_loss")
    assert history.get("train_loss", "step").x == list(range(1, 11))  # type: ignore[union-attr]
