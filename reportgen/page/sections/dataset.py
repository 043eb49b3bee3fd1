"""The data that the model was given: ranges by feature, and the balance of the classes."""

from __future__ import annotations

from ...document.facts import DatasetFacts, Report
from ...document.samples import SplitFacts
from .. import figures
from ..blocks import Block, Column, Figure, KeyValues, Pair, Section, Table
from ..cells import (
    ChartBudget,
    any_nonfinite,
    of_nonfinite,
    of_number,
    of_share,
    of_text,
    stats_cells,
    stats_columns,
)
from ..formats import count, name, number
from ..language import _, plural

MAX_BARS = 30


def section(report: Report) -> Section | None:
    """Show inputs and targets."""
    facts = report.dataset
    if facts is None:
        return None
    blocks: list[Block] = [KeyValues(pairs=_pairs(facts))]
    if facts.features:
        blocks.append(_features(facts))
    by_split = _by_split(report)
    if by_split is not None:
        blocks.append(by_split)
    if facts.class_counts:
        blocks.append(_classes(report, facts.class_counts))
    intro = _(
        "The batches as the model received them. Inputs of a healthy pipeline are of order one, or pass a "
        "normalisation layer first; no value is NaN or infinite; and no class is so rare that its score is chance."
    )
    return Section(id="dataset", title=_("Data"), intro=intro, blocks=blocks)


def _pairs(facts: DatasetFacts) -> list[Pair]:
    pairs = [
        Pair(label=_("Samples"), value=count(facts.n_samples)),
        Pair(label=_("Batches"), value=count(facts.n_batches)),
        Pair(label=_("Shape of a batch"), value=name(facts.shape)),
        Pair(label=_("Type"), value=name(facts.dtype)),
    ]
    if facts.integer_valued is not None:
        pairs.append(Pair(label=_("Whole numbers only"), value=_("yes") if facts.integer_valued else _("no")))
    if facts.normalised_first:
        pairs.append(Pair(label=_("First layer"), value=_("normalises its input")))
    if facts.target_dtype is not None:
        pairs.append(Pair(label=_("Type of the target"), value=name(facts.target_dtype)))
    if facts.target is not None:
        t = facts.target
        pairs.append(Pair(label=_("Target, mean ± std"), value=f"{number(t.mean)} ± {number(t.std)}"))
        pairs.append(Pair(label=_("Target, range"), value=_("{a} to {b}").format(a=number(t.min), b=number(t.max))))
    return pairs


def _by_split(report: Report) -> Table | None:
    """Show copies, order and label signal of each split, and what the two share."""
    rows = []
    for title, facts in ((_("training data"), report.train_dataset), (_("data given"), report.dataset)):
        if facts is None or (facts.copies is None and facts.order is None and facts.signal is None):
            continue
        copies, order, signal = facts.copies, facts.order, facts.signal
        repeated = None if copies is None else (copies.kept - copies.distinct) / copies.kept
        same = None if order is None or order.same is None else order.same / max(order.n - 1, 1)
        chance = None if order is None or order.expected is None else order.expected / max(order.n - 1, 1)
        told = [signal.score, signal.null_mean] if signal is not None else [None, None]
        double = None if facts.twins is None else facts.twins.found / facts.twins.n
        shown = [of_share(repeated), of_share(double), of_share(same), of_share(chance), *(of_number(v) for v in told)]
        rows.append([of_text(title), *shown])
    if not rows:
        return None
    columns = [
        Column(_("Split"), "name"),
        Column(_("Copies"), "number", _("share of the samples whose input occurred before, bit for bit")),
        Column(_("Near doubles"), "number", _("share of the samples with a near double, those equal left out")),
        Column(_("Same label next"), "number", _("share of samples with the label of the one before")),
        Column(_("by chance"), "number", _("the same in a random order")),
        Column(_("Neighbours' word"), "number", _("how well the five nearest samples tell the target; R² for numbers")),
        Column(_("if shuffled"), "number", _("the same with targets shuffled")),
    ]
    return Table(
        id="samples",
        caption=_("Samples and labels"),
        note=_overlap(report.splits),
        columns=columns,
        rows=rows,
        total_rows=len(rows),
    )


def _overlap(splits: SplitFacts | None) -> str:
    told = []
    if splits is not None and splits.shared is not None and splits.compared:
        text = _("{shared} of {n} inputs given are in the training data bit for bit.")
        told.append(text.format(shared=count(splits.shared), n=count(splits.compared)))
    if splits is not None and splits.twins is not None:
        text = _("{found} of {n} inputs given have a near double there.")
        told.append(text.format(found=count(splits.twins.found), n=count(splits.twins.n)))
    return " ".join(told)


def _features(facts: DatasetFacts) -> Table:
    broken = any_nonfinite([f.stats for f in facts.features])
    budget = ChartBudget(65)
    columns = [Column(_("Feature"), "name"), *stats_columns()]
    columns += [Column(_("Not finite"))] if broken else []
    columns += [Column(_("Distribution"), "chart", _("middle 99 % of the values; the mark is zero"))]
    body = []
    for feature in facts.features:
        label = str(feature.index) if feature.index >= 0 else _("all others")
        line = [of_text(label), *stats_cells(feature.stats)]
        line += [of_nonfinite(feature.stats)] if broken else []
        line.append(budget.histogram(feature.stats))
        body.append(line)
    n = len(facts.features)
    caption = plural("{n} input feature or channel", "{n} input features or channels", n).format(n=count(n))
    return Table(id="features", caption=caption, columns=columns, rows=body, total_rows=n)


def _classes(report: Report, counts: list[int]) -> Figure:
    evaluation = report.evaluation
    known = evaluation.classification.classes if evaluation is not None and evaluation.classification else []
    labels = known if len(known) == len(counts) else [str(i) for i in range(len(counts))]
    pairs = list(zip(labels, counts, strict=True))
    cut = sorted(pairs, key=lambda p: -p[1])[:MAX_BARS] if len(pairs) > MAX_BARS else pairs
    title = _("Samples by class")
    caption = _("{n} classes, from {low} to {high} samples.").format(
        n=len(counts), low=count(min(counts)), high=count(max(counts))
    )
    if len(cut) < len(pairs):
        caption += " " + _("The {n} largest are shown.").format(n=len(cut))
    drawing = figures.bars([p[0] for p in cut], [float(p[1]) for p in cut], title)
    return Figure(id="classes", title=title, caption=caption, drawing=drawing)
