"""Attention: where each head looks, what comes of it through all layers, and how spread out it is."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from ...document.attention import AttentionFacts, AttentionLayer, Rollout
from ...document.facts import AttentionRow, Report
from .. import figures, reasons
from ..blocks import Block, Cell, Column, Figure, Gallery, Prose, Section, Table, Tile
from ..cells import missing, of_chart, of_count, of_name, of_number, of_text
from ..formats import count, listing, name, shape, size
from ..language import _, plural
from ..tokens import Names, called
from .samples import bitmap

MAX_ROWS = 120
MAX_POSITIONS = 16
_SHEET = 620  # CSS pixels


def section(report: Report) -> Section | None:
    """Show attention of one sample."""
    facts, rows = report.attention, report.activations.attention if report.activations is not None else []
    if facts is None:
        if not rows:
            return None
        return Section(id="attention", title=_("Attention"), intro=_("Of single heads."), blocks=[_recomputed(rows)])
    blocks: list[Block] = []
    if any(layer.picture is not None for layer in facts.layers):
        blocks.append(_maps(facts, report.tokens))
    if facts.rollout is not None:
        blocks.append(_rollout(facts, facts.rollout, report.tokens))
    if facts.layers:
        blocks.append(_entropies(facts.layers, {row.name: row for row in rows}))
    others = [row for row in rows if row.name not in {layer.name for layer in facts.layers}]
    if others:
        blocks.append(_recomputed(others))
    told = [_("Not measured: {reason}").format(reason=name(reasons.told(r))) for r in facts.reasons]
    if facts.no_rollout:
        told.append(
            _("Attention is not followed through the layers: {reason}.").format(
                reason=name(reasons.told(facts.no_rollout))
            )
        )
    if told:
        blocks.append(Prose(paragraphs=told))
    fused = any(layer.fused for layer in facts.layers)
    intro = _("Where each head looks, for the first sample of the data.")
    if fused:
        intro += " " + _(
            "Fused attention shows no weights; they were computed anew from the queries, keys and mask it was given."
        )
    return Section(id="attention", title=_("Attention"), intro=intro, blocks=blocks)


def _maps(facts: AttentionFacts, names: Names) -> Gallery:
    told = [
        _(
            "A query a row, a key a column, both from the first on; black is no weight, and white the most of that "
            "head, against looking at all visible keys alike. Healthy heads differ: some look at neighbours (a "
            "diagonal), some at one place (a column), some at what belongs together. Columns alone, the same in all "
            "heads and layers, say that the content does not matter; one even grey says that a head averages all."
        )
    ]
    shown = [layer for layer in facts.layers if layer.picture is not None]
    if any(layer.n_queries > layer.size[0] or layer.n_keys > layer.size[1] for layer in shown):
        told.append(_("Neighbouring places are averaged where there are too many to be shown."))
    if facts.tokens:
        text = _("The tokens: {tokens}.") if names else _("The tokens, by number: {tokens}.")
        told.append(text.format(tokens=listing([called(t, names) for t in facts.tokens], 24)))
    note = ""
    if facts.refused:
        note = plural(
            "Shown are layers evenly spaced, at most six and what fits into {size}; {n} is left out.",
            "Shown are layers evenly spaced, at most six and what fits into {size}; {n} are left out.",
            facts.refused,
        ).format(n=count(facts.refused), size=size(facts.budget))
    tiles = [_tile(layer) for layer in shown]
    return Gallery(
        id="attention-maps", title=_("Where each head looks"), caption=" ".join(told), note=note, tiles=tiles
    )


def _tile(layer: AttentionLayer) -> Tile:
    lines = [_("{layer}: {n} queries, {m} keys").format(layer=name(layer.name), n=layer.n_queries, m=layer.n_keys)]
    heads = plural("{n} head", "{n} heads", layer.heads).format(n=count(layer.heads))
    if len(layer.shown) < layer.heads:
        heads = _("{n} of {m} heads, evenly spaced").format(n=count(len(layer.shown)), m=count(layer.heads))
    lines.append(heads)
    if layer.windows > 1:
        lines.append(_("the first of its windows"))
    if layer.causal:
        lines.append(_("no query sees later keys"))
    alt = _("Attention weights of {layer}, one square a head").format(layer=name(layer.name))
    images = [] if layer.picture is None else [bitmap(layer.picture, alt, _SHEET, 4)]
    return Tile(images=images, lines=lines)


def _rollout(facts: AttentionFacts, rollout: Rollout, names: Names) -> Block:
    title = _("Attention through all layers")
    whose = {
        "first": _("Of the first position, the class token."),
        "last": _("Of the last position."),
        "mean": _("Mean over all positions."),
    }[rollout.query]
    told = plural(
        "Attention rollout (Abnar and Zuidema 2020): the mean over heads of {n} layer, with one half of it for the "
        "skip connection around it. It tells where information may come from, not what it does.",
        "Attention rollout (Abnar and Zuidema 2020): the mean over heads of {n} layers, multiplied, with one half of "
        "each for the skip connection around it. It tells where information may come from, not what it does.",
        rollout.layers,
    ).format(n=count(rollout.layers))
    if rollout.picture is not None:
        healthy = _("Healthy: what matters for the answer is light, the rest dark; black is the least, white the most.")
        pictures = [bitmap(rollout.picture, _("Attention rollout over the image, light is more"), 224, 56)]
        if rollout.image is not None:
            pictures.insert(0, bitmap(rollout.image, _("The sample itself"), 224, 56))
        lines = [shape(rollout.grid)]
        caption = " ".join((told, whose, healthy))
        return Gallery(id="rollout", title=title, caption=caption, tiles=[Tile(images=pictures, lines=lines)])
    times = [w / e if e else 0.0 for w, e in zip(rollout.weights, rollout.even, strict=True)]
    order = sorted(range(len(times)), key=lambda i: -times[i])[:MAX_POSITIONS]
    drawn = figures.bars([_place(facts, i, names) for i in order], [times[i] for i in order], title)
    healthy = _(
        "Shown are the positions with the most, as multiples of what they would get if every head looked at all alike. "
        "Healthy: what matters for the answer stands above 1."
    )
    return Figure(id="rollout", title=title, caption=" ".join((told, whose, healthy)), drawing=drawn)


def _place(facts: AttentionFacts, position: int, names: Names) -> str:
    token = facts.tokens[position] if position < len(facts.tokens) else None
    if token is not None and str(token) in names:
        return _("{n}: {token}").format(n=position, token=called(token, names))
    if token is not None:
        return _("position {n}: token {token}").format(n=position, token=token)
    return _("position {n}").format(n=position)


def _entropies(layers: list[AttentionLayer], rows_by_name: Mapping[str, AttentionRow]) -> Table:
    hint = _("a square a head; faint looks at one key, strong at all alike")
    columns = [
        Column(_("Layer"), "name"),
        Column(_("Heads")),
        Column(_("Queries × keys"), "text"),
        Column(_("By head"), "chart", hint),
        Column(_("Lowest")),
        Column(_("Median")),
        Column(_("Highest")),
    ]
    known = {layer.name: rows_by_name[layer.name] for layer in layers if layer.name in rows_by_name}
    if known:
        columns.append(
            Column(_("Largest logit"), "number", _("over all batches, for a few queries of one sample each"))
        )
    rows = [_row(layer, known) for layer in layers[:MAX_ROWS]]
    note = _(
        "Entropy of the weights of a query over the keys that it sees, as a share of the most there can be, mean over "
        "queries: 0 looks at one key, 1 at all alike. Healthy layers have both kinds; all heads near 1 in a trained "
        "layer do nothing but average, and all near 0 in many layers go with logits that are too large."
    )
    caption = _("Entropy of attention, by head and layer")
    return Table(id="attention-entropy", caption=caption, note=note, columns=columns, rows=rows, total_rows=len(layers))


def _row(layer: AttentionLayer, logits: Mapping[str, AttentionRow]) -> list[Cell]:
    known = [v for v in layer.entropy if v is not None]
    ends = [min(known), median(known), max(known)] if known else [None, None, None]
    title = _("entropy by head: {values}").format(values=listing([f"{v:.2f}" for v in known], 32))
    chart = of_chart(figures.squares(layer.entropy, title)) if known else missing()
    label = layer.name + f" ({layer.call + 1})" * bool(layer.call)
    places = of_text(shape([layer.n_queries, layer.n_keys]))
    line = [of_name(label), of_count(layer.heads), places, chart, *(of_number(v) for v in ends)]
    if logits:
        line.append(of_number(logits[layer.name].logit_max) if layer.name in logits else missing())
    return line


def _recomputed(rows: list[AttentionRow]) -> Table:
    """Show what projected queries and keys say of layers whose attention was not seen itself."""
    columns = [
        Column(_("Layer"), "name"),
        Column(_("Heads")),
        Column(_("By head"), "chart", _("a square a head; faint looks at one key, strong at all alike")),
        Column(_("Logit deviation"), "number", _("largest over heads, mean over queries")),
        Column(_("Largest logit")),
        Column(_("Mask"), "text"),
    ]
    body = []
    for row in rows[:MAX_ROWS]:
        title = _("entropy by head: {values}").format(values=listing([f"{v:.2f}" for v in row.entropy], 32))
        mask = _("causal") if row.causal else _("as called") if row.mask_known else _("none seen")
        cells = [of_name(row.name), of_count(len(row.entropy)), of_chart(figures.squares(row.entropy, title))]
        body.append([*cells, of_number(max(row.logit_std, default=None)), of_number(row.logit_max), of_text(mask)])
    note = _("Recomputed from projected queries and keys, for a few queries of one sample a batch.")
    caption = _("Attention over all batches")
    return Table(id="attention-rows", caption=caption, note=note, columns=columns, rows=body, total_rows=len(rows))
