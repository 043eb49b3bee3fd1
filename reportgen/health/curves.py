"""A run's scalars made ready for the rules: brought to one axis, smoothed, with their noise known."""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import fmean, median

from msgspec import Struct

from ..document.history import History, OptimizerRun, Series, Trace
from .robust import noise, running_median
from .thresholds import Thresholds

STRETCHES = 20
"""Into so many stretches a run is cut of which no epochs are known."""


class Curve(Struct, frozen=True):
    """A scalar by epoch (or by stretch of steps), and what the rules ask of it."""

    x: list[float]
    y: list[float]
    smooth: list[float]
    start: float
    """Before training had done much: the first logged steps where steps were logged, otherwise the first epoch."""
    end: float
    """Median of the last tenth, three points at least."""
    drop: float
    """From the start to the lowest point of the smoothed curve."""
    noise: float

    @property
    def best(self) -> int:
        """Place of the lowest point of the smoothed curve."""
        return self.smooth.index(min(self.smooth))

    @property
    def tail(self) -> list[float]:
        """The last third, six points at least."""
        return self.y[-max(6, len(self.y) // 3) :]

    @property
    def jumped_at_last(self) -> bool:
        """The last value is more than twice each of the two before: a model caught in a jump, not what it came to."""
        return len(self.y) > 2 and self.y[-1] > 2 * max(self.y[-3:-1])


def curve_of(x: Sequence[float], y: Sequence[float], limits: Thresholds, start: float | None = None) -> Curve | None:
    """Prepare finite values; None when there are too few."""
    if len(y) < limits.history_epochs:
        return None
    n = len(y)
    smooth = running_median(y, max(3, (n // 15) | 1))
    early = max(median(y[:3]), y[0])
    return Curve(
        x=list(x),
        y=list(y),
        smooth=smooth,
        start=y[0] if start is None else start,
        end=median(y[-max(3, n // 10) :]),
        drop=early - min(smooth),
        noise=noise(y),
    )


def is_adversarial(history: History) -> bool:
    """Tell whether several optimizers work on losses of their own, so that no loss need fall.

    Optimizers that share one loss (one for the matrices, one for the rest) step one right after the other, on as many
    backward passes; those of a generator and a critic wait for a pass each. Where that was not seen, several optimizers
    are taken for adversaries. Optimizers that follow one another, as in stages of fine-tuning, are none. One that takes
    a step for every ten of the run's or more, and moves none of its parameters, is that of a critic, or of another
    model that the loss may hang on. In a history without optimizers (another tool's) two losses of those names tell it.
    """
    if history.loop is None:
        words = {part for s in history.series if "loss" in s.name.lower() for part in _words(s.name)}
        return bool(words & _MAKERS) and bool(words & _CRITICS)
    optimizers = [o for o in history.loop.optimizers if o.n_steps]
    if optimizers and history.loop.n_beside >= max(0.1 * max(o.n_steps for o in optimizers), 2):
        return True
    together = [o for i, o in enumerate(optimizers) if any(_overlap(o, p) for j, p in enumerate(optimizers) if i != j)]
    if len(together) < 2:
        return False
    passes = [o.passes for o in together if o.passes is not None]
    seen, joined = sum(o.n_seen for o in together), sum(o.n_joined for o in together)
    # of n optimizers that step together all but the first join another
    due = seen * (len(together) - 1) / len(together)
    shared = len(passes) == len(together) and joined > 0.5 * due and max(passes) <= 1.1 * min(passes)
    return not shared


_MAKERS = frozenset(("g", "gen", "generator", "maker"))
_CRITICS = frozenset(("d", "dis", "disc", "discriminator", "critic"))


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())


def _overlap(one: OptimizerRun, other: OptimizerRun) -> bool:
    """Tell whether two optimizers stepped in the same part of the run, a tenth of the shorter one's at least."""
    if one.first_step is None or one.last_step is None or other.first_step is None or other.last_step is None:
        return True
    common = min(one.last_step, other.last_step) - max(one.first_step, other.first_step) + 1
    return common > 0.1 * min(one.last_step - one.first_step + 1, other.last_step - other.first_step + 1)


def losses(history: History | None, limits: Thresholds) -> tuple[Curve | None, Curve | None]:
    """Return the training and the validation loss, at the same moments where both are there.

    A loss logged by step is averaged over each epoch, or over the steps since the last validation.
    """
    if history is None or is_adversarial(history):
        return None, None
    return both(history, "train_loss", "val_loss", limits)


def both(history: History, train: str, val: str, limits: Thresholds) -> tuple[Curve | None, Curve | None]:
    """Return two scalars of a run at the same moments; each is None when there is too little of it."""
    judged = _values(history.get(val, "epoch")) or _values(history.get(val, "step"))
    axis = "epoch" if _values(history.get(val, "epoch")) else "step"
    trained = _values(history.get(train, "epoch"))
    start = _first_steps(history, train)
    if trained is None or (judged is not None and axis == "step"):
        ends = [x for x, _ in judged] if judged is not None and axis == "step" else None
        trained = _averaged(history, train, ends) or trained
    if judged is not None and trained is not None and len(judged) != len(trained):
        judged, trained = _matched(judged, trained)
    return _curve(trained, limits, start), _curve(judged, limits)


def scalar(history: History | None, name: str, limits: Thresholds) -> Curve | None:
    """Return one scalar of a run by epoch, or by stretches of steps."""
    if history is None:
        return None
    return _curve(_values(history.get(name, "epoch")) or _averaged(history, name, None), limits)


Points = list[tuple[float, float]]


def _curve(points: Points | None, limits: Thresholds, start: float | None = None) -> Curve | None:
    return curve_of([x for x, _ in points], [y for _, y in points], limits, start) if points else None


def _values(series: Series | None) -> Points | None:
    """Return the points of a series; None when it is absent or not finite throughout."""
    if series is None or not series.y or any(v is None for v in series.y):
        return None
    return [(x, v) for x, v in zip(series.x, series.y, strict=True) if v is not None]


def finite(series: Series | Trace | None) -> Points:
    """Return the points that are finite."""
    return [(x, v) for x, v in zip(series.x, series.y, strict=True) if v is not None] if series is not None else []


def _first_steps(history: History, name: str) -> float | None:
    """Return the median over the first three steps, where every step was kept from the first on."""
    points = finite(history.get(name, "step"))[:3]
    return median(y for _, y in points) if len(points) == 3 and points[-1][0] - points[0][0] <= 20 else None


def _averaged(history: History, name: str, ends: list[float] | None) -> Points | None:
    """Return the mean of a series by step over stretches that end at ``ends``, or over equal ones."""
    series = history.get(name, "step")
    points = finite(series)
    if series is None or len(points) < 2 or series.nonfinite > 0.01 * series.n:
        return None
    first, last = points[0][0], points[-1][0]
    if ends is None:
        known = history.epochs if history.epochs >= 5 else STRETCHES
        if len(points) < known:
            return None
        width = max(last - first + 1, 1) / known
        ends = [first + width * (i + 1) for i in range(known)]
    out, place = [], 0
    for i, end in enumerate(ends, 1):
        stretch = []
        while place < len(points) and points[place][0] <= end:
            stretch.append(points[place][1])
            place += 1
        if stretch:
            out.append((float(i), fmean(stretch)))
    return out or None


def _matched(judged: Points, trained: Points) -> tuple[Points, Points]:
    """Keep what both have: by place in time where they share it, otherwise the validation thinned to equal number."""
    common = {x for x, _ in judged} & {x for x, _ in trained}
    if len(common) >= 5:
        return [p for p in judged if p[0] in common], [p for p in trained if p[0] in common]
    n = min(len(judged), len(trained))
    return _spread(judged, n), _spread(trained, n)


def _spread(points: Points, n: int) -> Points:
    return [points[round(i * (len(points) - 1) / max(n - 1, 1))] for i in range(n)]


def learning_rates(history: History) -> list[Series]:
    """Return the learning rate of each parameter group, by step where it was logged so, otherwise by epoch."""
    named = [s for s in history.series if is_rate(s.name)]
    by_step = [s for s in named if s.axis == "step" and len(s.y) >= 2]
    return by_step or named


def rate_collapse(series: Series, limits: Thresholds) -> tuple[float, float] | None:
    """Return where a learning rate fell for good below a hundredth of its peak, and the share of the run that was left.

    None when it did not, or late: a cosine ends there too.
    """
    points = finite(series)
    peak = max((y for _, y in points), default=0.0)
    # of a rate that rests only the changes are kept
    if len(points) < 3 or points[-1][0] - points[0][0] < 4 or peak <= 0:
        return None
    last = max(i for i, (_, y) in enumerate(points) if y >= limits.collapse_rate * peak)
    first, end, place = points[0][0], points[-1][0], points[last][0]
    share = (end - place) / (end - first) if end > first else 0.0
    return (place, share) if share >= limits.collapse_left and last + 1 < len(points) else None


def is_rate(name: str) -> bool:
    """Tell whether a scalar is a learning rate by its name."""
    key = name.lower().replace("/", "_").replace("-", "_")
    return key == "lr" or key.startswith(("lr_", "learning_rate")) or key.endswith(("_lr", "_learning_rate"))


def is_gradient_norm(series: Series) -> bool:
    """Tell whether a series is the norm of all gradients of an optimizer, by step."""
    return series.axis == "step" and (series.name == "gradient_norm" or series.name.startswith("gradient_norm/"))


def update_ratios(history: History) -> list[tuple[float, float]]:
    """Return (step, median over the weight matrices of ‖Δw‖/‖w‖), as logged or from the parameters."""
    logged = [finite(s) for s in history.series if s.name == "update_ratio" or s.name.startswith("update_ratio/")]
    if len(logged) == 1:
        return logged[0]
    by_step: dict[float, list[float]] = {}
    for parameter in history.parameters:
        if parameter.is_matrix and parameter.trainable and parameter.optimizer is not None:
            for x, y in finite(parameter.update_ratio):
                by_step.setdefault(x, []).append(y)
    return [(x, median(ys)) for x, ys in sorted(by_step.items())]


def at_full_rate(history: History, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Keep the points at which the learning rate stood at half of its peak at least: no warm-up, no end of a decay."""
    rates = [finite(s) for s in learning_rates(history) if s.axis == "step"]
    peaks = [max((y for _, y in rate), default=0.0) for rate in rates]
    if not rates or max(peaks) <= 0:
        return points
    main = rates[peaks.index(max(peaks))]
    kept, place = [], 0
    for x, y in points:
        while place + 1 < len(main) and main[place + 1][0] <= x:
            place += 1
        if main[place][1] >= 0.5 * max(peaks):
            kept.append((x, y))
    return kept or points
