"""Every layer on one row: structure, weights, outputs, gradients and steps side by side; and a part of its own for each
layer about which something was found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from msgspec import Struct

from ...document.facts import ActivationRow, Finding, GradientRow, LayerRow, Report, Severity, WeightRow
from ...document.history import ParameterRun
from .. import figures
from ..blocks import Block, Cell, Column, Figure, Group, KeyValues, Pair, Pictures, Section, Table, Tone
from ..cells import of_chart, of_number, of_share, of_si, of_text
from ..evidence_figures import distribution
from ..formats import beside, count, name, number, percent, shape, si, whole
from ..icons import severity_word
from ..language import _, plural
from ..places import place as called
from ..wording import describe, diagnosis_title
from .depth import layers, named_by
from .headlines import ranked

MAX_ROWS = 1000
MAX_CHARTS = 60
MAX_LAYERS = 8  # with a part of their own
MAX_FINDINGS = 8
_BINS = 16
_KEPT = 24  # points of a curve in a row


class Layer(Struct, frozen=True, kw_only=True):
    """All that is known of one layer."""

    name: str
    structure: LayerRow | None = None
    weight: WeightRow | None = None
    output: ActivationRow | None = None
    gradient: GradientRow | None = None
    run: ParameterRun | None = None
    found: list[tuple[int, Finding]] = []
    """(place of the diagnosis, finding)."""

    @property
    def worst(self) -> Severity | None:
        return max((f.severity for _place, f in self.found), key=lambda s: s.rank, default=None)


def joined(report: Report) -> list[Layer]:
    """Join what each part of the report says about a layer; of several tensors, its first matrix stands for it."""
    structure = {r.name: r for r in report.architecture.rows} if report.architecture is not None else {}
    outputs = {r.name: r for r in report.activations.rows} if report.activations is not None else {}
    weights: dict[str, WeightRow] = {}
    for row in report.weights.rows if report.weights is not None else []:
        owner = row.name.rpartition(".")[0]
        if owner not in weights or (len(row.shape) > 1 and len(weights[owner].shape) < 2):
            weights[owner] = row
    gradients = {r.name: r for r in report.gradients.rows} if report.gradients is not None else {}
    runs = {r.name: r for r in report.training.parameters} if report.training is not None else {}
    found = _found(report)
    out = []
    for place in layers(report):
        parameter = weights[place].name if place in weights else f"{place}.weight"
        out.append(
            Layer(
                name=place,
                structure=structure.get(place),
                weight=weights.get(place),
                output=outputs.get(place),
                gradient=gradients.get(parameter),
                run=runs.get(parameter),
                found=found.get(place, []),
            )
        )
    return out


def _found(report: Report) -> dict[str, list[tuple[int, Finding]]]:
    """Return the findings about each layer or a parameter of it, by the place of their diagnosis, each once."""
    out: dict[str, list[tuple[int, Finding]]] = {}
    for place, diagnosis in enumerate(ranked(report), 1):
        for finding in (*diagnosis.findings, *diagnosis.consequences):
            for layer in {owner for about in named_by(finding) for owner in (about, about.rpartition(".")[0])}:
                known = out.setdefault(layer, [])
                if all(f.rule != finding.rule or f.subject != finding.subject for _p, f in known):
                    known.append((place, finding))
    return out


def _chosen(known: Sequence[Layer]) -> list[Layer]:
    """Return the layers with findings that matter, the worst first, then in order; observations only where room is."""
    noted = [layer for layer in known if layer.worst is not None]
    noted.sort(key=lambda layer: -layer.worst.rank if layer.worst is not None else 0)
    return noted[:MAX_LAYERS]


def section(report: Report) -> Section | None:
    """Show the joined table, and the layers with findings one by one."""
    known = joined(report)
    if not known:
        return None
    chosen = _chosen(known)
    places = {layer.name: f"layer-{i}" for i, layer in enumerate(chosen, 1)}
    blocks: list[Block] = [_table(known, places)]
    blocks += [_part(layer, places[layer.name], report) for layer in chosen]
    noted = sum(layer.worst is not None for layer in known)
    intro = _("What each part of the examination says about a layer, side by side, from input to output.")
    if noted > MAX_ROWS:
        text = _("Of {m} layers with findings the {n} worst have a part of their own beneath.")
        intro += " " + text.format(m=count(noted), n=count(len(chosen)))
    elif noted > len(chosen):
        text = _(
            "Of {m} layers with findings the {n} worst have a part of their own beneath; the table has all of them."
        )
        intro += " " + text.format(m=count(noted), n=count(len(chosen)))
    elif chosen:
        told = plural(
            "{n} layer with findings has a part of its own beneath.",
            "{n} layers with findings have a part of their own beneath.",
            len(chosen),
        )
        intro += " " + told.format(n=count(len(chosen)))
    return Section(id="by-layer", title=_("Layer by layer"), intro=intro, blocks=blocks)


# ------------------------------------------------------------------------------------------------- the table


class _Kind(Struct, frozen=True):
    column: Column
    make: Callable[[Layer], Cell | None]
    """None where the layer has no such quantity; a column that no layer has is left out."""


def _columns() -> list[_Kind]:
    values = _("middle 99 % of the values; the mark is zero")
    course = _("‖Δw‖ / ‖w‖ from the first step to the last")
    return [
        _Kind(Column(_("Kind"), "text"), _kind),
        _Kind(Column(_("Parameters")), lambda x: of_si(x.structure.parameters) if x.structure is not None else None),
        _Kind(Column(_("FLOPs")), lambda x: of_si(x.structure.flops) if x.structure and x.structure.flops else None),
        _Kind(Column(_("Weight rms")), lambda x: _rms(x.weight)),
        _Kind(Column(_("Weights"), "chart", values), _weights),
        _Kind(Column(_("Output std")), lambda x: of_number(x.output.stats.std) if x.output is not None else None),
        _Kind(Column(_("Silent")), _silent),
        _Kind(Column(_("Gradient rms")), lambda x: _rms(x.gradient)),
        _Kind(Column(_("Step")), _step),
        _Kind(Column(_("Steps over the run"), "chart", course), _steps),
    ]


def _table(known: list[Layer], places: dict[str, str]) -> Table:
    rows = _kept(known)
    kinds = _columns()
    filled = [
        [k.make(layer) if k.column.kind != "chart" or i < MAX_CHARTS else None for k in kinds]
        for i, layer in enumerate(rows)
    ]
    used = [j for j in range(len(kinds)) if any(line[j] is not None for line in filled)]
    noted = any(layer.worst is not None for layer in rows)
    columns = [Column(_("Layer"), "name")]
    columns += [Column(_("Found"), "text", _("the worst that was found about the layer"))] if noted else []
    columns += [kinds[j].column for j in used]
    body = []
    for layer, cells in zip(rows, filled, strict=True):
        line = [Cell(name(layer.name), layer.name, link=places.get(layer.name, ""))]
        line += [_worst(layer)] if noted else []
        body.append(line + [cell if (cell := cells[j]) is not None else Cell("", None) for j in used])
    n = len(known)
    caption = plural("{n} layer with all that is known of it", "{n} layers with all that is known of them", n)
    title = caption.format(n=count(n))
    note = _("Weights and gradients are those of a layer's first matrix; a step is the median over the run.")
    if len(rows) > MAX_CHARTS:
        note += " " + _("Charts are drawn for the first {n} layers.").format(n=MAX_CHARTS)
    return Table(id="joined", caption=title, note=note, columns=columns, rows=body, total_rows=n, joins=True)


def _kept(known: list[Layer]) -> list[Layer]:
    """Return the layers that have a row: of very many the worst, and others from all along the model, in order."""
    if len(known) <= MAX_ROWS:
        return known
    found = sorted((i for i, x in enumerate(known) if x.worst is not None), key=lambda i: -_rank(known[i]))[:MAX_ROWS]
    rest = [i for i, layer in enumerate(known) if layer.worst is None]
    n = min(MAX_ROWS - len(found), len(rest))
    return [known[i] for i in sorted([*found, *(rest[k * len(rest) // n] for k in range(n))])]


def _rank(layer: Layer) -> int:
    return layer.worst.rank if layer.worst is not None else 0


def _worst(layer: Layer) -> Cell:
    if layer.worst is None:
        return Cell("", None)
    tone: Tone = layer.worst.value
    return of_text(severity_word(layer.worst), tone)


def _kind(layer: Layer) -> Cell | None:
    known = layer.structure or layer.output
    return of_text(name(known.kind)) if known is not None else None


def _rms(row: WeightRow | GradientRow | None) -> Cell | None:
    return of_number(row.stats.rms) if row is not None and row.stats is not None else None


def _weights(layer: Layer) -> Cell | None:
    row = layer.weight
    drawn = figures.histogram(row.stats, _BINS) if row is not None and len(row.shape) > 1 else None
    return of_chart(drawn) if drawn is not None else None


def _silent(layer: Layer) -> Cell | None:
    row = layer.output
    if row is None or not row.channels or not row.rectifier:
        return None
    worst = max(row.channels, key=lambda c: c.silent / max(c.n_channels, 1))
    return of_share(worst.silent / max(worst.n_channels, 1))


def _ratios(layer: Layer) -> list[float | None]:
    trace = layer.run.update_ratio if layer.run is not None else None
    return [] if trace is None else trace.y


def _step(layer: Layer) -> Cell | None:
    known = [y for y in _ratios(layer) if y is not None]
    return of_number(median(known)) if known else None


def _steps(layer: Layer) -> Cell | None:
    values = _ratios(layer)
    thin = values[:: -(-len(values) // _KEPT) or 1]
    known = [y for y in thin if y is not None]
    if len(known) < 2:
        return None
    said = _("from {low} to {high}").format(low=number(known[0], 2), high=number(known[-1], 2))
    drawn = figures.sparkline(thin, said)
    return of_chart(drawn) if drawn is not None else None


# --------------------------------------------------------------------------------------- a part for each layer


def _part(layer: Layer, place: str, report: Report) -> Group:
    pairs = [p for p in (*_of_structure(layer), *_of_numbers(layer)) if p is not None]
    blocks: list[Block] = [KeyValues(pairs=pairs)] if pairs else []
    drawn = [f for f in (_outputs_figure(layer, place), _weights_figure(layer, place)) if f is not None]
    if drawn:
        blocks.append(Pictures(id=f"{place}-pictures", figures=drawn, small=True))
    blocks.append(_findings(layer, place, report))
    return Group(id=place, title=called(layer.name, "weights"), blocks=blocks)


def _of_structure(layer: Layer) -> list[Pair]:
    row, out = layer.structure, []
    if row is not None:
        out.append(Pair(label=_("Kind"), value=name(row.kind)))
        if row.input_shape and row.output_shape:
            shapes = {_("Input"): row.input_shape, _("Output"): row.output_shape}
            if row.input_shape == row.output_shape:
                shapes = {_("Input and output"): row.input_shape}
            out += [Pair(label=label, value=whole(name(shape))) for label, shape in shapes.items()]
        frozen = row.parameters - row.trainable
        note = _("{n} of them frozen").format(n=si(frozen)) if frozen else ""
        out.append(Pair(label=_("Parameters"), value=count(row.parameters), note=note))
    if layer.weight is not None:
        out.append(
            Pair(label=_("Shape of the weight"), value=whole(shape(layer.weight.shape)), note=name(layer.weight.dtype))
        )
    return out


def _of_numbers(layer: Layer) -> list[Pair]:
    out = []
    if layer.weight is not None and layer.weight.stats is not None:
        out.append(Pair(label=_("Weight rms"), value=number(layer.weight.stats.rms)))
    if layer.output is not None:
        stats = layer.output.stats
        ends = stats.min, stats.max
        span = _("{low} to {high}").format(low=beside(ends[0], ends), high=beside(ends[1], ends))
        out.append(Pair(label=_("Output std"), value=number(stats.std), note=span))
        out.append(Pair(label=_("Output zeros"), value=percent(stats.zero_share)))
    if layer.gradient is not None and layer.gradient.stats is not None:
        out.append(Pair(label=_("Gradient rms"), value=number(layer.gradient.stats.rms)))
    known = [y for y in _ratios(layer) if y is not None]
    if known:
        out.append(Pair(label=_("Step"), value=number(median(known)), note=_("median of ‖Δw‖ / ‖w‖ over the run")))
    return out


def _outputs_figure(layer: Layer, place: str) -> Figure | None:
    drawn = distribution(layer.output.stats, _("Outputs")) if layer.output is not None else None
    return None if drawn is None else Figure(id=f"{place}-outputs", title=_("Outputs"), drawing=drawn)


def _weights_figure(layer: Layer, place: str) -> Figure | None:
    drawn = distribution(layer.weight.stats, _("Weights")) if layer.weight is not None else None
    return None if drawn is None else Figure(id=f"{place}-weights", title=_("Weights"), drawing=drawn)


def _findings(layer: Layer, place: str, report: Report) -> Table:
    titles = {i: diagnosis_title(d) for i, d in enumerate(ranked(report), 1)}
    found = sorted(layer.found, key=lambda pair: -pair[1].severity.rank)
    rows = [
        [
            of_text(describe(finding)),
            of_text(severity_word(finding.severity), finding.severity.value),
            Cell(titles[i], titles[i], link=f"diagnosis-{i}"),
        ]
        for i, finding in found[:MAX_FINDINGS]
    ]
    columns = [Column(_("Finding"), "prose"), Column(_("Severity"), "text"), Column(_("Diagnosis"), "prose")]
    n = len(found)
    caption = plural("{n} finding about it", "{n} findings about it", n).format(n=count(n))
    return Table(id=f"{place}-findings", caption=caption, columns=columns, rows=rows, total_rows=n)
