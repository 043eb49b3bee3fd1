"""The words for the order of sequences."""

from __future__ import annotations

from collections.abc import Callable

from ..document.facts import Finding
from .formats import amount
from .language import _


def _where(e: dict[str, float]) -> str:
    text = _("Moving what a picture shows moves the outputs of the architecture by {change} of their spread.").format(
        change=amount(e["shifted"])
    )
    if "ordered" not in e:
        return text
    told = _(
        "A linear learner reaches {ordered} on the data given by the pixels, and {mixed} with each picture moved to "
        "another place."
    )
    return " ".join((text, told.format(ordered=amount(e["ordered"]), mixed=amount(e["mixed"]))))


def _order(f: Finding) -> str:
    e = f.evidence
    if "shifted" in e:
        return _where(e)
    text = _("Permuting the elements moves the outputs by {change} of their spread at most.").format(
        change=amount(e["change"])
    )
    if "ordered" not in e:
        return text
    told = _(
        "A linear learner reaches {ordered} on the data given by elements, places and neighbours, and {mixed} with the "
        "elements of each sample in another order."
    )
    return " ".join((text, told.format(ordered=amount(e["ordered"]), mixed=amount(e["mixed"]))))


# rule -> name, sentence, when the rule is wrong
RULES: dict[str, tuple[str, Callable[[Finding], str], str]] = {
    "position-unseen": ("Order of the elements", _order, "A bag of words is all that many tasks need."),
}
