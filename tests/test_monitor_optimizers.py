"""Several optimizers under one monitor: from the start, one after another, and beside one another."""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

import reportgen
from reportgen.document.history import History, LoopFacts
from reportgen.health.curves import is_adversarial
from reportgen.training.journal import read_journal
from reportgen.training.naming import clean

from .test_monitor import batches, net, parameter, plain, series

SGD, Adam, AdamW = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW


def loop(history: History) -> LoopFacts:
    assert history.loop is not None
    return history.loop


def loss_of(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return nn.functional.cross_entropy(model(x), y)


def causes(monitor: reportgen.Monitor) -> set[str]:
    return {f.rule for f in monitor.report().findings}


# --- one after another ------------------------------------------------------------------------------------------------


def test_fine_tuning_in_two_stages() -> None:
    model = net()
    model[0].requires_grad_(False)
    head = SGD(model[2:].parameters(), lr=0.1)
    monitor = reportgen.Monitor(model, head)
    with monitor:
        for x, y in batches(20):
            monitor.log(train_loss=plain(model, x, y, head))
        model[0].requires_grad_(True)
        whole = AdamW(model.parameters(), lr=1e-3)
        for x, y in batches(30):
            monitor.log(train_loss=plain(model, x, y, whole))
    history = monitor.history()
    facts = loop(history)
    assert (history.steps, [o.n_steps for o in facts.optimizers]) == (50, [20, 30])
    assert [(o.first_step, o.last_step) for o in facts.optimizers] == [(1, 20), (21, 50)]
    assert not is_adversarial(history)
    # one curve each goes on through both stages, in the order of time
    for name in ("gradient_norm", "learning_rate", "update_ratio", "train_loss"):
        curve = history.get(name, "step")
        assert curve is not None, name
        assert curve.x == sorted(set(curve.x)), name
        assert curve.x[-1] > 20, name
    rate = history.get("learning_rate", "step")
    assert rate is not None
    assert dict(zip(rate.x, rate.y, strict=True)) == {1.0: 0.1, 20.0: 0.1, 21.0: 1e-3, 50.0: 1e-3}
    # every parameter has an owner and was measured in the second stage
    assert {p.optimizer for p in history.parameters} == {1}
    body = parameter(history, "0.weight")
    assert body.update_ratio is not None
    assert body.update_ratio.x[0] == 21
    assert body.changed
    layers = {row.name: row.rms for row in history.layers}
    assert layers["0"] is not None
    assert max(layers["0"].x) > 20
    told = [e for e in history.events if e.kind == "note"]
    assert [(e.step, e.detail) for e in told] == [(21, "AdamW takes its first step, on parameters of SGD")]
    assert not {f for f in causes(monitor) if "optimizer" in f}


def test_the_first_optimizer_comes_back() -> None:
    model = net()
    first, second = SGD(model.parameters(), lr=0.1), Adam(model.parameters(), lr=1e-3)
    monitor = reportgen.Monitor(model, first)
    with monitor:
        for optimizer, n in ((first, 12), (second, 15), (first, 20)):
            for x, y in batches(n):
                monitor.log(train_loss=plain(model, x, y, optimizer))
    history = monitor.history()
    assert (history.steps, [o.n_steps for o in loop(history).optimizers]) == (47, [32, 15])


@pytest.mark.slow
def test_optimizers_made_anew_are_one_and_their_memory_is_free() -> None:
    model = net()
    monitor = reportgen.Monitor(model)
    gone = []
    with monitor:
        for _ in range(20):
            optimizer = Adam(model.parameters(), lr=1e-3)
            for x, y in batches(4):
                monitor.log(train_loss=plain(model, x, y, optimizer))
            gone.append(weakref.ref(optimizer))
        del optimizer
        other = SGD(model.parameters(), lr=0.1)
        plain(model, *batches(1)[0], other)
        gc.collect()
        assert not any(ref() for ref in gone)
    history = monitor.history()
    assert history.steps == 81
    assert [(o.name, o.n_steps) for o in loop(history).optimizers] == [("Adam", 80), ("SGD", 1)]


@pytest.mark.parametrize("kind", [SGD, Adam])
def test_optimizers_that_take_turns_on_the_same_parameters_are_kept(kind: type[torch.optim.Optimizer]) -> None:
    model = net()
    one, two = SGD(model.parameters(), lr=0.1), kind(model.parameters(), lr=0.01)  # type: ignore[call-arg]
    monitor = reportgen.Monitor(model, one)
    with monitor:
        for i, (x, y) in enumerate(batches(60)):
            plain(model, x, y, (one, two)[i % 2])
        notes = len([e for e in monitor.history().events if e.kind == "note"])
    history = monitor.history()
    assert notes <= 12
    assert sum(o.n_steps for o in loop(history).optimizers) == 60
    assert [e for e in history.events if "not watched" in e.detail] == []
    for optimizer in (one, two):
        assert not optimizer._optimizer_step_post_hooks
        assert not optimizer._optimizer_step_pre_hooks


def test_a_second_stage_for_another_part() -> None:
    model = net()
    body, head = SGD(model[0].parameters(), lr=0.1), SGD(model[4].parameters(), lr=0.2)
    monitor = reportgen.Monitor(model, body)
    with monitor:
        for optimizer in (body, head):
            for x, y in batches(30):
                monitor.log(train_loss=plain(model, x, y, optimizer))
    history = monitor.history()
    assert (history.steps, [o.n_steps for o in loop(history).optimizers]) == (60, [30, 30])
    assert [o.label for o in loop(history).optimizers] == ["", "4"]
    assert not is_adversarial(history)
    assert {p.name: p.optimizer for p in history.parameters if p.is_matrix} == {"0.weight": 0, "4.weight": 1}


def test_an_optimizer_that_nobody_named() -> None:
    model, other = net(), net()
    optimizer, stranger = SGD(model.parameters(), lr=0.1), SGD(other.parameters(), lr=0.1)
    monitor = reportgen.Monitor(model)
    with monitor:
        for x, y in batches(10):
            plain(other, x, y, stranger)
            monitor.log(train_loss=plain(model, x, y, optimizer))
    history = monitor.history()
    assert (history.steps, history.optimizer) == (10, "SGD")
    assert history.hyperparameters["lr"] == 0.1
    assert series(history, "gradient_norm")
    assert {p.optimizer for p in history.parameters} == {0}
    assert history.loop is not None
    assert history.loop.n_beside == 10


class Lookahead(torch.optim.Optimizer):
    """One that lets another do its work, as SAM and others do."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        super().__init__(inner.param_groups, {})
        self.inner = inner

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        self.inner.step()


@pytest.mark.parametrize("named", ["outer", "inner", "none"])
def test_an_optimizer_inside_another_takes_the_same_step(named: str) -> None:
    model = net()
    inner = SGD(model.parameters(), lr=0.1)
    outer = Lookahead(inner)
    monitor = reportgen.Monitor(model, {"outer": outer, "inner": inner, "none": None}[named])
    with monitor:
        for x, y in batches(10):
            plain(model, x, y, outer)
    history = monitor.history()
    assert (history.steps, len(loop(history).optimizers)) == (10, 1)


def test_no_hook_is_left_behind() -> None:
    before = len(_global_optimizer_pre_hooks), len(_global_optimizer_post_hooks)
    model = net()
    first, second = SGD(model.parameters(), lr=0.1), Adam(model.parameters(), lr=0.1)
    with contextlib.suppress(RuntimeError), reportgen.Monitor(model, first):
        for optimizer in (first, second):
            for x, y in batches(3):
                plain(model, x, y, optimizer)
        raise RuntimeError
    assert (len(_global_optimizer_pre_hooks), len(_global_optimizer_post_hooks)) == before
    for optimizer in (first, second):
        assert not optimizer._optimizer_step_pre_hooks
        assert not optimizer._optimizer_step_post_hooks


# --- side by side -----------------------------------------------------------------------------------------------------


def matrices_and_rest(model: nn.Module) -> list[torch.optim.Optimizer]:
    """As with Muon: one for the matrices, one for the rest."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    return [SGD(matrices, lr=0.1, momentum=0.9), AdamW([p for p in model.parameters() if p.dim() < 2], lr=1e-3)]


@pytest.mark.parametrize("accumulated", [1, 3])
def test_two_optimizers_on_one_loss_are_no_adversaries(accumulated: int) -> None:
    model = net()
    optimizers = matrices_and_rest(model)
    monitor = reportgen.Monitor(model, optimizers, accumulation=accumulated)
    with monitor:
        for i, (x, y) in enumerate(batches(120)):
            loss = loss_of(model, x, y) / accumulated
            loss.backward()
            monitor.log(train_loss=loss)
            if (i + 1) % accumulated == 0:
                for optimizer in optimizers:
                    optimizer.step()
                for optimizer in optimizers:
                    optimizer.zero_grad()
    history = monitor.history()
    assert not is_adversarial(history)
    first, second = loop(history).optimizers
    assert (first.n_joined, second.n_joined) == (0, second.n_seen)
    assert first.passes == second.passes == accumulated
    assert {"gradient_norm/SGD", "gradient_norm/AdamW", "learning_rate/SGD"} <= {s.name for s in history.series}


@pytest.mark.parametrize("n_critic", [1, 5])
def test_adversaries_are_told_from_that(n_critic: int) -> None:
    maker, critic = nn.Linear(4, 6), nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))
    makes, judges = Adam(maker.parameters(), lr=1e-3), Adam(critic.parameters(), lr=1e-3)
    monitor = reportgen.Monitor(nn.ModuleDict({"maker": maker, "critic": critic}), [makes, judges])
    with monitor:
        for i, (x, _y) in enumerate(batches(150)):
            judges.zero_grad()
            (critic(maker(torch.randn(8, 4)).detach()).mean() - critic(x).mean()).backward()
            judges.step()
            if i % n_critic == 0:
                makes.zero_grad()
                loss = -critic(maker(torch.randn(8, 4))).mean()
                loss.backward()
                makes.step()
                monitor.log(train_loss=loss)
    history = monitor.history()
    assert is_adversarial(history)
    assert [o.label for o in loop(history).optimizers] == ["maker", "critic"]
    assert history.steps == 150


def test_names_that_were_given() -> None:
    model = net()
    one, two = matrices_and_rest(model)
    monitor = reportgen.Monitor(model, {"muon": one, "adam": two})
    with monitor:
        for x, y in batches(3):
            loss_of(model, x, y).backward()
            one.step()
            two.step()
    assert {"update_ratio/muon", "gradient_norm/adam"} <= {s.name for s in monitor.history().series}


def test_a_log_of_two_stages_reads_back_the_same(tmp_path: object) -> None:
    model = net()
    path = f"{tmp_path}/run.jsonl"
    monitor = reportgen.Monitor(model, SGD(model[0].parameters(), lr=0.1), log=path)
    with monitor:
        for optimizer in (*monitor.run.optimizers, Adam(model.parameters(), lr=1e-3)):
            for x, y in batches(20):
                plain(model, x, y, optimizer)
    assert read_journal(path) == monitor.history()


@pytest.mark.parametrize(
    ("path", "held", "shown"),
    [
        ("module.conv.0", ["module"], "conv.0"),
        ("module", ["module"], ""),
        ("body.module.module.fc", ["body.module"], "body.module.fc"),  # a module of the user's of that name
        ("module.0", [], "module.0"),
        ("_orig_mod.0._checkpoint_wrapped_module.fc", [], "0.fc"),
        ("_fsdp_wrapped_module.layers.1._fsdp_wrapped_module.w", [], "layers.1.w"),
        ("module._orig_mod.fc", ["module"], "fc"),
    ],
)
def test_wrappers_are_left_out_of_names(path: str, held: list[str], shown: str) -> None:
    assert clean(path, held) == shown
