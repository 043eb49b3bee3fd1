"""The architecture as a diagram: boxes in the order of execution, blocks to be unfolded, and the same as a list."""

from __future__ import annotations

from ...document.facts import ArchitectureFacts, LayerRow, Report
from ..blocks import Block, Figure, Outline, Prose
from ..boxes import Box, Diagram, Layout, short_kind
from ..diagram import Label, draw, left_out
from ..formats import count, name, percent
from ..language import _, plural
from ..reasons import told
from . import depth

MAX_BOXES = 42
MAX_INSIDE = 30
MAX_BLOCKS = 8
_WORST = ("error", "warning", "info")


def blocks(report: Report) -> list[Block]:
    """Draw the flow of data; nothing where it was not seen."""
    facts = report.architecture
    if facts is None or facts.flow is None or not any(not node.op for node in facts.flow.nodes):
        return []
    view = _View(report, facts, Layout(facts.flow, facts))
    whole = view.layout.overview(MAX_BOXES)
    title = _("Data flow")
    out: list[Block] = [
        Figure(id="flow", title=title, caption=_caption(facts, whole), drawing=draw(whole, view.labels(whole), title))
    ]
    inner, hidden = view.blocks_in(whole)
    for place, (box, times) in enumerate(inner, 1):
        inside = view.layout.inside(box, MAX_INSIDE)
        told = plural("Inside {kind}: {name}", "Inside {kind}, {n} times alike: {name} and others", times)
        told = told.format(kind=name(box.kinds[0]), n=count(times), name=name(box.name))
        drawn = draw(inside, view.labels(inside), told)
        out.append(Figure(id=f"flow-{place}", title=told, drawing=drawn, folded=told))
    if hidden:
        text = plural("{n} further kind of block is not drawn.", "{n} further kinds of block are not drawn.", hidden)
        out.append(Prose(paragraphs=[text.format(n=hidden)]))
    lines = view.lines(whole)
    told = plural("Data flow as a list of {n} line", "Data flow as a list of {n} lines", len(lines))
    out.append(Outline(id="flow-list", folded=told.format(n=count(len(lines))), items=lines))
    return out


def _caption(facts: ArchitectureFacts, diagram: Diagram) -> str:
    flow = facts.flow
    parts = [
        _(
            "One box a layer with the norm and the activation that follow it, in the order of execution. On the right "
            "the shape of what it puts out; the tinted part is its share of all parameters. A sign on the left is the "
            "worst of what was found there, as above."
        )
    ]
    ways = {arc.way for arc in diagram.arcs if arc.target != arc.source + 1}
    if "skip" in ways:
        parts.append(_("A solid arc is a skip connection: the same data also take a longer way."))
    if "branch" in ways:
        parts.append(_("Dashed arcs are branches."))
    if any(box.group >= 0 for box in diagram.boxes):
        parts.append(_("A box with a double edge is a block; what is inside unfolds below."))
    if any(box.times > 1 for box in diagram.boxes):
        parts.append(_("×N: built alike, N times in a row."))
    if flow is not None and flow.reason:
        parts.append(_("Not all could be followed: {reason}.").format(reason=name(told(flow.reason))))
    missing = left_out(diagram)
    if missing:
        text = plural("{n} arc, the longest, is left out.", "{n} arcs, the longest, are left out.", missing)
        parts.append(text.format(n=missing))
    return " ".join(parts)


class _View:
    """The words of the boxes of one report."""

    def __init__(self, report: Report, facts: ArchitectureFacts, layout: Layout) -> None:
        self.layout = layout
        self._facts = facts
        self._flow = layout.flow
        self._rows: dict[str, LayerRow] = {row.name: row for row in facts.rows}
        self._own = self._parameters(facts)
        self._worst = dict(zip(self._rows, depth.marks(report, list(self._rows)), strict=True))

    def _parameters(self, facts: ArchitectureFacts) -> list[int]:
        """Return the parameters of each node: a layer's with those of the parts that it holds, at its first call."""
        held: dict[str, int] = {}
        layers = {node.name for node in self._flow.nodes if not node.op}
        for row in facts.rows:
            own = row.name
            while own and own not in layers:
                own = own.rpartition(".")[0]
            if own in layers:
                held[own] = held.get(own, 0) + row.parameters
        nodes = self._flow.nodes
        return [n.parameters if n.op else 0 if n.call else held.get(n.name, 0) for n in nodes]

    def labels(self, diagram: Diagram) -> list[Label]:
        return [self._label(box, diagram.block) for box in diagram.boxes]

    def _label(self, box: Box, block: str | None) -> Label:
        if not box.nodes:
            return Label("", _("what comes in"), "")
        n = sum(self._own[i] for i in box.nodes)
        share = n / self._facts.parameters if self._facts.parameters else 0.0
        tone, shown, kind = self._tone(box), self._name(box), self._kind(box)
        told = [name(box.name) if shown else "", kind, _shape(self._input(box), box.output)]
        told += [_("{n} parameters, {share} of all").format(n=count(n), share=percent(share))] if n else []
        hover = "\n".join(line for line in told if line)
        if block is not None and box.name.startswith(block):  # the name of the block stands above its drawing
            shown = name(box.name[len(block) + 1 :]) if box.name != block else ""
        return Label(shown, kind, box.output, share, tone, hover, box.group >= 0)

    def _name(self, box: Box) -> str:
        node = self._flow.nodes[box.nodes[0]]
        if node.op == "output" or box.omitted or (node.op and box.group < 0 and not node.name):
            return ""
        return name(box.name)

    def _kind(self, box: Box) -> str:
        if box.omitted:
            return plural("… {n} more box", "… {n} more boxes", box.omitted).format(n=count(box.omitted))
        signs = {"input": _("input"), "output": _("output")}
        kinds = " + ".join(signs.get(k, short_kind(name(k))) for k in box.kinds)
        if box.times == 1:
            return kinds
        pattern = _("{kinds} ×{n}, side by side") if box.parallel else _("{kinds} ×{n}")
        return pattern.format(kinds=kinds, n=count(box.times))

    def _input(self, box: Box) -> str:
        row = self._rows.get(self._flow.nodes[box.nodes[0]].name)
        return "" if row is None or self._flow.nodes[box.nodes[0]].op else row.input_shape or ""

    def _tone(self, box: Box) -> str:
        places = {self._flow.nodes[i].name for i in box.nodes if not self._flow.nodes[i].op}
        groups = {self._flow.nodes[i].group for i in box.nodes} if box.group >= 0 else set()
        while groups:
            places |= {self._flow.groups[g].name for g in groups if g >= box.group}
            groups = {self._flow.groups[g].around for g in groups if g > box.group}
        found = {self._worst.get(p, "") for p in places if p}
        return next((tone for tone in _WORST if tone in found), "")

    def blocks_in(self, diagram: Diagram) -> tuple[list[tuple[Box, int]], int]:
        """Return the blocks to be shown from inside, one of those built alike, with how often; and how many more."""
        seen: dict[object, tuple[Box, int]] = {}
        for box in diagram.boxes:
            if box.group >= 0:
                first, n = seen.get(box.form, (box, 0))
                seen[box.form] = (first, n + box.times)
        found = list(seen.values())
        return found[:MAX_BLOCKS], max(len(found) - MAX_BLOCKS, 0)

    def lines(self, diagram: Diagram) -> list[str]:
        """Say of each box what it is, what it puts out, and what it reads other than the box before."""
        words = {"error": _("error"), "warning": _("warning"), "info": _("observation")}
        labels, out = self.labels(diagram), []
        for i, label in enumerate(labels):
            read = sorted(arc.source + 1 for arc in diagram.arcs if arc.target == i)
            line = ": ".join(part for part in (label.name, label.kind) if part)
            line += f" → {name(label.output)}" if label.output else ""
            if label.share:
                line += "; " + _("{share} of the parameters").format(share=percent(label.share))
            if read and read != [i]:
                line += "; " + _("reads {places}").format(places=", ".join(map(str, read)))
            out.append(line + (f"; {words[label.tone]}" if label.tone else ""))
        return out


def _shape(before: str, after: str) -> str:
    return " → ".join(name(text) for text in (before, after) if text)
