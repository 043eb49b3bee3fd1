"""The data that the model was given: ranges by feature, and the balance of the classes."""

from __future__ import annotations

from ...document.facts import DatasetFacts, FeatureStats, Report
from ...document.samples import SplitFacts
from ...document.scores import distance
from .. import figures
from ..blocks import Block, Column, Figure, KeyValues, Pair, Section, Table
from ..cells import (
    ChartBudget,
    any_nonfinite,
    in_rows,
    missing,
    of_nonfinite,
    of_number,
    of_share,
    of_text,
    stats_cells,
    stats_columns,
)
from ..formats import beside, count, name, number, percent
from ..language import _, plural
from ..planes import paired_bars
from ..tokens import Names, called

MAX_BARS = 30
MAX_SHIFTS = 12


def section(report: Report) -> Section | None:
    """Show inputs and targets."""
    facts = report.dataset
    if facts is None:
        return None
    blocks: list[Block] = [KeyValues(pairs=[*_pairs(facts), *_tokens(facts, report.tokens)])]
    if len(facts.tensors) > 1 or (facts.tensors and not facts.features):
        blocks.append(_tensors(facts))
    if facts.features:
        blocks.append(_features(facts))
    by_split = _by_split(report)
    if by_split is not None:
        blocks.append(by_split)
    shift = _shift(report)
    if shift is not None:
        blocks.append(shift)
    blocks += _balance(report, facts)
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
        pairs.append(
            Pair(
                label=_("Target, range"),
                value=_("{a} to {b}").format(a=beside(t.min, [t.max]), b=beside(t.max, [t.min])),
            )
        )
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
        told = [signal.score, signal.null_mean] if signal is not None and signal.k else [None, None]
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
        none = _("None of {n} inputs given is in the training data bit for bit.")
        told.append((text if splits.shared else none).format(shared=count(splits.shared), n=count(splits.compared)))
    if splits is not None and splits.twins is not None:
        text = _("{found} of {n} inputs given have a near double there.")
        none = _("None of {n} inputs given has a near double there.")
        told.append(
            (text if splits.twins.found else none).format(found=count(splits.twins.found), n=count(splits.twins.n))
        )
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


def _tensors(facts: DatasetFacts) -> Table:
    """Show every tensor of a batch."""
    columns = [
        Column(_("Tensor"), "name"),
        Column(_("Role"), "text"),
        Column(_("Shape of a batch"), "text"),
        Column(_("Type"), "text"),
        *stats_columns(),
    ]
    rows = []
    for t in facts.tensors:
        role = _("input") if t.role == "input" else _("target")
        cells = [of_text(name(t.name)), of_text(role), of_text(name(t.shape)), of_text(name(t.dtype))]
        rows.append([*cells, *stats_cells(t.stats if t.stats.count else None)])
    note = ""
    if any(t.sampled for t in facts.tensors):
        note = _("Of large tensors a million values a batch were looked at, at even places.")
    caption = _("Tensors of a batch")
    return Table(id="batch-tensors", caption=caption, note=note, columns=columns, rows=rows, total_rows=len(rows))


def _balance(report: Report, facts: DatasetFacts) -> list[Figure]:
    """Show how often each class of each target occurs, by split."""
    train = report.train_dataset
    found = {t.name: t for t in facts.targets if t.kind == "labels" or len(t.counts) > 1}
    plain = not found or (list(found) == ["target"] and found["target"].kind == "classes")
    if plain:
        if not facts.class_counts:
            return []
        n = sum(facts.class_counts)
        before = (train.class_counts, sum(train.class_counts)) if train is not None and train.class_counts else None
        return [_bars(report, "classes", _("Samples by class"), (facts.class_counts, n), before)]
    theirs = {} if train is None else {t.name: t for t in train.targets}
    drawn = []
    for i, (key, target) in enumerate(found.items()):
        title = _("Samples by label") if target.kind == "labels" else _("Samples by class")
        if key != "target":
            title = _("{title} of {target}").format(title=title, target=name(key))
        other = theirs.get(key)
        before = (other.counts, other.n) if other is not None and other.kind == target.kind else None
        drawn.append(_bars(report, f"classes-{i}" if i else "classes", title, (target.counts, target.n), before))
    return drawn


Counted = tuple[list[int], int]
"""Counts, and what they are shares of."""


def _bars(report: Report, id: str, title: str, given: Counted, train: Counted | None) -> Figure:
    size = max(len(given[0]), 0 if train is None else len(train[0]))
    labels = _class_names(report, size)
    counts, n = _filled(given[0], size), max(given[1], 1)
    others = None if train is None else _filled(train[0], size)
    order = list(range(size))
    if size > MAX_BARS:
        order = sorted(order, key=lambda i: -counts[i])[:MAX_BARS]
    caption = _("{n} classes, from {low} to {high} samples.").format(
        n=size, low=count(min(counts)), high=count(max(counts))
    )
    if others is not None and train is not None:
        m = max(train[1], 1)
        apart = max(abs(a / n - b / m) for a, b in zip(counts, others, strict=True))
        caption += " " + _("No share differs from that of the training data by more than {apart}.").format(
            apart=percent(apart)
        )
    if len(order) < size:
        caption += " " + _("The {n} largest are shown.").format(n=len(order))
    names = [labels[i] for i in order]
    if others is None or train is None:
        drawing = figures.bars(names, [float(counts[i]) for i in order], title)
    else:
        m = max(train[1], 1)
        rows = [(labels[i], others[i] / m, counts[i] / n, others[i], counts[i]) for i in order]
        drawing = paired_bars(rows, title)
    return Figure(id=id, title=title, caption=caption, drawing=drawing)


def _filled(counts: list[int], size: int) -> list[int]:
    return counts + [0] * (size - len(counts))


def _class_names(report: Report, n: int) -> list[str]:
    evaluation = report.evaluation
    known = evaluation.classification.classes if evaluation is not None and evaluation.classification else []
    return known if len(known) == n else [str(i) for i in range(n)]


def _tokens(facts: DatasetFacts, names: Names) -> list[Pair]:
    if facts.tokens is None:
        return []
    told = ", ".join(
        _("{token}: {share}").format(token=called(token, names), share=percent(times / facts.tokens.n))
        for token, times in facts.tokens.commonest[:4]
    )
    pairs = [Pair(label=_("Different tokens"), value=count(facts.tokens.distinct), note=_("commonest: ") + told)]
    if facts.padding is not None:
        pairs.append(
            Pair(label=_("Padding"), value=percent(facts.padding.share), note=called(facts.padding.token, names))
        )
    return pairs


def _shift(report: Report) -> Table | None:
    """Show the features whose distribution differs most between the splits."""
    train, given = report.train_dataset, report.dataset
    if train is None or given is None or len(train.features) != len(given.features):
        return None
    pairs = [
        (a, b)
        for a, b in zip(train.features, given.features, strict=True)
        if a.stats.std and a.stats.mean is not None and b.stats.std is not None and b.stats.mean is not None
    ]
    if not pairs:
        return None
    columns = [
        Column(_("Feature"), "name"),
        Column(_("Shift of the mean"), "number", _("in standard deviations of the training data")),
        Column(_("Ratio of the stds"), "number", _("data given over training data; 1 is alike")),
        Column(_("Greatest gap"), "number", _("between the distribution functions (Kolmogorov-Smirnov), by bins")),
        Column(_("Mean, training")),
        Column(_("Mean, given")),
    ]
    body = []
    for a, b in sorted(pairs, key=lambda pair: -abs(_moved(*pair)))[:MAX_SHIFTS]:
        apart = distance(a.stats, b.stats)
        ratio = (b.stats.std or 0.0) / (a.stats.std or 1.0)
        numbers = [of_number(_moved(a, b)), of_number(ratio), missing() if apart is None else of_share(apart)]
        body.append([of_text(str(a.index)), *numbers, of_number(a.stats.mean), of_number(b.stats.mean)])
    caption = _("Features of the splits compared")
    note = _("The largest shifts first. Splits of one source differ by little more than chance.")
    folded = in_rows(caption, len(body))
    return Table(
        id="feature-shift",
        caption=caption,
        note=note,
        columns=columns,
        rows=body,
        total_rows=len(pairs),
        folded=folded,
    )


def _moved(a: FeatureStats, b: FeatureStats) -> float:
    """Return the shift of the mean in standard deviations of the first."""
    return ((b.stats.mean or 0.0) - (a.stats.mean or 0.0)) / (a.stats.std or 1.0)
