"""Words for weights that start at zero."""

from __future__ import annotations

from collections.abc import Callable

from ..document.facts import Finding
from .formats import amount
from .language import _

Numbers = dict[str, float]
Detail = dict[str, str]


def _zero(f: Finding) -> str:
    text = _(
        "{matrices} matrices start at zero and wait for one another: a gradient reaches them as soon as all of them "
        "are drawn at random, and never before. They are: {names}."
    )
    return text.format(matrices=amount(f.evidence["matrices"]), names=f.detail.get("names", ""))


RULES: dict[str, tuple[str, Callable[[Finding], str], str]] = {
    "zero-start": ("Weights that cannot leave zero", _zero, "The weights may be zero by pruning."),
}


def _woken(n: Numbers, d: Detail) -> str:
    if not n["still"]:
        return _("Yes: none of {zero} is zero after three steps.").format(zero=amount(n["zero"]))
    text = _("{still} of {zero} are zero after three steps; drawn at random, {woken} get a gradient.")
    return text.format(still=amount(n["still"]), zero=amount(n["zero"]), woken=amount(n["woken"]))


def titles() -> dict[str, str]:
    """Name the experiment as a reader would ask it."""
    return {"zero-start": _("Do matrices that are zero begin to move?")}


OUTCOMES: dict[str, Callable[[Numbers, Detail], str]] = {"zero-start": _woken}
