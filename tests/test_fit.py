"""The training loop and what it writes down."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import reportgen


def data(n: int = 40) -> DataLoader[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 4, generator=generator)
    return DataLoader(TensorDataset(x, (x.sum(1) > 0).long()), 8)


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def by_hand(net: nn.Module, lr: float, epochs: int) -> tuple[list[float], list[float]]:
    """The plainest loop there is."""
    optimizer, losses, norms = torch.optim.SGD(net.parameters(), lr=lr), [], []
    for _ in range(epochs):
        for x, y in data():
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            norms.append(math.sqrt(sum(float(p.grad.square().sum()) for p in net.parameters())))
    return losses, norms


def test_it_trains_exactly_as_a_loop_by_hand() -> None:
    ours, theirs = model(), model()
    history = reportgen.fit(
        ours,
        data(),
        data(16),
        loss=nn.CrossEntropyLoss(),
        optimizer=torch.optim.SGD(ours.parameters(), lr=0.1),
        epochs=3,
        progress=False,
    )
    losses, norms = by_hand(theirs, 0.1, 3)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)
    steps = history.get("train_loss", "step")
    assert steps is not None
    assert steps.y == pytest.approx(losses, rel=1e-6)
    assert history.get("gradient_norm").y == pytest.approx(norms, rel=1e-5)  # type: ignore[union-attr]
    epochs = history.get("train_loss", "epoch")
    assert epochs is not None
    assert epochs.y == pytest.approx([sum(losses[i : i + 5]) / 5 for i in (0, 5, 10)], rel=1e-6)
    assert (history.epochs, history.steps, history.batch_size, history.optimizer) == (3, 15, 8, "SGD")
    with torch.no_grad():
        x, y = data(16).dataset.tensors  # type: ignore[attr-defined]
        accuracy = float((ours(x).argmax(1) == y).double().mean())
    assert history.get("val_accuracy").y[-1] == pytest.approx(accuracy)  # type: ignore[union-attr]


def test_the_update_ratio_is_that_of_a_real_step() -> None:
    net = model()
    before = [p.detach().clone() for p in net.parameters() if p.dim() == 2]
    (x, y), *_ = data()
    history = reportgen.fit(
        net,
        [(x, y)],
        loss=nn.CrossEntropyLoss(),
        optimizer=torch.optim.Adam(net.parameters(), lr=0.01),
        epochs=1,
        progress=False,
    )
    after = [p.detach() for p in net.parameters() if p.dim() == 2]
    ratios = sorted(float((a - b).norm() / b.norm()) for a, b in zip(after, before, strict=True))
    assert history.get("update_ratio").y == pytest.approx([ratios[0]], rel=1e-5)  # type: ignore[union-attr]


def test_modes_are_kept_and_frozen_norms_stay_frozen() -> None:
    net = nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2), nn.BatchNorm1d(2))
    net[2].eval()
    reportgen.fit(
        net,
        data(),
        data(),
        loss=nn.CrossEntropyLoss(),
        optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
        epochs=1,
        progress=False,
    )
    assert [m.training for m in net.modules()] == [True, True, True, False]
    assert int(net[1].num_batches_tracked) == 5
    assert int(net[2].num_batches_tracked) == 0


def test_a_scheduler_is_stepped_by_epoch_and_the_rate_is_that_of_the_epoch() -> None:
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    history = reportgen.fit(
        net,
        data(),
        loss=nn.CrossEntropyLoss(),
        optimizer=optimizer,
        epochs=3,
        scheduler=torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5),
        progress=False,
    )
    assert history.get("learning_rate").y == pytest.approx([0.1, 0.05, 0.025])  # type: ignore[union-attr]


def test_an_optimizer_with_a_closure_works() -> None:
    net = model()
    optimizer = torch.optim.LBFGS(net.parameters(), line_search_fn="strong_wolfe")
    (whole,) = DataLoader(data().dataset, 40)
    history = reportgen.fit(net, [whole], loss=nn.CrossEntropyLoss(), optimizer=optimizer, epochs=2, progress=False)
    y = history.get("train_loss", "epoch").y  # type: ignore[union-attr]
    assert y[-1] < y[0]


def test_an_empty_loader_is_told() -> None:
    net = model()
    with pytest.raises(reportgen.ReportgenError, match="no batch"):
        reportgen.fit(
            net,
            [],
            loss=nn.CrossEntropyLoss(),
            optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
            epochs=1,
            progress=False,
        )


def noisy() -> nn.Sequential:
    """A model that draws random numbers in every step."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.3), nn.BatchNorm1d(8), nn.Linear(8, 2))


def shuffled() -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(data().dataset, 8, shuffle=True)


def run_of(net: nn.Module, epochs: int, **options: Any) -> reportgen.History:
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=20)
    return reportgen.fit(
        net,
        shuffled(),
        data(16),
        loss=nn.CrossEntropyLoss(),
        optimizer=optimizer,
        epochs=epochs,
        scheduler=scheduler,
        scheduler_per="batch",
        progress=False,
        **options,
    )


def test_a_run_that_was_broken_off_goes_on_to_the_same_end(tmp_path: Path) -> None:
    whole, first, second = noisy(), noisy(), noisy()
    once = run_of(whole, 4, seed=7)
    path, log = tmp_path / "model.pt", tmp_path / "run.jsonl"
    run_of(first, 2, seed=7, checkpoint=path, log=log)
    torch.manual_seed(99)  # another process would have other random numbers
    again = run_of(second, 4, checkpoint=path, log=log, resume=True)
    for a, b in zip(whole.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    for name in ("train_loss", "val_loss", "learning_rate"):
        ours, theirs = again.get(name, "epoch"), once.get(name, "epoch")
        assert ours is not None
        assert theirs is not None
        assert (ours.x, ours.y) == (theirs.x, theirs.y)
    assert again.get("train_loss", "step").y == once.get("train_loss", "step").y  # type: ignore[union-attr]
    assert [e.kind for e in again.events] == ["gap"]
    assert (again.steps, again.epochs) == (20, 4)


@pytest.mark.slow
@pytest.mark.parametrize("long", [False, True])
def test_what_a_broken_off_epoch_did_is_not_counted_twice(tmp_path: Path, long: bool) -> None:
    """Stopped in the middle of an epoch, the steps since the checkpoint are done again."""
    batch = (torch.randn(2, 4), torch.randint(2, (2,)))
    per = 1100 if long else 7  # so many that the curve by step is thinned
    path, log = tmp_path / "m.pt", tmp_path / "m.jsonl"
    count = [0]

    class Breaking(list):  # type: ignore[type-arg]
        def __iter__(self) -> Iterator[Any]:
            for item in super().__iter__():
                count[0] += 1
                if count[0] == 2 * per + per // 2:
                    raise KeyboardInterrupt
                yield item

    def run(**more: Any) -> reportgen.History:
        net = model()
        return reportgen.fit(
            net,
            Breaking([batch] * per),
            loss=nn.CrossEntropyLoss(),
            optimizer=torch.optim.Adam(net.parameters(), lr=0.01),
            epochs=4,
            checkpoint=path,
            log=log,
            progress=False,
            seed=0,
            **more,
        )

    with pytest.raises(KeyboardInterrupt):
        run()
    assert reportgen.read_history(log).steps == 2 * per + per // 2 - 1
    history = run(resume=True)
    assert (history.steps, history.epochs) == (4 * per, 4)
    assert [(e.kind, e.step, e.value) for e in history.events if e.kind == "gap"] == [
        ("gap", 2 * per, 2 * per + per // 2 - 1)
    ]
    losses = history.get("train_loss", "step")
    assert losses is not None
    assert losses.n == 4 * per
    for series in history.series:
        assert series.x == sorted(set(series.x)), series.name
    for parameter in history.parameters:
        assert parameter.gradient_norm is not None
        assert parameter.gradient_norm.x == sorted(set(parameter.gradient_norm.x))
        assert parameter.n_steps == 4 * per
    assert reportgen.read_history(log) == history


def test_a_scheduler_by_batch_is_stepped_after_each_batch() -> None:
    history = run_of(noisy(), 4)
    reference = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(reference, 0.02, total_steps=20)
    rates = []
    for _ in range(20):
        rates.append(reference.param_groups[0]["lr"])
        reference.step()
        schedule.step()
    assert history.get("learning_rate", "step").y == pytest.approx(rates)  # type: ignore[union-attr]


def test_the_best_weights_are_kept_and_training_stops_when_nothing_improves(tmp_path: Path) -> None:
    net, path = model(), tmp_path / "model.pt"
    x, y = torch.randn(32, 4), torch.randint(2, (32,))  # labels without meaning: validation soon gets worse
    history = reportgen.fit(
        net,
        [(x[:16], y[:16])],
        [(x[16:], y[16:])],
        loss=nn.CrossEntropyLoss(),
        optimizer=torch.optim.Adam(net.parameters(), lr=0.1),
        epochs=200,
        early_stopping=5,
        checkpoint=path,
        progress=False,
    )
    losses = history.get("val_loss", "epoch").y  # type: ignore[union-attr]
    best = losses.index(min(v for v in losses if v is not None))
    assert len(losses) == best + 1 + 5
    kept = torch.load(path, weights_only=True)
    assert kept["epoch"] == best + 1
    net.load_state_dict(kept["state_dict"])
    with torch.no_grad():
        assert float(nn.functional.cross_entropy(net.eval()(x[16:]), y[16:])) == pytest.approx(losses[best], rel=1e-6)
    assert "stopped early" in history.events[-1].detail
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.last.pt", "model.pt"]


def test_a_seed_makes_two_runs_the_same_and_another_seed_does_not() -> None:
    a, b, c = noisy(), noisy(), noisy()
    for net, seed in ((a, 1), (b, 1), (c, 2)):
        run_of(net, 2, seed=seed)
    assert torch.equal(a[0].weight, b[0].weight)
    assert not torch.equal(a[0].weight, c[0].weight)


def test_a_checkpoint_of_another_model_is_told(tmp_path: Path) -> None:
    run_of(noisy(), 1, checkpoint=tmp_path / "m.pt")
    other = nn.Sequential(nn.Linear(4, 2))
    with pytest.raises(reportgen.ReportgenError, match=r"Cannot go on from .*m\.last\.pt"):
        run_of(other, 2, checkpoint=tmp_path / "m.pt", resume=True)
    with pytest.raises(reportgen.ReportgenError, match="resume needs a checkpoint"):
        run_of(noisy(), 2, resume=True)
