"""The scalars of a run as curves and as a table: the main ones large, the others as small panels."""

from __future__ import annotations

from msgspec import Struct

from ...document.history import History, Series
from ...health.curves import is_rate
from .. import axes, figures
from ..axes import Line
from ..blocks import Block, Cell, Column, Figure, Pictures, Table
from ..cells import of_chart, of_count, of_name, of_number, of_text
from ..formats import at_place, count, name, short, words
from ..language import _, plural, sentences
from ..run_figures import PanelLine, panel

MAX_PLOTS = 5  # large ones
MAX_PANELS = 24
MAX_SERIES = 200
_SPLITS = ("train_", "val_", "test_")
_HIGHER = ("accuracy", "acc", "f1", "auc", "r2", "precision", "recall", "map", "iou", "bleu", "psnr", "ssim", "score")
_LOWER = ("loss", "mae", "mse", "rmse", "error", "perplexity", "nll", "wer", "cer")
_OF_OPTIMIZERS = ("gradient_norm", "update_ratio")  # one for each: gradient_norm/generator
_OWN = ("seconds", "time", "epoch", "step")  # they say all they have to say in the table


class Group(Struct, frozen=True):
    """Scalars that belong on one pair of axes: one metric on one axis, for each split."""

    metric: str
    axis: str
    members: list[Series]

    @property
    def title(self) -> str:
        return _("{metric} by {axis}").format(metric=metric_name(self.metric), axis=axis_name(self.axis))


def blocks(history: History) -> list[Block]:
    """Show every scalar of a run, and say of those that are not drawn that they are not."""
    groups = _groups(history)
    large = groups[:MAX_PLOTS]
    out: list[Block] = []
    if large:
        out.append(Pictures(id="curves", figures=[_plot(i, g) for i, g in enumerate(large, 1)], caption=_healthy()))
    rest, left = groups[MAX_PLOTS : MAX_PLOTS + MAX_PANELS], groups[MAX_PLOTS + MAX_PANELS :]
    if rest:
        caption = _("On a logarithmic axis where a curve spans more than two powers of ten; the ring marks the best.")
        if left:
            text = plural("{n} more is in the table only.", "{n} more are in the table only.", len(left))
            caption += " " + text.format(n=count(len(left)))
        panels = [_panel(i, g) for i, g in enumerate(rest, 1)]
        out.append(Pictures(id="panels", title=_("Other scalars"), caption=caption, figures=panels, small=True))
    if history.series:
        out.append(_table(history))
    return out


def _healthy() -> str:
    return _(
        "Healthy: training and validation loss fall together and level off, the learning rate follows the schedule "
        "that was meant, and the gradient norm stays within a power of ten or two. Curves by step show the single "
        "values faint and their moving mean on top."
    )


def base(series: str) -> str:
    """Return the metric behind a name: val_loss and train_loss are both loss, learning_rate/1 is a learning rate."""
    if is_rate(series) and not series.startswith(_SPLITS):
        return "lr"
    of_optimizer = next((kind for kind in _OF_OPTIMIZERS if series.startswith(f"{kind}/")), None)
    if of_optimizer is not None:
        return of_optimizer
    return next((series.removeprefix(s) for s in _SPLITS if series.startswith(s)), series)


def axis_name(axis: str) -> str:
    return _("epoch") if axis == "epoch" else _("step")


def _groups(history: History) -> list[Group]:
    """Gather what can be drawn: the loss first, then metrics by epoch, rates and gradients, then the others."""
    groups: dict[tuple[str, str], list[Series]] = {}
    for series in history.series[:MAX_SERIES]:
        metric = base(series.name)
        # a constant says all it has to say in the table
        if len({v for v in series.y if v is not None}) >= 2 and metric not in _OWN:
            groups.setdefault((metric, series.axis), []).append(series)
    # what is there by step needs no second picture by epoch, and the other way round, but for the loss
    for metric in {m for m, _axis in groups} - {"loss"}:
        spare = "epoch" if metric in ("lr", "gradient_norm", "update_ratio") else "step"
        if (metric, "epoch") in groups and (metric, "step") in groups:
            del groups[metric, spare]
    return sorted((Group(m, a, sorted(s, key=_split)) for (m, a), s in groups.items()), key=_rank)


def _split(series: Series) -> int:
    """Put training before validation before test before the rest."""
    return next((i for i, split in enumerate(_SPLITS) if series.name.startswith(split)), len(_SPLITS))


def _rank(group: Group) -> tuple[int, bool]:
    by_step = group.axis == "step"
    if group.metric == "loss":
        return 0, by_step
    if group.metric == "lr":
        return 2, not by_step
    if group.metric == "gradient_norm":
        return 3, not by_step
    judged = direction(group.metric) != 0 and any(s.name.startswith("val_") for s in group.members)
    return (1 if judged and not by_step else 4), by_step


def best_point(series: Series) -> tuple[float, float] | None:
    """Return (x, value) of the best point; None where neither direction is better."""
    sign = direction(series.name)
    known = [(x, y) for x, y in zip(series.x, series.y, strict=True) if y is not None]
    return max(known, key=lambda p: sign * p[1], default=None) if sign else None


def _judged(group: Group) -> Series | None:
    """Return the series whose best point matters: that of the validation."""
    return next((s for s in group.members if s.name.startswith("val_") and group.axis == "epoch"), None)


def _plot(place: int, group: Group) -> Figure:
    judged, by_step = _judged(group), group.axis == "step"
    lines = [
        Line(
            name(s.name),
            s.x,
            s.y,
            best=best_point(s) if s is judged else None,
            noisy=by_step and group.metric != "lr",
        )
        for s in group.members[:6]
    ]
    id = f"curve-{place}"
    drawing = axes.curves(group.title, lines, x_label=axis_name(group.axis), y_label=metric_name(group.metric))
    return Figure(id=id, title=group.title, caption=_cut(group, 6), drawing=drawing)


def _panel(place: int, group: Group) -> Figure:
    judged = _judged(group)
    lines = [PanelLine(s.name, *axes.thinned(s.x, s.y, 80)) for s in group.members[:3]]
    best = best_point(judged) if judged is not None and judged in group.members[:3] else None
    drawing = panel(lines, group.title, axis=axis_name(group.axis), best=best)
    return Figure(id=f"panel-{place}", title=group.title, caption=_cut(group, 3), drawing=drawing)


def _cut(group: Group, limit: int) -> str:
    n = len(group.members)
    return _("The first {n} of {m} are drawn.").format(n=limit, m=count(n)) if n > limit else ""


def metric_name(key: str) -> str:
    """Name a metric for a heading."""
    known = {
        "lr": _("Learning rate"),
        "r2": "R²",
        "loss": _("Loss"),
        "accuracy": _("Accuracy"),
        "acc": _("Accuracy"),
        "grad_norm": _("Gradient norm"),
        "gradient_norm": _("Gradient norm"),
        "update_ratio": _("Update ratio"),
        "perplexity": _("Perplexity"),
        "precision": _("Precision"),
        "recall": _("Recall"),
    }
    if key in known:
        return known[key]
    shown = words(key)
    # mae, mse, auc, f1 and the like are initials
    return shown.upper() if len(shown) <= 4 and shown not in ("loss", "acc") else shown[:1].upper() + shown[1:]


def _table(history: History) -> Table:
    broken = any(s.nonfinite for s in history.series)
    columns = [
        Column(_("Scalar"), "name"),
        Column(_("Logged by"), "text"),
        Column(_("Values")),
        Column(_("First")),
        Column(_("Best")),
        Column(_("Best at")),
        Column(_("Last")),
    ]
    columns += [Column(_("Not finite"))] if broken else []
    columns += [Column(_("Course"), "chart")]
    body = []
    for series in history.series[:MAX_SERIES]:
        line = _row(series)
        if broken:
            line.insert(-1, of_count(series.nonfinite, "error" if series.nonfinite else ""))
        body.append(line)
    n = len(history.series)
    caption = plural("{n} logged scalar", "{n} logged scalars", n).format(n=count(n))
    note = _("Best is the highest for accuracies and scores, the lowest for losses and errors, and left out elsewhere.")
    if broken:
        note = sentences((note, _("Gaps in the curves are values that were not finite.")))
    if any(s.n > len(s.y) for s in history.series):
        note = sentences((note, _("Long series are thinned; the number of values is that of all.")))
    return Table(id="scalars", caption=caption, note=note, columns=columns, rows=body, total_rows=n)


def _row(series: Series) -> list[Cell]:
    known = [(x, y) for x, y in zip(series.x, series.y, strict=False) if y is not None]
    best = best_point(series)
    unknown = Cell("", None)
    title = _("{name} from {first} to {last}").format(
        name=name(series.name), first=short(known[0][1]) if known else "–", last=short(known[-1][1]) if known else "–"
    )
    # a few dozen points are all that 96 pixels can show
    thin = axes.thinned(series.x, series.y, 48)[1]
    return [
        of_name(series.name),
        of_text(axis_name(series.axis)),
        of_count(series.n),
        of_number(known[0][1] if known else None),
        of_number(best[1]) if best else unknown,
        Cell(at_place(axis_name(series.axis), best[0]), best[0]) if best else unknown,
        of_number(known[-1][1] if known else None),
        of_chart(figures.sparkline(thin, title)),
    ]


def direction(series: str) -> int:
    """Return 1 where higher is better, −1 where lower is, 0 where neither can be told from the name."""
    metric = base(series).lower()
    if any(metric == h or metric.endswith("_" + h) or metric.startswith(h + "_") for h in _HIGHER):
        return 1
    return -1 if any(metric == w or metric.endswith("_" + w) or metric.startswith(w + "_") for w in _LOWER) else 0
