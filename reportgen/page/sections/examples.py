"""Samples worth a look, and groups of samples on which the model does worse."""

from __future__ import annotations

from collections.abc import Container

from msgspec import structs

from ...document.evaluation import EvaluationFacts
from ...document.facts import Report
from ...document.pictures import SampleView
from ...document.samples import Example
from ..blocks import Cell, Column, Table
from ..cells import in_rows, missing, of_count, of_number, of_share, of_text
from ..formats import count, name, number
from ..language import _
from ..tokens import Names, line, renamed
from .samples import label_of

MAX_SLICES = 20


def prepared(facts: EvaluationFacts, report: Report) -> EvaluationFacts:
    """Leave out the samples that are shown among the pictures, take in rows that would stand there, and name tokens."""
    heads = {head: prepared(one, report) for head, one in facts.heads.items()}
    kept = [e for e in facts.examples if e.index not in _pictured(report, e.reason)]
    if sum(e.reason == "worst" for e in kept) < sum(e.reason == "worst" for e in facts.examples):
        kept = [structs.replace(e, reason="next") if e.reason == "worst" else e for e in kept]
    if facts.task == "regression":
        kept = [_with_signs(e) for e in kept]
    kept += _references(report, kept[0].shape) if kept and not heads else []
    if report.tokens:
        kept = [_with_tokens(e, facts, report.tokens) for e in kept]
    return structs.replace(facts, heads=heads, examples=kept)


def _pictured(report: Report, reason: str) -> Container[int]:
    """Return the places of samples whose picture says all that a row of this reason would say."""
    pictures = report.pictures
    if pictures is None or pictures.display is None:
        return ()
    if reason == "typical":  # without an answer beside it a reference sample says less
        return range(report.subject.n_samples) if pictures.samples and pictures.task else ()
    if pictures.display.kind in ("row", "tokens"):
        return ()  # the worst of these stand in this table
    return {view.place for view in pictures.samples if view.role == "worst"}


def _references(report: Report, shape: list[int]) -> list[Example]:
    """Return the reference samples that are rows or tokens, of this shape, with an answer beside them."""
    pictures = report.pictures
    if pictures is None or pictures.display is None or pictures.display.kind not in ("row", "tokens"):
        return []
    views = [view for view in pictures.samples if view.role == "reference"] if pictures.task else []
    return [
        structs.replace(_of_view(report, view, pictures.task), shape=shape) for view in views if view.loss is not None
    ]


def _of_view(report: Report, view: SampleView, task: str) -> Example:
    def said(value: float | None) -> str:
        return "" if value is None else label_of(report, value) if task == "classes" else number(value)

    return Example(
        index=view.place,
        reason="typical",
        loss=view.loss or 0.0,
        target=said(view.target),
        prediction=said(view.prediction),
        confidence=view.confidence,
        row=[0.0 if v is None else v for v in view.values],
        tokens=view.tokens,
    )


def _with_signs(example: Example) -> Example:
    """Write the minus of numbers as everywhere on the page."""
    target, prediction = (text.replace("-", "−") for text in (example.target or "", example.prediction or ""))
    return structs.replace(example, target=target, prediction=prediction)


def _with_tokens(example: Example, facts: EvaluationFacts, names: Names) -> Example:
    told = {"text": example.text or line(example.tokens, names)}
    if facts.task == "tokens":
        told |= {"target": renamed(example.target, names), "prediction": renamed(example.prediction, names)}
    return structs.replace(example, **told)


def examples(facts: EvaluationFacts, id: str) -> Table | None:
    """Show the highest losses, the surest mistakes and a few that are typical."""
    if not facts.examples:
        return None
    sure = any(e.confidence is not None for e in facts.examples)
    told = {e.index: _told(e) for e in facts.examples}
    columns = [
        Column(_("Sample"), "text", _("place in the order of loading, from 0")),
        Column(_("Why"), "text"),
        Column(_("Target"), "text"),
        Column(_("Prediction"), "text"),
    ]
    columns += [Column(_("Confidence"))] if sure else []
    columns += [Column(_("Loss"))]
    inputs = any(told.values())
    columns += [Column(_("Input"), "prose")] if inputs else []
    alike: dict[int, list[Example]] = {}
    for example in facts.examples:
        alike.setdefault(example.index, []).append(example)
    rows = [_row(same, told[place], sure=sure, inputs=inputs) for place, same in alike.items()]
    caption = _("Samples worth a look")
    reasons = {e.reason for e in facts.examples}
    notes = [_("A sample that is wrong with confidence is often labelled wrong.")] if "confident" in reasons else []
    if "next" in reasons:
        notes.append(_("Those with the highest loss are among the pictures."))
    if "typical" in reasons:
        notes.append(_("The typical ones are drawn by hash: they are the same in every report on these data."))
    note = " ".join(notes)
    folded = in_rows(caption, len(rows))
    return Table(
        id=f"{id}examples",
        caption=caption,
        note=note,
        columns=columns,
        rows=rows,
        total_rows=len(rows),
        folded=folded,
    )


def _row(same: list[Example], text: str, *, sure: bool, inputs: bool) -> list[Cell]:
    """Return the row of one sample, which may be shown for several reasons."""
    example = same[0]
    words = {
        "worst": _("highest loss"),
        "next": _("high loss"),
        "confident": _("surest mistake"),
        "typical": _("typical"),
    }
    why = _(", ").join(dict.fromkeys(words[e.reason] for e in same))
    cells = [Cell(count(example.index), example.index), of_text(why)]
    cells += [of_text(name(example.target or "–")), of_text(name(example.prediction or "–"))]
    cells += [of_share(example.confidence)] if sure else []
    cells.append(of_number(example.loss))
    return [*cells, of_text(text) if text else missing()] if inputs else cells


def _told(example: Example) -> str:
    row = ", ".join(number(v) for v in example.row)
    if row and example.shape and example.shape[0] > len(example.row):
        row += ", …"
    if example.text:
        return f"{name(example.text)}: {row}" if row else name(example.text)
    return row or " ".join(map(str, example.tokens))


def slices(facts: EvaluationFacts, id: str) -> Table | None:
    """Show how each group of samples does, the worst first."""
    if not facts.slices:
        return None
    right = facts.slice_score == "accuracy"
    rows = sorted(facts.slices, key=lambda s: s.score if right else -s.score)
    columns = [
        Column(_("Key"), "name"),
        Column(_("Value"), "text"),
        Column(_("Samples")),
        Column(_("Accuracy") if right else _("Loss")),
        Column(_("95 % interval"), "text"),
    ]
    body = []
    for s in rows[:MAX_SLICES]:
        low, high = (of_share(v) if right else of_number(v) for v in (s.low, s.high))
        ends = _("{low} to {high}").format(low=low.text, high=high.text)
        score = of_share(s.score) if right else of_number(s.score)
        body.append([of_text(name(s.key)), of_text(name(s.value)), of_count(s.n), score, of_text(ends)])
    note = _(
        "Groups by what the batch carries of its samples, the worst first. Of many groups one is the worst by chance: "
        "intervals that overlap show no difference."
    )
    caption = _("Scores by group")
    return Table(id=f"{id}slices", caption=caption, note=note, columns=columns, rows=body, total_rows=len(rows))
