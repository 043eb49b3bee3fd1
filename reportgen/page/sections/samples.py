"""Single samples: what the model was given, what it said, what was wanted, and where it looked."""

from __future__ import annotations

from ...document.facts import Report
from ...document.pictures import Picture, PictureFacts, SampleView
from .. import figures
from ..blocks import Bitmap, Block, Cell, Column, Gallery, Table, Tile, Tone
from ..cells import missing, of_count, of_number, of_share, of_text
from ..formats import DASH, count, name, number, percent
from ..language import _
from ..svg import Element
from ..tokens import Names, line

_SIDE = 72  # CSS pixels
MAX_LEGEND = 24


def label_of(report: Report, kind: float) -> str:
    """Return the name of a class."""
    facts, evaluation = report.pictures, report.evaluation
    known = facts.classes if facts is not None else []
    if not known and evaluation is not None and evaluation.classification is not None:
        known = evaluation.classification.classes
    return name(known[int(kind)]) if 0 <= kind < len(known) else str(int(kind))


def bitmap(picture: Picture, alt: str, side: int, most: int = 12) -> Bitmap:
    """Show a picture so many times larger, in whole steps, that its longer side comes near ``side``."""
    scale = max(1, min(most, side // max(picture.width, picture.height)))
    width, height = picture.width * scale, picture.height * scale
    return Bitmap(kind=picture.format, data=picture.data, width=width, height=height, alt=alt)


def blocks(report: Report, facts: PictureFacts) -> list[Block]:
    """Return reference samples and the worst ones: pictures, curves or rows, as the inputs are."""
    if not facts.samples or facts.display is None:
        return []
    if facts.display.kind == "row" and facts.generation is not None and not facts.generation.paired:
        return []  # the noise that a generator is given says nothing to a person
    if facts.display.kind in ("tokens", "row"):
        # rows stand among the examples of the evaluation, where it has any
        return [] if _have_examples(report) else [_table(report, facts, facts.samples)]
    out: list[Block] = []
    for role in ("reference", "worst"):
        views = [v for v in facts.samples if v.role == role]
        if views:
            out.append(_gallery(report, facts, role, views))
    return out


def _have_examples(report: Report) -> bool:
    evaluation = report.evaluation
    return evaluation is not None and any(one.examples for one in (evaluation, *evaluation.heads.values()))


def _gallery(report: Report, facts: PictureFacts, role: str, views: list[SampleView]) -> Gallery:
    tiles = [
        Tile(
            images=_images(view),
            charts=_charts(view),
            lines=_lines(report, facts, view),
            tone="error" if _is_wrong(facts, view) else "",
        )
        for view in views
    ]
    if role == "reference" and facts.shown_classes:
        labels = {kind: label_of(report, kind) for kind in facts.shown_classes[:MAX_LEGEND]}
        tiles.append(Tile(charts=[figures.legend(labels, _("Colours of the classes"))]))
    return Gallery(id=f"samples-{role}", title=_title(role), caption=_caption(facts, role, views), tiles=tiles)


def _title(role: str) -> str:
    return _("Reference samples") if role == "reference" else _("Samples with the highest loss")


def _caption(facts: PictureFacts, role: str, views: list[SampleView]) -> str:
    if role == "reference":
        by_class = _(
            "Of each class the samples with the lowest hash, of {n}: the same ones in every report on these data."
        )
        by_all = _("The samples with the lowest hash, of {n}: the same ones in every report on these data.")
        told = [(by_class if facts.task == "classes" else by_all).format(n=count(facts.seen))]
        if facts.task == "classes":
            told.append(_("Beneath: the true class and, where it is another, the class that was said."))
    else:
        told = [
            _(
                "Those of {n} that the model is most wrong about. Healthy: a person would hesitate too. Unhealthy: the "
                "label is wrong, the picture is cut or upside down, or all are of one kind."
            ).format(n=count(facts.seen))
        ]
    if role == "reference" and any(view.truth is not None for view in views):
        told.append(
            _(
                "Beside each: the true classes of its places, and those that were named. Healthy: both alike, with "
                "mistakes along the edges only."
            )
        )
    told += _of_heat(facts, role, [view.heat is not None for view in views])
    if role == "reference" and any(view.heat_line for view in views):
        told.append(
            _(
                "The strip beneath: when the maps of {layer} speak for the class that was said (Grad-CAM), stronger "
                "for more. Healthy: where the event is that the class is named for."
            ).format(layer=name(facts.heat_layer or ""))
        )
    if any(view.nonfinite for view in views):
        told.append(_("Values that are NaN or infinite are shown in full orange."))
    return " ".join(told)


def _of_heat(facts: PictureFacts, role: str, heated: list[bool]) -> list[str]:
    """Say what the orange pictures are, and beside which samples they stand: those of the first classes, or all."""
    n = sum(heated)
    if not n:
        return []
    if role == "worst" and any(view.heat is not None for view in facts.samples if view.role == "reference"):
        return [_("In orange as above: what speaks for the class that was said.")]
    if heated[:n] == [True] * n and n < len(heated):
        told = _(
            "In orange beside the first {n}: where the maps of {layer} speak for the class that was said (Grad-CAM). "
            "Healthy: on the object, not on its surroundings."
        )
    else:
        told = _(
            "In orange beside it: where the maps of {layer} speak for the class that was said (Grad-CAM). Healthy: "
            "on the object, not on its surroundings."
        )
    return [told.format(n=count(n), layer=name(facts.heat_layer or ""))]


def _is_wrong(facts: PictureFacts, view: SampleView) -> bool:
    known = view.target is not None and view.prediction is not None
    return facts.task == "classes" and known and view.target != view.prediction


def _images(view: SampleView) -> list[Bitmap]:
    place = count(view.place)
    pairs = [
        (view.picture, _("Sample {place}")),
        (view.truth, _("True classes of the places of sample {place}")),
        (view.answer, _("Classes that were named for the places of sample {place}")),
        (view.heat, _("Grad-CAM of sample {place}")),
    ]
    return [
        bitmap(picture, words.format(place=place), 2 * _SIDE if picture.width > 2 * picture.height else _SIDE)
        for picture, words in pairs
        if picture is not None
    ]


def curves(view: SampleView) -> list[Element]:
    """Draw the features of a series."""
    charts = []
    for i, values in enumerate(view.lines):
        known = [v for v in values if v is not None]
        if not known:
            continue
        title = _("Feature {i} of sample {place}: from {low} to {high}").format(
            i=i, place=count(view.place), low=number(min(known)), high=number(max(known))
        )
        chart = figures.sparkline(values, title)
        charts += [chart] if chart is not None else []
    return charts


def _charts(view: SampleView) -> list[Element]:
    charts = curves(view)
    if view.heat_line:
        charts.append(figures.heat(view.heat_line, _("Grad-CAM of sample {place}").format(place=count(view.place))))
    return charts


def _lines(report: Report, facts: PictureFacts, view: SampleView) -> list[str]:
    lines = []
    if facts.task == "classes":
        wanted = label_of(report, view.target) if view.target is not None else DASH
        said = label_of(report, view.prediction) if view.prediction is not None else DASH
        lines.append(f"{wanted} → {said}" if _is_wrong(facts, view) else wanted)
    elif facts.task == "numbers":
        lines.append(_("{target}, said {value}").format(target=number(view.target), value=number(view.prediction)))
    if view.confidence is not None:
        lines.append(percent(view.confidence))
    if view.role == "worst":
        lines.append(_("loss {n}").format(n=number(view.loss)))
    lines.append(_("no. {place}").format(place=count(view.place)))
    if view.nonfinite:
        lines.append(_("{n} not finite").format(n=count(view.nonfinite)))
    return lines


def _table(report: Report, facts: PictureFacts, views: list[SampleView]) -> Table:
    """Show samples that are no pictures as rows."""
    tokens = facts.display is not None and facts.display.kind == "tokens"
    columns = [
        Column(_("Sample"), "text", _("place in the order of reading, from 0")),
        Column(_("Chosen"), "text"),
        Column(_("Target"), "text"),
        Column(_("Said"), "text"),
        Column(_("Probability")),
        Column(_("Loss")),
        Column(_("First tokens") if tokens else _("First columns"), "prose"),
    ]
    rows = [[*_cells(report, facts, view), of_text(_content(view, report.tokens))] for view in views]
    told = [i for i in range(len(columns)) if i in (0, 1) or any(row[i].text != DASH for row in rows)]
    columns, rows = [columns[i] for i in told], [[row[i] for i in told] for row in rows]
    note = _("By hash: they are the same in every report on these data.")
    if any(view.role == "worst" for view in views):
        note += " " + _("By loss: those that the model is most wrong about; healthy ones make a person hesitate too.")
    caption = _("Samples, of {n}").format(n=count(facts.seen))
    return Table(id="samples-rows", caption=caption, note=note, columns=columns, rows=rows, total_rows=len(rows))


def _cells(report: Report, facts: PictureFacts, view: SampleView) -> list[Cell]:
    wrong: Tone = "error" if _is_wrong(facts, view) else ""

    def said(value: float | None) -> str:
        if value is None:
            return DASH
        return label_of(report, value) if facts.task == "classes" else number(value)

    return [
        of_count(view.place),
        of_text(_("by hash") if view.role == "reference" else _("by loss")),
        of_text(said(view.target)),
        Cell(said(view.prediction), view.prediction, wrong),
        of_share(view.confidence) if view.confidence is not None else missing(),
        of_number(view.loss),
    ]


def _content(view: SampleView, names: Names) -> str:
    if view.tokens:
        return line(view.tokens, names)
    return ", ".join(number(v) if v is not None else _("not finite") for v in view.values)
