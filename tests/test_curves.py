"""Scalars of a run made ready for the rules, against hand-made figures."""

from __future__ import annotations

import pytest

from reportgen.document.history import History, LoopFacts, OptimizerRun, Series
from reportgen.health.curves import at_full_rate, both, curve_of, is_adversarial, is_rate, losses, scalar
from reportgen.health.thresholds import Thresholds

LIMITS = Thresholds()


def series(name: str, y: list[float], axis: str = "epoch", *, first: float = 1, every: float = 1) -> Series:
    x = [first + every * i for i in range(len(y))]
    return Series(name=name, axis=axis, x=x, y=[*y], n=len(y))  # type: ignore[arg-type]


def test_a_curve_knows_its_ends_and_its_drop() -> None:
    y = [4.0, 5.0, 3.0, 2.0, 1.0, 0.5, 0.7, 0.6, 0.8, 0.9]
    curve = curve_of(range(1, 11), y, LIMITS)
    assert curve is not None
    assert curve.smooth == pytest.approx([4.5, 4.0, 3.0, 2.0, 1.0, 0.7, 0.6, 0.7, 0.8, 0.85])
    assert (curve.start, curve.end, curve.best) == (4.0, 0.8, 6)
    assert curve.drop == pytest.approx(4.0 - 0.6)  # the median of the first three, or the first
    assert curve.tail == y[-6:]
    assert curve_of(range(4), y[:4], LIMITS) is None


def test_a_loss_by_step_is_averaged_between_validations() -> None:
    steps = [float(v) for v in range(60, 0, -1)]
    history = History(
        series=[series("train_loss", steps, "step"), series("val_loss", [50.0] * 6, "step", first=10, every=10)],
        steps=60,
    )
    train, val = losses(history, LIMITS)
    assert train is not None
    assert val is not None
    assert train.y == [55.5, 45.5, 35.5, 25.5, 15.5, 5.5]
    assert train.start == 59.0  # the median of the first three steps
    assert val.y == [50.0] * 6


@pytest.mark.parametrize(("every", "start"), [(1, 59.0), (10, 59.0), (11, 55.5)])
def test_the_start_is_that_of_the_first_steps_where_these_were_kept(every: int, start: float) -> None:
    steps = [float(v) for v in range(60, 0, -1)]
    run = [series("train_loss", steps, "step", every=every)]
    val = series("val_loss", [50.0] * 6, "step", first=10 * every, every=10 * every)
    train, _ = both(History(series=[*run, val]), "train_loss", "val_loss", LIMITS)
    assert train is not None
    assert train.start == start


def test_of_two_scalars_by_epoch_the_common_epochs_stay() -> None:
    train = series("train_loss", [float(v) for v in range(12, 0, -1)])
    val = series("val_loss", [9.0, 8.0, 7.0, 6.0, 5.0, 4.0], first=2, every=2)
    a, b = losses(History(series=[train, val], epochs=12), LIMITS)
    assert a is not None
    assert b is not None
    assert a.x == b.x == [2, 4, 6, 8, 10, 12]
    assert a.y == [11, 9, 7, 5, 3, 1]


def test_a_scalar_that_is_not_finite_throughout_is_no_curve() -> None:
    broken = Series(name="val_loss", axis="epoch", x=[1, 2, 3, 4, 5, 6], y=[3.0, None, 2.0, 2.0, 1.0, 1.0], n=6)
    assert scalar(History(series=[broken], epochs=6), "val_loss", LIMITS) is None
    assert scalar(None, "val_loss", LIMITS) is None


def optimizer(first: int, last: int, *, joined: int, passes: float) -> OptimizerRun:
    run = {"n_seen": 100, "n_joined": joined, "passes": passes}
    return OptimizerRun(name="Adam", n_steps=last - first + 1, first_step=first, last_step=last, **run)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("optimizers", "adversarial"),
    [
        ([optimizer(1, 200, joined=0, passes=1.0)], False),
        # a generator and a critic wait for a pass each
        ([optimizer(1, 200, joined=0, passes=1.0), optimizer(1, 200, joined=0, passes=2.0)], True),
        # one for the matrices and one for the rest: the second follows the first without a pass
        ([optimizer(1, 200, joined=0, passes=1.0), optimizer(1, 200, joined=100, passes=1.0)], False),
        # stages of fine-tuning, which meet in a few steps
        ([optimizer(1, 105, joined=0, passes=1.0), optimizer(100, 200, joined=0, passes=1.0)], False),
        ([optimizer(1, 120, joined=0, passes=1.0), optimizer(100, 200, joined=0, passes=1.0)], True),
    ],
)
def test_optimizers_with_losses_of_their_own(optimizers: list[OptimizerRun], adversarial: bool) -> None:
    history = History(loop=LoopFacts(optimizers=optimizers), series=[series("train_loss", [1.0] * 9)], epochs=9)
    assert is_adversarial(history) is adversarial
    assert (losses(history, LIMITS)[0] is None) is adversarial


@pytest.mark.parametrize(("n_beside", "adversarial"), [(0, False), (5, False), (20, True), (400, True)])
def test_an_optimizer_that_steps_beside_the_run_is_that_of_a_critic(n_beside: int, adversarial: bool) -> None:
    loop = LoopFacts(optimizers=[optimizer(1, 200, joined=0, passes=1.0)], n_beside=n_beside)
    assert is_adversarial(History(loop=loop)) is adversarial


@pytest.mark.parametrize(
    ("names", "adversarial"),
    [(("loss_G", "loss_D"), True), (("generatorLoss", "critic/loss"), True), (("loss_g", "loss_rec"), False)],
)
def test_of_another_tool_two_losses_tell_it_by_their_names(names: tuple[str, ...], adversarial: bool) -> None:
    assert is_adversarial(History(series=[series(name, [1.0]) for name in names])) is adversarial


def test_points_of_a_warm_up_and_of_a_decay_are_left_out() -> None:
    rate = series("learning_rate", [0.1, 0.4, 1.0, 1.0, 0.5, 0.4], "step", every=10)
    points = [(float(x), float(x)) for x in (1, 12, 21, 35, 41, 55)]
    history = History(series=[rate])
    assert at_full_rate(history, points) == [(21, 21), (35, 35), (41, 41)]
    assert at_full_rate(History(), points) == points


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        ("lr", True),
        ("lr-Adam", True),
        ("train/lr", True),
        ("learning_rate/0", True),
        ("flr", False),
        ("clr_loss", False),
    ],
)
def test_a_rate_is_known_by_its_name(name: str, rate: bool) -> None:
    assert is_rate(name) is rate
