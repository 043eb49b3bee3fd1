"""Words for single against double precision."""

from __future__ import annotations

from ..document.facts import Finding
from .formats import amount
from .language import _

Numbers = dict[str, float]
Detail = dict[str, str]


def _lost(f: Finding) -> str:
    e = f.evidence
    if e["lost"]:
        return _("The outputs of {lost} of {samples} samples are finite in double precision alone.").format(
            lost=amount(e["lost"]), samples=amount(e["samples"])
        )
    if e.get("loss_lost"):
        return _("The loss is finite in double precision alone.")
    if e.get("gradient_lost"):
        return _("The gradient of the loss is finite in double precision alone.")
    return _("In double precision the outputs of {samples} samples differ by {difference} of their spread.").format(
        samples=amount(e["samples"]), difference=amount(e["difference"])
    )


RULES = {
    "precision-lost": (
        "Single against double precision",
        _lost,
        "A model that rounds on purpose (codes, hard choices) may round the other way.",
    ),
}


def _compared(n: Numbers, d: Detail) -> str:
    if n["lost"] or "difference" not in n:
        return _("Finite in double precision alone: {lost} of {samples} samples.").format(
            lost=amount(n["lost"]), samples=amount(n["samples"])
        )
    return _("The outputs differ by {difference} of their spread.").format(difference=amount(n["difference"]))


def titles() -> dict[str, str]:
    """Name the experiment as a reader would ask it."""
    return {"in-double": _("Do single and double precision agree?")}


OUTCOMES = {"in-double": _compared}
