"""The monitor in healthy loops: every figure against a direct computation, and no trace left."""

from __future__ import annotations

import copy
import io
import math
import pickle
from collections.abc import Callable
from statistics import median_low
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.document.history import History, LayerRun, ParameterRun
from reportgen.training.samples import N_BARS, bars_of

Step = Callable[[nn.Module, Tensor, Tensor, torch.optim.Optimizer], Tensor]


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.BatchNorm1d(16), nn.Dropout(0.2), nn.Linear(16, 3))


def batches(n: int = 10) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 8, 6, generator=generator)
    return [(a, (a[:, 0] > 0).long() + (a[:, 1] > 1).long()) for a in x]


def plain(model: nn.Module, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss


def watched(
    model: nn.Module, optimizer: torch.optim.Optimizer, step: Step = plain, n: int = 10, **options: Any
) -> History:
    """Train for one epoch of n steps under a monitor."""
    monitor = reportgen.Monitor(model, optimizer, progress=False, **options)
    with monitor:
        for x, y in batches(n):
            monitor.log(train_loss=step(model, x, y, optimizer))
        monitor.log(epoch=1, val_loss=1.0)
    return monitor.history()


def parameter(history: History, name: str) -> ParameterRun:
    return next(p for p in history.parameters if p.name == name)


def layer(history: History, name: str) -> LayerRun:
    return next(item for item in history.layers if item.name == name)


def series(history: History, name: str, axis: str = "step") -> list[float | None]:
    found = history.get(name, axis)
    assert found is not None
    return found.y


def traces(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Everything that a monitor could leave behind."""
    return {
        "hooks": [
            (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks), m.training)
            for m in model.modules()
        ],
        "parameters": [(p._backward_hooks, p._post_accumulate_grad_hooks) for p in model.parameters()],
        "optimizer": (len(optimizer._optimizer_step_pre_hooks), len(optimizer._optimizer_step_post_hooks)),
        "attributes": [sorted(vars(m)) for m in model.modules()],
    }


def test_training_is_the_same_to_the_bit_and_nothing_is_left_behind() -> None:
    ours, theirs = net(), net()
    a = torch.optim.AdamW(ours.parameters(), lr=0.01)
    b = torch.optim.AdamW(theirs.parameters(), lr=0.01)
    before = traces(ours, a)
    torch.manual_seed(1)
    watched(ours, a, n=40)
    rng = torch.get_rng_state()
    torch.manual_seed(1)
    for x, y in batches(40):
        plain(theirs, x, y, b)
    assert torch.equal(rng, torch.get_rng_state())
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name
    assert traces(ours, a) == before


def test_gradients_and_movement_are_those_of_a_loop_by_hand() -> None:
    model = net()
    norms, each, ratios = [], [], []

    def step(model: nn.Module, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        gradients = [p.grad.double() for p in model.parameters() if p.grad is not None]
        norms.append(math.sqrt(sum(float(g.square().sum()) for g in gradients)))
        each.append(float(gradients[0].norm()))
        before = [p.detach().clone() for p in model.parameters() if p.dim() > 1]
        optimizer.step()
        after = [p.detach() for p in model.parameters() if p.dim() > 1]
        ratios.append([float((b - a).norm() / a.norm()) for a, b in zip(before, after, strict=True)])
        return loss

    history = watched(model, torch.optim.SGD(model.parameters(), lr=0.1), step, n=4)
    assert series(history, "gradient_norm") == pytest.approx(norms, rel=1e-5)
    assert series(history, "update_ratio") == pytest.approx([median_low(r) for r in ratios], rel=1e-4)
    first = parameter(history, "0.weight")
    assert first.gradient_norm is not None
    assert first.update_ratio is not None
    assert first.gradient_norm.y == pytest.approx(each, rel=1e-5)
    assert first.update_ratio.y == pytest.approx([r[0] for r in ratios], rel=1e-4)
    assert (first.n_steps, first.n_looked, first.n_grad_none, first.n_grad_zero) == (4, 4, 0, 0)


def test_the_way_from_start_to_end_is_measured() -> None:
    model = net()
    start = model[0].weight.detach().clone()
    history = watched(model, torch.optim.SGD(model.parameters(), lr=0.1))
    moved = float((model[0].weight.detach() - start).norm() / start.norm())
    assert parameter(history, "0.weight").moved == pytest.approx(moved, rel=1e-5)
    assert parameter(history, "0.weight").changed
    assert parameter(history, "2.bias").moved is None  # it starts at zero
    assert parameter(history, "2.bias").changed


def test_outputs_of_layers_are_those_of_the_training_passes() -> None:
    model = net()
    with torch.no_grad():
        model[0].weight[:4] = 0.0
        model[0].bias[:4] = -1.0  # a quarter of the units never fire
    seen: list[float] = []
    model[1].register_forward_hook(lambda m, a, out: seen.append(float(out.detach().square().mean().sqrt())))
    history = watched(model, torch.optim.SGD(model.parameters(), lr=1e-3), n=3)
    relu = layer(history, "1")
    assert relu.rms is not None
    assert relu.silent is not None
    assert relu.rms.y == pytest.approx(seen, rel=1e-5)
    assert relu.silent.y[0] == pytest.approx(0.25)
    assert relu.rectifier
    assert (relu.train_calls, relu.eval_calls) == (3, 0)
    assert [item.name for item in history.layers] == ["0", "1", "2", "4"]


def test_epochs_get_the_mean_loss_of_their_steps_unless_one_is_logged() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor = reportgen.Monitor(model, optimizer)
    losses: list[list[float]] = []
    with monitor:
        for epoch in range(1, 4):
            losses.append([])
            for x, y in batches(5):
                loss = plain(model, x, y, optimizer)
                losses[-1].append(loss.item())
                monitor.log(train_loss=loss)
            monitor.log(epoch=epoch, val_loss=0.5)
            monitor.log(epoch=epoch, val_accuracy=0.9)
    history = monitor.history()
    found = history.get("train_loss", "epoch")
    assert found is not None
    assert found.x == [1, 2, 3]
    assert found.y == pytest.approx([sum(part) / 5 for part in losses], rel=1e-6)
    assert series(history, "val_accuracy", "epoch") == [0.9, 0.9, 0.9]
    assert history.epochs == 3
    with monitor:
        monitor.log(epoch=4, train_loss=9.0)
    assert series(monitor.history(), "train_loss", "epoch") == [9.0]


def test_logging_before_or_after_the_step_gives_the_same_places() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor = reportgen.Monitor(model, optimizer)
    with monitor:
        for x, y in batches(4):
            loss = nn.functional.cross_entropy(model(x), y)
            monitor.log(early=loss)
            optimizer.zero_grad()
            loss.backward()
            monitor.log(middle=loss)
            optimizer.step()
            monitor.log(late=loss)
    for name in ("early", "middle", "late"):
        found = monitor.history().get(name)
        assert found is not None
        assert found.x == [1, 2, 3, 4]


def test_learning_rates_are_those_of_the_steps() -> None:
    model = net()
    optimizer = torch.optim.SGD(
        [{"params": model[0].parameters()}, {"params": model[4].parameters(), "lr": 1.0}], lr=0.1
    )
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.1)
    monitor = reportgen.Monitor(model, optimizer)
    with monitor:
        for x, y in batches(7):
            plain(model, x, y, optimizer)
            schedule.step()
        monitor.log(epoch=1)
    history = monitor.history()
    first, second = history.get("learning_rate/0", "step"), history.get("learning_rate/1", "step")
    assert first is not None
    assert second is not None
    assert dict(zip(first.x, first.y, strict=True)) == pytest.approx({1: 0.1, 3: 0.1, 4: 0.01, 6: 0.01, 7: 0.001})
    assert second.y == pytest.approx([1.0, 1.0, 0.1, 0.1, 0.01])
    assert series(history, "learning_rate/0", "epoch") == pytest.approx([0.001])


def test_decay_is_told_from_the_gradient() -> None:
    """With a gradient of zero, AdamW moves weights by decay alone; with no decay there is no share."""
    model = nn.Linear(4, 4, bias=False)

    def still(model: nn.Module, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        optimizer.zero_grad()
        loss = (model(x[:, :4]) * 0).sum()
        loss.backward()
        optimizer.step()
        return loss

    history = watched(model, torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5), still)
    assert parameter(history, "weight").decay_share == pytest.approx(1.0, rel=1e-3)
    assert parameter(history, "weight").n_grad_zero == parameter(history, "weight").n_looked
    history = watched(model, torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0), still)
    assert parameter(history, "weight").decay_share is None


def test_the_second_moment_of_adam_is_read() -> None:
    model = nn.Linear(6, 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e3, betas=(0.9, 0.99))
    history = watched(model, optimizer, n=3)
    weight = parameter(history, "weight")
    assert weight.eps_floor == 1.0  # every root of v is below an epsilon of a thousand
    assert weight.state_nonfinite == 0
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.99))
    history = watched(model, optimizer, n=3)
    weight = parameter(history, "weight")
    assert weight.eps_floor == 0.0
    # in the first step v̂ is the square of the gradient
    assert weight.stale_v is not None
    assert weight.stale_v.y[0] == pytest.approx(1.0, rel=1e-3)
    g = model.weight.grad
    v = optimizer.state[model.weight]["exp_avg_sq"] / (1 - 0.99**3)
    assert g is not None
    assert weight.stale_v.y[-1] == pytest.approx(float((g.square() / v).mean().sqrt()), rel=1e-4)
    optimizer.state[model.weight]["exp_avg"][0, 0] = math.nan
    monitor = reportgen.Monitor(model, optimizer)
    assert parameter(_entered(monitor), "weight").state_nonfinite == 1


def _entered(monitor: reportgen.Monitor) -> History:
    with monitor:
        return monitor.history()


def test_histograms_count_every_entry() -> None:
    model = net()
    history = watched(model, torch.optim.SGD(model.parameters(), lr=0.1), n=9)
    parts = {(h.name, h.part) for h in history.histograms}
    assert {("0.weight", "weight"), ("0.weight", "gradient"), ("1", "activation")} <= parts
    weights = next(h for h in history.histograms if (h.name, h.part) == ("0.weight", "weight"))
    assert [m.x for m in weights.moments] == [1, 2, 4, 9]  # the fourth waits for the look at step 9
    assert all(sum(m.counts) == 6 * 16 for m in weights.moments)
    relu = next(h for h in history.histograms if (h.name, h.part) == ("1", "activation"))
    assert relu.moments[0].low == 0.0
    assert sum(relu.moments[0].counts) == 8 * 16


def test_batches_take_the_time_that_the_loop_waits() -> None:
    import time

    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def slow() -> Any:
        for batch in batches(5):
            time.sleep(0.02)
            yield batch

    monitor = reportgen.Monitor(model, optimizer)
    with monitor:
        for x, y in monitor.batches(slow()):
            plain(model, x, y, optimizer)
        early = monitor.history().loop
    assert early is not None
    assert early.wait_share is not None
    assert 0.1 < early.wait_share < 1.0
    assert early.samples_per_second is not None
    assert monitor.history().batch_size == 8
    assert (monitor.history().seconds or 0.0) >= 0.1
    assert monitor.history().loop.peak_memory_bytes > 1 << 20  # type: ignore[union-attr, operator]


def test_epochs_end_by_themselves() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor = reportgen.Monitor(model, optimizer, progress=False)
    with monitor:
        for _ in monitor.epochs(range(3)):
            for x, y in monitor.batches(batches(2)):
                monitor.log(train_loss=plain(model, x, y, optimizer))
    history = monitor.history()
    found = history.get("train_loss", "epoch")
    assert found is not None
    assert found.x == [0, 1, 2]
    assert (history.epochs, history.steps, history.interrupted, history.source) == (3, 6, "", "monitor")


def test_hyperparameters_and_text_are_kept() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    monitor = reportgen.Monitor(model, optimizer, schedule, hyperparameters={"width": 16, "list": [1, 2]})
    with monitor:
        monitor.log_text("warm-up done", epoch=1)
    history = monitor.history()
    assert history.hyperparameters | {"lr": 0.1, "momentum": 0.9, "scheduler": "StepLR"} == history.hyperparameters
    assert (history.hyperparameters["width"], history.hyperparameters["list"]) == (16, "[1, 2]")
    assert [(e.kind, e.detail) for e in history.events] == [("text", "warm-up done")]


def test_a_report_comes_with_the_history_and_leaves_the_model_alone() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    data = DataLoader(TensorDataset(torch.cat([x for x, _ in batches()]), torch.cat([y for _, y in batches()])), 8)
    monitor = reportgen.Monitor(model, optimizer, loss=nn.CrossEntropyLoss(), options=reportgen.Options(title="Mine"))
    with monitor:
        for x, y in data:
            monitor.log(train_loss=plain(model, x, y, optimizer))
        before = monitor.history()
        report = monitor.report(data)  # in the middle of the run
        after = monitor.history()
    assert report.training is not None
    assert report.training.steps == 10
    assert report.title == "Mine"
    assert report.gradients is not None
    assert before.loop is not None
    assert after.loop is not None
    # what the report did to the model was not taken for training
    assert (after.steps, after.loop.n_eval_validations) == (before.steps, before.loop.n_eval_validations)


def test_what_is_no_scalar_is_refused() -> None:
    model = net()
    monitor = reportgen.Monitor(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with monitor, pytest.raises(reportgen.ReportgenError, match=r"Cannot log x: it is a Tensor of shape \(3,\)"):
        monitor.log(x=torch.zeros(3))
    with monitor, pytest.raises(reportgen.ReportgenError, match="Cannot log x: it is a str"):
        monitor.log(x="high")


@pytest.mark.parametrize(("model", "optimizer"), [(3, None), ([], None), (nn.Linear(1, 1), 3)])
def test_what_cannot_be_watched_is_refused(model: Any, optimizer: Any) -> None:
    with pytest.raises(reportgen.ReportgenError, match="Cannot watch"):
        reportgen.Monitor(model, optimizer)


def test_entering_twice_is_an_error_and_two_monitors_are_none() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = traces(model, optimizer)
    one, two = reportgen.Monitor(model, optimizer), reportgen.Monitor(model, optimizer)
    with one, two:
        with pytest.raises(reportgen.ReportgenError, match="attached already"):
            one.__enter__()
        for x, y in batches(5):
            plain(model, x, y, optimizer)
    assert one.history().steps == two.history().steps == 5
    assert series(one.history(), "gradient_norm") == series(two.history(), "gradient_norm")
    assert traces(model, optimizer) == before


def test_a_monitor_left_in_another_order_takes_only_its_own_hooks() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    one, two = reportgen.Monitor(model, optimizer), reportgen.Monitor(model, optimizer)
    one.__enter__()
    two.__enter__()
    one.__exit__(None, None, None)
    for x, y in batches(3):
        plain(model, x, y, optimizer)
    two.__exit__(None, None, None)
    assert (one.history().steps, two.history().steps) == (0, 3)
    assert two.history().loop.n_fresh_checked == 3  # type: ignore[union-attr]


@pytest.mark.parametrize("error", [ValueError("out of data"), KeyboardInterrupt()])
def test_an_exception_passes_through_and_is_noted(error: BaseException) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = traces(model, optimizer)
    monitor = reportgen.Monitor(model, optimizer)

    def run() -> None:
        with monitor:
            x, y = batches(1)[0]
            plain(model, x, y, optimizer)
            raise error

    with pytest.raises(type(error)) as caught:
        run()
    assert caught.value is error
    history = monitor.history()
    assert type(error).__name__ in history.interrupted
    assert [e.kind for e in history.events] == ["interrupted"]
    assert traces(model, optimizer) == before


def test_copies_and_files_made_in_between_work_without_the_monitor() -> None:
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    monitor = reportgen.Monitor(model, optimizer)
    with monitor:
        for x, y in batches(1):  # the second step is looked at, so that all hooks are in place
            plain(model, x, y, optimizer)
        copied, saved = copy.deepcopy(model), pickle.dumps(model)
        file = io.BytesIO()
        torch.save(model, file)
        copied_optimizer = copy.deepcopy(optimizer)
    assert b"reportgen" not in saved
    assert b"reportgen" not in file.getvalue()
    for other in (copied, pickle.loads(saved)):
        other.eval()
        model.eval()
        with torch.no_grad():
            assert torch.equal(other(x), model(x))
        other.train()
        torch.manual_seed(0)
        plain(other, x, y, torch.optim.SGD(other.parameters(), lr=0.1))
    assert copied_optimizer.param_groups[0]["lr"] == 0.01
    assert monitor.history().steps == 1
    assert layer(monitor.history(), "0").train_calls == 1


def test_a_trouble_inside_the_watching_does_not_reach_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr("reportgen.training.movement.begin", broken)
    monkeypatch.setattr("reportgen.training.forwards.channel_dim", broken)
    model = net()
    history = watched(model, torch.optim.SGD(model.parameters(), lr=0.1))
    notes = [e.detail for e in history.events if e.kind == "note"]
    assert any("optimizer 0 (SGD) is no longer watched" in note for note in notes)
    assert any("the forward pass is no longer watched" in note for note in notes)
    assert len(series(history, "train_loss")) == 10


def test_what_waits_on_a_device_is_fetched_together_and_in_order() -> None:
    """As on a GPU, which the tests do not have: tensors of several sizes wait, and each reader gets its own numbers."""
    from reportgen.training.notebook import Notebook

    notebook, read = Notebook(), []
    for values in ([1.0], [2.0, 3.0], [], [4.0]):
        notebook._waiting.append((torch.tensor(values), read.append))
    notebook.settle()
    assert read == [[1.0], [2.0, 3.0], [], [4.0]]
    notebook.settle()
    assert len(read) == 4


def test_histograms_of_numbers_whose_range_has_no_end() -> None:
    """A run that explodes holds weights of both signs near the largest float, a step before it breaks."""
    wild = torch.tensor([-3e38, -1e38, 0.0, 1e38, 3e38, math.nan, math.inf])
    (row,) = bars_of([wild]).tolist()
    low, high, *counts = row
    assert (low, high) == (float(wild[0]), float(wild[4]))
    assert sum(counts) == 5
    middle = N_BARS // 2
    assert (counts[0], counts[middle], counts[-1]) == (1, 1, 1)
    tiny = torch.tensor([0.0, 1e-45, 1e-44])  # the smallest there are
    assert sum(bars_of([tiny])[0, 2:].tolist()) == 3
