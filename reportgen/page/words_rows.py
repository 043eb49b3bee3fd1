"""The words for labels that belong to other rows."""

from __future__ import annotations

from collections.abc import Callable

from ..document.facts import Finding
from .formats import amount, percent
from .language import N_, _

_WHERE = N_(
    "{subject}: labels stand {own} standard deviations above a random order of them, and {shifted} with each label "
    "taken from {rows} rows {side}."
)
_SENTENCES = {
    "shifted": _WHERE,
    "ordered": _WHERE,
    "part shifted": N_(
        "{subject}, rows {first} to {last}: labels stand {own} standard deviations above a random order of them, and "
        "{shifted} with each label taken from {rows} rows {side}; elsewhere they fit."
    ),
    "part unrelated": N_(
        "{subject}, rows {first} to {last}: labels stand {own} standard deviations above a random order of them, and "
        "no labels near by do better; elsewhere they fit."
    ),
}


def _slipped(f: Finding) -> str:
    e = f.evidence
    return _(_SENTENCES[f.detail.get("kind", "shifted")]).format(
        subject=f.subject,
        own=f"{e['own']:.1f}",
        shifted=f"{e['shifted']:.1f}",
        rows=amount(abs(e["shift"])),
        side=_("further down") if e["shift"] > 0 else _("further up"),
        first=amount(e.get("first", 0.0)),
        last=amount(e.get("last", 0.0)),
    )


def _moved(f: Finding) -> str:
    e = f.evidence
    text = _(
        "Looked up by the token {places} places {side}, a label is right {moved} of the time, by that of its own place "
        "{own}; the model is right {model} of the time, the commonest label would be {commonest}."
    )
    return text.format(
        places=amount(abs(e["shift"])),
        side=_("further on") if e["shift"] > 0 else _("further back"),
        moved=percent(e["moved"]),
        own=percent(e["own"]),
        model=percent(e["model"]),
        commonest=percent(e["commonest"]),
    )


def _two(f: Finding) -> str:
    e = f.evidence
    text = _(
        "{share} of the targets are {times} times as large as the others for the same answer of the model, up to a "
        "constant: two lines leave {left} of the squared error of one."
    )
    return text.format(share=percent(e["share"]), times=amount(e["times"]), left=percent(e["left"]))


# rule -> name, sentence, when the rule is wrong
RULES: dict[str, tuple[str, Callable[[Finding], str], str]] = {
    "d-rows-slipped": ("Labels of other rows", _slipped, "The target may be meant to be of another row."),
    "two-measures": (
        "Targets in two units",
        _two,
        "The samples may be of two kinds, which no input tells apart.",
    ),
    "tags-slipped": (
        "Labels of other places",
        _moved,
        "The model may be meant to tell what stands at another place, and not be able to yet.",
    ),
}
