"""Runs made by formula: healthy ones of every common kind, and sick ones. Each takes a seed and differs by it."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

from reportgen.document.history import History, LoopFacts, OptimizerRun, Series

Values = list[float]


def series(name: str, values: Values | list[float | None], axis: str = "epoch", first: int = 1) -> Series:
    bad = [i for i, v in enumerate(values) if v is None]
    return Series(
        name=name,
        axis=axis,  # type: ignore[arg-type]
        x=[float(i + first) for i in range(len(values))],
        y=list(values),
        n=len(values),
        nonfinite=len(bad),
        first_nonfinite=float(bad[0] + first) if bad else None,
    )


def history(*parts: Series, optimizers: int = 1, **more: object) -> History:
    epochs = max((len(s.y) for s in parts if s.axis == "epoch"), default=0)
    steps = max([int(s.x[-1]) for s in parts if s.axis == "step"], default=50 * epochs)
    runs = [OptimizerRun(name="SGD", n_steps=steps) for _ in range(optimizers)]
    loop = LoopFacts(optimizers=runs, n_backwards_seen=steps * optimizers)
    return History(series=list(parts), epochs=epochs, steps=steps, loop=loop, **more)  # type: ignore[arg-type]


def noisy(values: Values, rng: Random, sigma: float) -> Values:
    return [v * math.exp(rng.gauss(0, sigma)) for v in values]


def _length(rng: Random) -> int:
    return rng.choice([8, 12, 20, 30, 50, 90])


def _decay(n: int, rng: Random, floor: float, start: float = 2.3, taus: tuple[float, float] = (3, 8)) -> Values:
    """Fall from ``start`` to ``floor`` within so many time constants."""
    rate = rng.uniform(*taus) / n
    return [(start - floor) * math.exp(-rate * e) + floor for e in range(n)]


def _pair(train: Values, val: Values, rng: Random, sigma: float = 0.02, val_sigma: float = 0.03) -> History:
    return history(series("train_loss", noisy(train, rng, sigma)), series("val_loss", noisy(val, rng, val_sigma)))


# ---------------------------------------------------------------------------------------------------- healthy


def exponential(rng: Random) -> History:
    train = _decay(_length(rng), rng, rng.uniform(0.02, 0.4))
    return _pair(train, [v + rng.uniform(0.02, 0.3) for v in train], rng)


def power_law(rng: Random) -> History:
    n, power = _length(rng), rng.uniform(0.4, 1.0)
    train = [3.0 * (e + 1) ** -power + 0.5 for e in range(n)]
    return _pair(train, [v + 0.1 for v in train], rng)


def step_drops(rng: Random) -> History:
    n = rng.choice([30, 60, 90])
    marks, rate, level, train, rates = {n // 3, 2 * n // 3}, 0.1, 1.2, [], []
    for e in range(n):
        if e in marks:
            rate, level = rate / 10, level * 0.45
        train.append(level + 0.8 * level * math.exp(-(e % (n // 3)) / 3))
        rates.append(rate)
    made = _pair(train, [v + 0.2 for v in train], rng)
    return history(*made.series, series("learning_rate", rates))


def warm_up_bump(rng: Random) -> History:
    n = rng.choice([20, 40])
    bump = [2.3, rng.uniform(2.3, 2.9), rng.uniform(2.3, 2.9)]
    train = bump + _decay(n - 3, rng, 0.1)
    rates = [1e-3 * min(1.0, (e + 1) / 4) for e in range(n)]
    made = _pair(train, [v + 0.1 for v in train], rng)
    return history(*made.series, series("learning_rate", rates))


def cosine(rng: Random) -> History:
    n = rng.choice([20, 50, 90])
    shape = [0.5 * (1 + math.cos(math.pi * e / n)) for e in range(n)]
    train = [0.05 + 1.5 * math.exp(-5 * e / n) + 0.5 * s for e, s in enumerate(shape)]
    made = _pair(train, [v + 0.15 for v in train], rng)
    return history(*made.series, series("learning_rate", [0.1 * s for s in shape]))


def restarts(rng: Random) -> History:
    cycle, k = rng.choice([8, 10, 15]), rng.choice([3, 4])
    n = cycle * k + rng.choice([0, 0, cycle // 4])
    rates = [0.05 * (1 + math.cos(math.pi * (e % cycle) / cycle)) for e in range(n)]
    train = [0.4 * 0.7 ** (e // cycle) + 12 * r * 0.7 ** (e // cycle) for e, r in enumerate(rates)]
    made = _pair(train, [v + 0.1 for v in train], rng)
    return history(*made.series, series("learning_rate", rates))


def one_cycle_by_step(rng: Random) -> History:
    epochs, per = rng.choice([8, 15]), 40
    n = epochs * per
    rates = [
        0.1 * (i / (0.3 * n) if i < 0.3 * n else 0.5 * (1 + math.cos(math.pi * (i - 0.3 * n) / (0.7 * n))))
        for i in range(n)
    ]
    losses = noisy([2.2 * math.exp(-5 * i / n) + 0.1 for i in range(n)], rng, 0.2)
    val = noisy([2.2 * math.exp(-5 * e / epochs) + 0.15 for e in range(epochs)], rng, 0.03)
    parts = (series("train_loss", losses, "step"), series("learning_rate", rates, "step"), series("val_loss", val))
    return history(*parts)


def dropout_makes_validation_better(rng: Random) -> History:
    train = _decay(_length(rng), rng, rng.uniform(0.4, 0.8))
    return _pair(train, [v - rng.uniform(0.1, 0.3) for v in train], rng)


def tiny_validation_set(rng: Random) -> History:
    n = rng.choice([20, 30, 50])
    train = _decay(n, rng, 0.1)
    made = _pair(train, [v + 0.15 for v in train], rng, val_sigma=0.15)
    accuracy = [min(1.0, max(0.0, 0.9 - 0.8 * math.exp(-6 * e / n) + rng.gauss(0, 0.04))) for e in range(n)]
    return history(*made.series, series("val_accuracy", accuracy))


def interpolating(rng: Random) -> History:
    n = rng.choice([20, 40, 80])
    train = [2.3 * math.exp(-rng.uniform(6, 9) * e / n) + 1e-4 for e in range(n)]
    low = rng.uniform(0.1, 0.5)
    val = [low + 2.0 * math.exp(-8 * e / n) + 0.01 * low * e / n for e in range(n)]
    return _pair(train, val, rng, 0.05, 0.02)


def noise_floor_regression(rng: Random) -> History:
    scale, n = rng.choice([1e-3, 1.0, 3e4]), _length(rng)
    train = [scale * v for v in _decay(n, rng, rng.uniform(0.3, 0.7), start=1.0)]
    return _pair(train, [v * rng.uniform(1.0, 1.1) for v in train], rng)


def fine_tuning(rng: Random) -> History:
    n = rng.choice([5, 6, 8])
    train = [0.4 * math.exp(-0.8 * e) + 0.08 for e in range(n)]
    val = [0.2 + 0.1 * math.exp(-e) + 0.004 * e for e in range(n)]
    accuracy = [0.9 + 0.04 * (1 - math.exp(-e)) for e in range(n)]
    made = _pair(train, val, rng, 0.03, 0.02)
    return history(*made.series, series("val_accuracy", accuracy))


def late_start(rng: Random) -> History:
    n = rng.choice([30, 60])
    middle = rng.uniform(0.2, 0.4) * n
    train = [0.1 + 2.2 / (1 + math.exp((e - middle) / (0.04 * n))) for e in range(n)]
    return _pair(train, [v + 0.05 for v in train], rng)


def rate_decays_to_nothing(rng: Random) -> History:
    n = rng.choice([30, 60, 90])
    gamma = rng.uniform(1e-4, 1e-2) ** (1 / n)
    train = _decay(n, rng, rng.uniform(0.1, 0.5), start=1.0, taus=(10, 20))
    made = _pair(train, [v + 0.05 for v in train], rng)
    return history(*made.series, series("learning_rate", [0.1 * gamma**e for e in range(n)]))


def drops_on_plateaus(rng: Random) -> History:
    n, drop = 60, rng.choice([12, 16, 20])
    rates = [0.1 ** (1 + e // drop) for e in range(n)]
    train = _decay(n, rng, rng.uniform(0.3, 0.7), start=1.0, taus=(15, 25))
    made = _pair(train, [v + 0.05 for v in train], rng)
    return history(*made.series, series("learning_rate", rates))


def label_smoothing(rng: Random) -> History:
    train = _decay(_length(rng), rng, rng.uniform(0.5, 0.9))
    return _pair(train, [v + 0.05 for v in train], rng)


def adversarial(rng: Random) -> History:
    n = 60
    walk, y = [], 1.0
    for _ in range(n):
        y = max(0.2, y + rng.gauss(0, 0.25))
        walk.append(y)
    return history(series("train_loss", walk), series("val_loss", walk[::-1]), optimizers=2)


def by_step_only(rng: Random) -> History:
    n = rng.choice([400, 1500])
    losses = noisy([2.3 * math.exp(-rng.uniform(4, 4.2) * i / n) + 0.3 for i in range(n)], rng, 0.25)
    return history(series("train_loss", losses, "step"))


def small_noisy_batches(rng: Random) -> History:
    n = rng.choice([20, 40])
    train = _decay(n, rng, 0.3)
    return _pair(train, [v + 0.1 for v in train], rng, 0.08, 0.1)


def dropout_on_few_samples(rng: Random) -> History:
    n = rng.choice([15, 30, 60])
    low = [0.9 * math.exp(-6 * e / n) + 0.06 for e in range(n)]
    return _pair([v + 0.06 for v in low], low, rng, 0.25, 0.05)


def mild_rise_of_validation(rng: Random) -> History:
    n = rng.choice([30, 60])
    train = _decay(n, rng, 0.05)
    val = [v + 0.25 + 0.015 * max(0.0, e / n - 0.4) for e, v in enumerate(train)]
    accuracy = [0.9 - 0.7 * math.exp(-7 * e / n) + rng.gauss(0, 0.004) for e in range(n)]
    made = _pair(train, val, rng)
    return history(*made.series, series("val_accuracy", accuracy))


def policy_gradient(rng: Random) -> History:
    """The surrogate of REINFORCE: below zero while there is something to win, and nothing once the policy is good."""
    n = rng.choice([20, 50, 200])
    tau = rng.uniform(0.05, 0.3) * n
    train = [-0.4 * (1 - math.exp(-(e + 1) / 2)) * math.exp(-e / tau) + rng.gauss(0, 0.02) for e in range(n)]
    return history(series("train_loss", train), series("train_reward", [1 - math.exp(-e / tau) for e in range(n)]))


def density(rng: Random) -> History:
    """The negative log-likelihood of a density, which may well be below zero."""
    n = _length(rng)
    train = [v - rng.uniform(2, 2.1) for v in _decay(n, rng, 0.0, start=6.0)]
    return history(
        series("train_loss", [v + rng.gauss(0, 0.02) for v in train]),
        series("val_loss", [v + 0.1 + rng.gauss(0, 0.03) for v in train]),
    )


def curriculum(rng: Random) -> History:
    """Harder examples come in on the way: the loss rises, and the accuracy holds."""
    n = rng.choice([30, 60])
    train = [0.3 + 2 * math.exp(-8 * e / n) + 0.5 * (e > 0.4 * n) for e in range(n)]
    accuracy = [0.9 - 0.7 * math.exp(-8 * e / n) + rng.gauss(0, 0.003) for e in range(n)]
    return history(series("train_loss", noisy(train, rng, 0.02)), series("train_accuracy", accuracy))


def adversarial_of_another_tool(rng: Random) -> History:
    """Losses of a GAN out of a table, where nothing is known of optimizers."""
    walk, other = (adversarial(rng).series[0].y for _ in range(2))
    total = [a + b for a, b in zip(walk, other, strict=True) if a is not None and b is not None]
    parts = [series("train_loss", total), series("train_g_loss", walk), series("train_d_loss", other)]
    return History(series=parts, epochs=60)


def long_warm_up_by_step(rng: Random) -> History:
    """A language model by step: a tenth of warm-up, then a cosine, validated now and then."""
    n, every = rng.choice([1000, 2000]), 100
    warm = n // 10
    rates = [1e-3 * min(i / warm, 0.5 * (1 + math.cos(math.pi * max(i - warm, 0) / (n - warm)))) for i in range(n)]
    losses = [3.0 + 7.5 * math.exp(-max(i - 0.3 * warm, 0) / (0.12 * n)) for i in range(n)]
    val = Series(
        name="val_loss",
        axis="step",
        x=[float(i) for i in range(every, n + 1, every)],
        y=[losses[i - 1] * math.exp(rng.gauss(0, 0.005)) + 0.05 for i in range(every, n + 1, every)],
        n=n // every,
    )
    parts = (series("train_loss", noisy(losses, rng, 0.05), "step"), series("learning_rate", rates, "step"))
    return history(*parts, val)


def small_batches_near_zero(rng: Random) -> History:
    """Losses of single batches of a model that fits its data: any of them may be ten times its neighbour."""
    n = rng.choice([240, 600])
    losses = [0.03 + 0.7 / (1 + math.exp((i - 0.2 * n) / (0.05 * n))) for i in range(n)]
    values = [v * math.exp(rng.gauss(0, 1.0 if i > 0.4 * n else 0.1)) for i, v in enumerate(losses)]
    return history(series("train_loss", values, "step"))


def restarts_by_step(rng: Random) -> History:
    """Warm restarts whose cycles double, logged by step and by epoch."""
    per, lengths = 40, [4, 8, 16]
    places = [(cycle, e / length) for cycle, length in enumerate(lengths) for e in range(length)]
    rates = [0.05 * (1 + math.cos(math.pi * (p + i / per / lengths[c]))) for c, p in places for i in range(per)]
    losses = [
        (0.5 * 0.6**c + 8 * r * 0.6**c)
        for (c, _), r in zip([p for p in places for _ in range(per)], rates, strict=True)
    ]
    val = [losses[(e + 1) * per - 1] + 0.1 for e in range(len(places))]
    parts = (series("train_loss", noisy(losses, rng, 0.1), "step"), series("learning_rate", rates, "step"))
    return history(*parts, series("val_loss", noisy(val, rng, 0.03)))


HEALTHY: tuple[Callable[[Random], History], ...] = (
    exponential,
    power_law,
    step_drops,
    warm_up_bump,
    cosine,
    restarts,
    one_cycle_by_step,
    dropout_makes_validation_better,
    tiny_validation_set,
    interpolating,
    noise_floor_regression,
    fine_tuning,
    late_start,
    label_smoothing,
    rate_decays_to_nothing,
    drops_on_plateaus,
    adversarial,
    by_step_only,
    small_noisy_batches,
    dropout_on_few_samples,
    mild_rise_of_validation,
    policy_gradient,
    density,
    curriculum,
    adversarial_of_another_tool,
    long_warm_up_by_step,
    restarts_by_step,
    small_batches_near_zero,
)


# ------------------------------------------------------------------------------------------------------- sick


def diverged(rng: Random) -> History:
    n = rng.choice([12, 30, 60])
    turn = rng.uniform(0.3, 0.7) * n
    train = [2.3 * math.exp(-5 * e / n) + 0.1 if e < turn else rng.uniform(2, 6) for e in range(n)]
    return _pair(train, [v + 0.1 for v in train], rng)


def density_diverged(rng: Random) -> History:
    """The negative log-likelihood of a density that falls below zero and then collapses."""
    n = rng.choice([12, 30, 60])
    turn = rng.uniform(0.5, 0.7) * n
    fall = [8 * math.exp(-6 * e / n) - 2 + rng.gauss(0, 0.02) for e in range(n)]
    return history(series("train_loss", [v if e < turn else rng.uniform(5, 20) for e, v in enumerate(fall)]))


def blown_up_in_the_first_epoch(rng: Random) -> History:
    """The first steps are fine, and every epoch as a whole is far beyond them."""
    n, per = rng.choice([6, 12]), 20
    levels = [rng.uniform(50, 5000) for _ in range(n)]
    steps = [1.0, 0.9, 0.95, *(levels[i // per] * rng.uniform(0.2, 2) for i in range(3, n * per))]
    return history(series("train_loss", steps, "step"), series("train_loss", levels))


def diverged_though_it_began_well(rng: Random) -> History:
    """The accuracy rises, and falls with the loss."""
    made = diverged(rng).series[0]
    accuracy = [0.95 if v is not None and v < 1 else 0.1 for v in made.y]
    return history(made, series("train_accuracy", accuracy))


def stands_still(rng: Random) -> History:
    level = rng.choice([0.6931, 2.3026, 40.0])
    train = [level for _ in range(_length(rng))]
    return _pair(train, train, rng, 0.003, 0.003)


def overfit(rng: Random) -> History:
    n = rng.choice([20, 40, 80])
    best, rate = rng.uniform(0.15, 0.5), rng.uniform(0.5, 2.0)
    train = [2.3 * math.exp(-6 * e / n) + 0.01 for e in range(n)]
    val = [2.3 * math.exp(-8 * e / n) + 0.5 + rate * max(0.0, e / n - best) for e in range(n)]
    accuracy = [0.8 - 0.6 * math.exp(-9 * e / n) - 0.15 * max(0.0, e / n - best) for e in range(n)]
    made = _pair(train, val, rng)
    return history(*made.series, series("val_accuracy", [a + rng.gauss(0, 0.005) for a in accuracy]))


def oscillating(rng: Random) -> History:
    n, size = rng.choice([15, 30, 60]), rng.uniform(0.2, 0.5)
    train = [0.8 * math.exp(size * (-1) ** e + rng.gauss(0, 0.1)) for e in range(n)]
    train[0] = 2.3
    return _pair(train, train, rng)


def becomes_nan(rng: Random) -> History:
    n = rng.choice([10, 30])
    bad = rng.randrange(2, n)
    values: list[float | None] = [*noisy(_decay(n, rng, 0.1), rng, 0.02)]
    return history(series("train_loss", values[:bad] + [None] * (n - bad)))


def blows_up_to_nan(rng: Random) -> History:
    growth = rng.uniform(3, 30)
    values: list[float | None] = [2.3 * min(growth**i, 1e30) for i in range(6)]
    return history(series("train_loss", values + [None] * 100, "step"))


def undertrained(rng: Random) -> History:
    n = rng.choice([10, 20, 40])
    rate = rng.uniform(0.2, 0.7) / n
    train = [2.3 * math.exp(-rate * e) for e in range(n)]
    return _pair(train, [v + 0.02 for v in train], rng, 0.004, 0.006)


def schedule_gone(rng: Random) -> History:
    n = rng.choice([20, 40])
    gone = rng.uniform(0.1, 0.3) * n
    shape = [0.1 ** (2.5 * e / gone) for e in range(n)]
    level, train = 2.3, []
    for rate in shape:
        level -= 0.12 * rate * level
        train.append(level)
    made = _pair(train, [v + 0.02 for v in train], rng, 0.003, 0.004)
    return history(*made.series, series("learning_rate", [0.1 * s for s in shape]))


def lost_after_a_spike(rng: Random) -> History:
    n, place = 600, rng.randrange(100, 450)
    losses = [2.3 * math.exp(-4 * i / n) + 0.3 for i in range(n)]
    low = losses[place]
    for i in range(place, n):
        losses[i] = low * (1.35 + 4 * math.exp(-(i - place) / 10))
    return history(series("train_loss", noisy(losses, rng, 0.05), "step"))


SICK: dict[Callable[[Random], History], tuple[str, ...]] = {
    diverged: ("h-diverged",),
    density_diverged: ("h-diverged",),
    blown_up_in_the_first_epoch: ("h-diverged",),
    diverged_though_it_began_well: ("h-diverged",),
    stands_still: ("h-never-learned",),
    overfit: ("h-overfit",),
    oscillating: ("h-oscillating",),
    becomes_nan: ("h-nonfinite",),
    blows_up_to_nan: ("h-diverged",),
    undertrained: ("h-still-improving",),
    schedule_gone: ("lr-schedule-collapse",),
    lost_after_a_spike: ("h-spikes", "h-diverged"),
}
