"""The training run: curves, what they came to, and the settings."""

from __future__ import annotations

from ...document.facts import Report
from ...document.history import History, Series
from .. import figures, plots
from ..blocks import Block, Cell, Column, Figure, KeyValues, Pair, Pictures, Section, Table
from ..cells import of_chart, of_count, of_name, of_number
from ..formats import count, name, seconds, short, words
from ..language import _, plural
from ..plots import Line

MAX_PLOTS = 8
MAX_SERIES = 200
_SPLITS = ("train_", "val_", "test_")
_HIGHER = ("accuracy", "acc", "f1", "auc", "r2", "precision", "recall", "map", "iou", "bleu", "psnr", "ssim", "score")


def section(report: Report) -> Section | None:
    """Show the curves and the values of a run."""
    history = report.training
    if history is None or not (history.series or history.epochs or history.steps):
        return None
    blocks: list[Block] = [KeyValues(pairs=_pairs(history))]
    curves = _plots(history)
    if curves:
        blocks.append(Pictures(id="curves", figures=curves))
    if history.series:
        blocks.append(_table(history))
    if history.hyperparameters:
        pairs = [Pair(label=name(k), value=_setting(v)) for k, v in sorted(history.hyperparameters.items())]
        blocks.append(KeyValues(title=_("Hyper-parameters"), pairs=pairs))
    intro = _(
        "What was logged while the model trained. In a healthy run both losses fall and level off together; a training "
        "loss that falls on while the validation loss climbs is overfitting, and a curve that "
        "jumps about is too large a step."
    )
    return Section(id="training", title=_("Training"), intro=intro, blocks=blocks)


def _pairs(history: History) -> list[Pair]:
    pairs = []
    if history.epochs:
        pairs.append(Pair(label=_("Epochs"), value=count(history.epochs)))
    if history.steps:
        pairs.append(Pair(label=_("Optimizer steps"), value=count(history.steps)))
    if history.batch_size:
        pairs.append(Pair(label=_("Batch size"), value=count(history.batch_size)))
    if history.optimizer:
        pairs.append(Pair(label=_("Optimizer"), value=name(history.optimizer)))
    if history.seconds is not None:
        pairs.append(Pair(label=_("Training time"), value=seconds(history.seconds)))
    if history.interrupted:
        pairs.append(Pair(label=_("Ended early"), value=name(history.interrupted), tone="warning"))
    return pairs


def _setting(value: float | str | bool | None) -> str:
    if isinstance(value, bool) or value is None:
        return str(value)
    return short(value) if isinstance(value, (int, float)) else name(value)


def base(series: str) -> str:
    """Return the metric behind a name: val_loss and train_loss are both loss."""
    return next((series.removeprefix(s) for s in _SPLITS if series.startswith(s)), series)


def _groups(history: History) -> list[tuple[str, str, list[Series]]]:
    """Gather the series that belong in one figure: same metric, same axis; the loss first, epochs before steps."""
    groups: dict[tuple[str, str], list[Series]] = {}
    for series in history.series[:MAX_SERIES]:
        groups.setdefault((base(series.name), series.axis), []).append(series)
    ordered = sorted(groups.items(), key=lambda g: (g[0][0] != "loss", g[0][1] != "epoch"))
    return [(metric, axis, members) for (metric, axis), members in ordered]


def _plots(history: History) -> list[Figure]:
    out: list[Figure] = []
    for metric, axis, members in _groups(history):
        # a constant rate and the time of an epoch say all they have to say in the table
        drawable = [s for s in members if len({v for v in s.y if v is not None}) >= 2 and metric != "seconds"]
        if not drawable or len(out) >= MAX_PLOTS:
            continue
        lines = [Line(name(s.name), s.x, s.y) for s in drawable[:6]]
        by = _("epoch") if axis == "epoch" else _("step")
        title = _("{metric} by {axis}").format(metric=_metric(metric), axis=by)
        id = f"curve-{len(out) + 1}"
        drawing = plots.curves(f"{id}-plot", title, lines, x_label=by, y_label=_metric(metric))
        out.append(Figure(id=id, title=title, drawing=drawing))
    return out


def _metric(key: str) -> str:
    known = {"lr": _("Learning rate"), "r2": "R²", "grad_norm": _("Gradient norm")}
    if key in known:
        return known[key]
    shown = words(key)
    # mae, mse, auc, f1 and the like are initials
    return shown.upper() if len(shown) <= 4 and shown not in ("loss", "acc") else shown[:1].upper() + shown[1:]


def _table(history: History) -> Table:
    broken = any(s.nonfinite for s in history.series)
    columns = [
        Column(_("Scalar"), "name"),
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
        line = _series(series)
        if broken:
            line.insert(-1, of_count(series.nonfinite, "error" if series.nonfinite else ""))
        body.append(line)
    n = len(history.series)
    caption = plural("{n} logged scalar", "{n} logged scalars", n).format(n=count(n))
    note = _("Best is the highest for accuracies and scores, the lowest for losses and errors, and left out elsewhere.")
    if broken:
        note += " " + _("Gaps in the curves are values that were not finite.")
    if any(s.n > len(s.y) for s in history.series):
        note += " " + _("Long series are thinned: each stretch keeps its smallest and its largest value.")
    return Table(id="scalars", caption=caption, note=note, columns=columns, rows=body, total_rows=n)


def _series(series: Series) -> list[Cell]:
    known = [(x, y) for x, y in zip(series.x, series.y, strict=False) if y is not None]
    direction = _direction(series.name)
    best = max(known, key=lambda p: direction * p[1], default=None) if direction else None
    unknown = Cell("", None)
    title = _("{name} from {first} to {last}").format(
        name=name(series.name), first=short(known[0][1]) if known else "–", last=short(known[-1][1]) if known else "–"
    )
    # a few dozen points are all that 96 pixels can show
    thin = plots.thinned(series.x, series.y)[1][:: max(1, len(series.y) // 48)]
    return [
        of_name(series.name),
        of_count(series.n),
        of_number(known[0][1] if known else None),
        of_number(best[1]) if best else unknown,
        Cell(f"{series.axis} {best[0]:g}", best[0]) if best else unknown,
        of_number(known[-1][1] if known else None),
        of_chart(figures.sparkline(thin, title)),
    ]


def _direction(series: str) -> int:
    """Return 1 where higher is better, −1 where lower is, 0 where neither can be told from the name."""
    metric = base(series).lower()
    if any(metric == h or metric.endswith("_" + h) or metric.startswith(h + "_") for h in _HIGHER):
        return 1
    lower = ("loss", "mae", "mse", "rmse", "error", "perplexity", "nll", "wer", "cer")
    return -1 if any(metric == w or metric.endswith("_" + w) or metric.startswith(w + "_") for w in lower) else 0
