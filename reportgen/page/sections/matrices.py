"""The inside of weights: one row a matrix, the most noticeable first; scale, rank and outliers by depth; spectra."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import median

from msgspec import Struct

from ...document.facts import WeightFacts, WeightRow
from ...document.matrices import Filters, MatrixFacts
from .. import figures
from ..blocks import Block, Cell, Column, Figure, Pictures, Table
from ..cells import ChartBudget, missing, of_count, of_name, of_number, of_text
from ..formats import count, name, number, percent
from ..language import _, plural
from ..reasons import told
from . import recurrent

MAX_ROWS = 400
BESIDE_A_MODEL = 40  # rows, where the report is about more than weights
MAX_CHARTS = 60
MAX_STRIP = 300
MAX_SPECTRA = 8
MAX_SMALL = 60
_FEW_ZEROS = 1e-3
_FIT = 0.1  # Kolmogorov distance below which a power law describes the tail
_TAIL, _SIDE = 50, 256  # values in it, and singular values, that alpha needs


class _Line(Struct, frozen=True):
    row: WeightRow
    matrix: MatrixFacts

    @property
    def name(self) -> str:
        return f"{self.row.name} · {told(self.matrix.part)}" if self.matrix.part else self.row.name


def blocks(facts: WeightFacts, *, alone: bool) -> list[Block]:
    """Return the blocks; ``alone``: the report is about a weights file, so the whole of it is shown."""
    lines = [_Line(row, matrix) for row in facts.rows for matrix in row.matrices]
    if not lines:
        return []
    out: list[Block] = [*_strip(facts)] if alone else []
    out.append(_table(lines, alone))
    out += _spectra(lines)
    out += _kernels(lines)
    out += _gains(facts.rows)
    out += _embeddings(facts.rows)
    return out + recurrent.blocks(facts.rows)


def _concern(line: _Line) -> float:
    """Order the rows: shares of channels that do nothing of their own, far values, rank far below that of noise."""
    f, s, d = line.matrix.filters, line.matrix.spectrum, line.row.distribution
    dead = (f.dead + f.copies) / max(line.matrix.channels, 1) + (f.similar or 0) / max(f.compared, 1) if f else 0.0
    far = min((d.outlier or 0) / 20, 1.0) if d else 0.0
    low = 0.5 * max(0.0, 1 - s.participation / s.participation_null) if s else 0.0
    return dead + far + low


def _scale(line: _Line) -> float:
    return float(line.matrix.rms * line.matrix.fan_in**0.5)


def _table(lines: list[_Line], alone: bool) -> Table:
    shown = sorted(lines, key=lambda line: -_concern(line))[: MAX_ROWS if alone else BESIDE_A_MODEL]
    budget = ChartBudget(MAX_CHARTS if alone else 0)
    spectral = any(line.matrix.spectrum is not None for line in lines)
    columns = [
        Column(_("Matrix"), "name"),
        Column(_("Layer"), "text", _("told from names and shapes")),
        *([Column(_("Distribution"), "chart")] if alone else []),
        Column(_("Scale"), "number", _("rms times the root of the fan-in: default initialisation 0.58, He 1.41")),
        Column(_("Dead"), "number", _("channels whose norm is below a thousandth of the median")),
        Column(
            _("Copies"), "number", _("channels equal to another; + nearly parallel to another, among those compared")
        ),
        Column(_("Farthest"), "number", _("largest magnitude over what so many normal values reach")),
        Column(_("Kurtosis"), "number", _("excess: −1.2 uniform, 0 normal")),
        Column("int8", "number", _("signal to noise in dB after rounding to 8 bits, one scale a channel")),
        Column("int4", "number", _("signal to noise in dB after rounding to 4 bits, one scale for 128 values")),
    ]
    if spectral:
        columns += [
            Column(
                _("Stable rank"), "number", _("sum of squared singular values over the largest; in brackets by noise")
            ),
            Column(_("Spikes"), "number", _("singular values beyond what noise reaches once in a thousand matrices")),
        ]
    body = []
    for line in shown:
        cells = [of_name(line.name), of_text(told(line.row.kind))]
        cells += [budget.histogram(line.row.stats)] if alone else []
        cells += [of_number(_scale(line)), *_measured(line)]
        cells += _ranks(line) if spectral else []
        body.append(cells)
    caption = plural("{n} matrix", "{n} matrices", len(lines)).format(n=count(len(lines)))
    note = _(
        "The most noticeable first: channels that do nothing of their own, values far from all others, rank below that "
        "of noise. Noticeable is not wrong. Stacked matrices (query, key and value; gates) are measured apart. In "
        "large matrices channels are compared, and rounding is tried, on evenly spaced ones."
    )
    folded = "" if alone else _("Channels, rounding and outliers of {matrices}").format(matrices=caption)
    return Table(
        id="matrices",
        caption=caption,
        note=note,
        columns=columns,
        rows=body,
        total_rows=len(lines),
        folded=folded,
        of_layers=True,
        ranked=True,
    )


def _measured(line: _Line) -> list[Cell]:
    f, q, d = line.matrix.filters, line.matrix.quantisation, line.row.distribution
    return [
        of_count(f.dead) if f else missing(),
        _copies(f) if f else missing(),
        of_number(d.outlier) if d else missing(),
        of_number(d.kurtosis) if d else missing(),
        of_number(q.int8_channel) if q else missing(),
        of_number(q.int4_group) if q else missing(),
    ]


def _copies(f: Filters) -> Cell:
    text = count(f.copies) + (f" + {count(f.similar)}" if f.similar else "")
    return Cell(text, f.copies + (f.similar or 0))


def _ranks(line: _Line) -> list[Cell]:
    s = line.matrix.spectrum
    if s is None:
        return [missing(), missing()]
    rank = Cell(f"{number(s.stable_rank)} ({number(s.stable_rank_null)})", s.stable_rank)
    return [rank, of_count(s.spikes)]


# ---- by depth


def _strip(facts: WeightFacts) -> list[Block]:
    rows = [row for row in facts.rows if row.matrices]
    if len(rows) < 2:
        return []
    together = math.ceil(len(rows) / MAX_STRIP)
    places = range(0, len(rows), together)
    quantities: list[tuple[str, Callable[[WeightRow], float | None], bool]] = [
        (_("scale"), lambda row: _scale(_Line(row, row.matrices[0])), True),
        (
            _("stable rank"),
            lambda row: (s.stable_rank / s.stable_rank_null) if (s := row.matrices[0].spectrum) else None,
            True,
        ),
        (_("outliers"), lambda row: row.distribution.outlier if row.distribution else None, True),
        (_("zeros"), _zeros, False),
    ]
    strips = []
    for label, value, log in quantities:
        values = [value(row) for row in rows]
        if any(values):
            shown = [_farthest(values[i : i + together], values) for i in places]
            strips.append(figures.StripRow(label, shown, log))
    title = _("Matrices by depth, {n} layers").format(n=count(len(rows)))
    caption = _(
        "One column a weight, in the order of the file, or as names tell the depth where a file keeps no order; "
        "stronger colour is more, on a scale of its own for each row. Stable "
        "rank is beside that of noise. Smooth changes are healthy; a sudden change is worth a look."
    )
    if together > 1:
        text = _("{n} weights share a column, which shows the one farthest from the middle of all.")
        caption += " " + text.format(n=count(together))
    drawing = figures.strip([rows[i].name for i in places], strips, [""] * len(places), title)
    return [Figure(id="matrices-by-depth", title=title, caption=caption, drawing=drawing)]


def _zeros(row: WeightRow) -> float | None:
    """Return the share of zeros; a few in a million are nothing to look at."""
    share = row.stats.zero_share if row.stats is not None else None
    return share if share is None or share >= _FEW_ZEROS else 0.0


def _farthest(values: list[float | None], everything: list[float | None]) -> float | None:
    """Return the value farthest from the median of all, by ratio; what is noticeable in many must not be averaged."""
    known = [v for v in values if v is not None]
    middle = median(v for v in everything if v is not None)
    return max(known, key=lambda v: abs(math.log((v + 1e-12) / (middle + 1e-12)))) if known else None


# ---- spectra


def _spectra(lines: list[_Line]) -> list[Block]:
    known = [line for line in lines if line.matrix.spectrum is not None]
    if not known:
        return []
    out: list[Block] = []
    drawn = [line for line in known if line.matrix.spectrum is not None and line.matrix.spectrum.bars]
    chosen = sorted(drawn, key=lambda line: -(((s := line.matrix.spectrum) and s.spike_energy) or 0.0))[:MAX_SPECTRA]
    pictures = [p for i, line in enumerate(chosen) if (p := _picture(i, line)) is not None]
    if pictures:
        caption = _(
            "Singular values of the matrices with most energy beyond the bulk. The line is the edge that a matrix of "
            "noise would have, with the variance of the middle of this one (Marchenko and Pastur); what lies beyond it "
            "was learned, or is a mean or a few huge values. Trained layers may have none."
        )
        out.append(Pictures(id="spectra", title=_("Spectra"), caption=caption, figures=pictures, small=True))
    return [*out, _spectral_table(known)]


def _picture(i: int, line: _Line) -> Figure | None:
    s = line.matrix.spectrum
    if s is None:
        return None
    drawing = figures.spectrum(s.bars, s.norm, s.edge, name(line.name))
    parts = [_("largest {value}").format(value=number(s.norm))]
    if s.spikes is not None and s.spike_energy is not None:
        text = _("{n} beyond the bulk with {share} of the energy")
        parts.append(text.format(n=count(s.spikes), share=percent(s.spike_energy)))
    return Figure(id=f"spectrum-{i}", title=name(line.name), caption=_(", ").join(parts), drawing=drawing)


def _spectral_table(lines: list[_Line]) -> Table:
    columns = [
        Column(_("Matrix"), "name"),
        Column(_("Largest"), "number", _("largest singular value; ± where it was estimated")),
        Column(_("Stable rank"), "number"),
        Column(_("of noise"), "number", _("the same of a random matrix of this shape")),
        Column(_("Participation"), "number", _("(Σσ²)²/Σσ⁴; ± where it was estimated")),
        Column(_("of noise"), "number"),
        Column(_("Effective rank"), "number", _("exp of the entropy of the singular values")),
        Column(_("Alpha"), "number", _("of a power law through the largest σ²; in brackets that of noise")),
    ]
    body = []
    for line in lines[:MAX_ROWS]:
        s = line.matrix.spectrum
        if s is not None:
            body.append(
                [
                    of_name(line.name),
                    _with_error(s.norm, s.norm_error),
                    of_number(s.stable_rank),
                    of_number(s.stable_rank_null),
                    _with_error(s.participation, s.participation_error),
                    of_number(s.participation_null),
                    of_number(s.effective_rank),
                    _alpha(line.matrix),
                ]
            )
    caption = plural("Spectrum of {n} matrix", "Spectra of {n} matrices", len(lines)).format(n=count(len(lines)))
    note = _(
        "For information: no figure here is good or bad by itself. Alpha is shown for at least 256 singular values, 50 "
        "of them in the tail and a close fit; it depends on the shape as much as on training."
    )
    return Table(
        id="spectral",
        caption=caption,
        note=note,
        columns=columns,
        rows=body,
        total_rows=len(lines),
        folded=caption,
        of_layers=True,
        ranked=True,
    )


def _with_error(value: float, error: float) -> Cell:
    return Cell(f"{number(value)} ± {percent(error)}" if error else number(value), value)


def _alpha(matrix: MatrixFacts) -> Cell:
    s = matrix.spectrum
    known = s is not None and s.alpha is not None and min(matrix.channels, matrix.fan_in) >= _SIDE
    if s is None or not known or (s.alpha_tail or 0) < _TAIL or (s.alpha_distance or 1.0) > _FIT:
        return missing(_("no close fit"))
    text = f"{number(s.alpha)} ± {number(2 * (s.alpha_error or 0.0), 2)}"
    return Cell(f"{text} ({number(s.alpha_null)})" if s.alpha_null is not None else text, s.alpha)


# ---- the figures of tutorials


def _kernels(lines: list[_Line]) -> list[Block]:
    rows: list[list[Cell]] = []
    measured = [line for line in lines if line.matrix.filters is not None]
    kernels = any(len(line.row.shape) > 2 for line in measured)  # what has none has channels alone
    for line in measured[:MAX_SMALL]:
        f = line.matrix.filters
        if f is None:
            continue
        chance = of_number(f.chance)
        live = line.matrix.channels - f.dead
        alone = line.matrix.channels < 2  # one channel differs from no other
        cells = [missing(_("not defined")) if alone else of_number(v) for v in (f.diversity, f.diversity_raw)]
        cells += [Cell(percent(1 - live / line.matrix.channels), 1 - live / line.matrix.channels)]
        cells += [
            Cell(percent(f.dead_raw), f.dead_raw),
            of_number(f.largest_cosine),
            chance,
            of_number(f.correlation_raw),
        ]
        rows.append([of_name(line.name), *cells])
    columns = [
        Column(_("Matrix"), "name"),
        Column(_("Diversity"), "number", _("spread of the channels' means beside that of random channels, which is 1")),
        Column(_("raw"), "number", _("std of the channels' means: falls with the fan-in, whatever was learned")),
        Column(
            _("Dead kernels") if kernels else _("Dead channels"),
            "number",
            _("norm below a thousandth of the median, behind the batch norm that follows"),
        ),
        Column(_("raw"), "number", _("no value above 0.01: true of every wide layer")),
        Column(_("Correlation"), "number", _("largest cosine of two channels")),
        Column(_("by chance"), "number", _("what random channels exceed once in a thousand layers")),
        Column(
            _("raw"), "number", _("mean of the five largest Pearson correlations: near 1 by chance for small kernels")
        ),
    ]
    total = len(measured)
    if kernels:
        caption = plural(
            "Kernel diversity, dead kernel ratio, kernel correlation of {n} matrix",
            "Kernel diversity, dead kernel ratio, kernel correlation of {n} matrices",
            total,
        )
    else:
        caption = plural(
            "Channel diversity, dead channel ratio, channel correlation of {n} matrix",
            "Channel diversity, dead channel ratio, channel correlation of {n} matrices",
            total,
        )
    caption = caption.format(n=count(total))
    note = _("Each in a form without units, and beside it the raw form that tutorials use, which depends on the shape.")
    table = Table(
        id="kernels", caption=caption, note=note, columns=columns, rows=rows, total_rows=total, folded=caption
    )
    return [table] if rows else []


# ---- norms and embeddings


def _gains(rows: list[WeightRow]) -> list[Block]:
    known = [(row.name, row.gains) for row in rows if row.gains is not None]
    if not known:
        return []
    columns = [
        Column(_("Norm"), "name"),
        Column(_("Median"), "number", _("of the gains' magnitude")),
        Column(_("Near zero"), "number", _("below a thousandth of the median")),
        Column(_("Largest, over the median"), "number", _("channels far above it make activations hard to round")),
        Column(_("Negative")),
    ]
    body = [
        [of_name(n), of_number(g.median), of_count(g.near_zero), of_number(g.largest), of_count(g.negative)]
        for n, g in sorted(known, key=lambda pair: -pair[1].largest)[:MAX_SMALL]
    ]
    caption = plural("Gains of {n} norm layer", "Gains of {n} norm layers", len(known)).format(n=count(len(known)))
    return [Table(id="gains", caption=caption, columns=columns, rows=body, total_rows=len(known), folded=caption)]


def _embeddings(rows: list[WeightRow]) -> list[Block]:
    known = [(row.name, row.embedding) for row in rows if row.embedding is not None]
    if not known:
        return []
    columns = [
        Column(_("Embedding"), "name"),
        Column(_("Rows")),
        Column(_("Zero")),
        Column(_("Copies"), "number", _("rows equal to another")),
        Column(_("Norm"), "number", _("median; in brackets least and largest")),
        Column(_("Far"), "number", _("rows whose norm is more than eight robust deviations from the median")),
        Column(_("First of them"), "text"),
    ]
    body = []
    for n, e in known[:MAX_SMALL]:
        norms = f"{number(e.norm_median)} ({number(e.norm_low)} … {number(e.norm_high)})"
        first = ", ".join(str(i) for i in e.far_examples)
        cells = [of_count(e.rows), of_count(e.zero), of_count(e.copies), Cell(norms, e.norm_median), of_count(e.far)]
        body.append([of_name(n), *cells, of_text(first)])
    caption = _("Rows of embeddings")
    return [Table(id="embeddings", caption=caption, columns=columns, rows=body, total_rows=len(known))]
