"""The words for data given that the model knows once their inputs are prepared in another way."""

from __future__ import annotations

from collections.abc import Callable

from ..document.facts import Finding
from .formats import amount, percent
from .language import N_, _

_CHANGES = {
    "scaled": N_("means and deviations as in the training data"),
    "columns": N_("columns in another order"),
    "codes": N_("categories numbered as in the training data"),
    "backwards": N_("sequences backwards"),
    "channels": N_("channels in another order"),
    "mirrored": N_("pictures mirrored"),
    "upside down": N_("pictures upside down"),
    "half turned": N_("pictures turned by half a turn"),
    "light for dark": N_("light for dark"),
    "rows for columns": N_("rows of pictures for columns"),
    "turned": N_("pictures turned by a quarter"),
}

Numbers = dict[str, float]
Detail = dict[str, str]


def _told(n: Numbers, d: Detail) -> str:
    say = amount if d.get("kind") == "numbers" else percent
    numbers = {"training": say(n["training"]), "given": say(n["given"])}
    if d.get("what") not in _CHANGES:
        text = _("Skill on training data {training}, on the data given {given}; no change to the inputs raises it.")
        return text.format(**numbers)
    text = _(
        "Skill on training data {training}, on the data given {given}; {best} after one change to their inputs: "
        "{change}."
    )
    return text.format(**numbers, best=say(n["best"]), change=_(_CHANGES[d["what"]]))


def _found(f: Finding) -> str:
    return _told(f.evidence, f.detail)


# rule -> name, sentence, when the rule is wrong
RULES: dict[str, tuple[str, Callable[[Finding], str], str]] = {
    "prepared-otherwise": (
        "Are the inputs of both splits prepared alike?",
        _found,
        "Where one class is another one changed so, labels that were renumbered look the same.",
    ),
}


def titles() -> dict[str, str]:
    """Name the experiment as a reader would ask it."""
    return {"prepared-otherwise": _("Does the model know the data given once they are prepared otherwise?")}


OUTCOMES: dict[str, Callable[[Numbers, Detail], str]] = {"prepared-otherwise": _told}
