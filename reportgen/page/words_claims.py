"""Words for what the loss asks of made-up outputs and targets."""

from __future__ import annotations

from collections.abc import Callable

from ..document.facts import Finding
from .formats import amount
from .language import _

Numbers = dict[str, float]
Detail = dict[str, str]


def _shares(f: Finding) -> str:
    e = f.evidence
    if f.detail.get("kind") == "surest":
        text = _(
            "The loss is {asked} for the shares that the targets ask, and {surest} with all on the likeliest class."
        )
        return text.format(asked=amount(e["asked"]), surest=amount(e["surest"]))
    wrong = _("The loss takes logarithms of shares; the outputs are none: their logsumexp is off 0 by up to {off}.")
    return wrong.format(off=amount(e["log_sum_exp_error"]))


RULES: dict[str, tuple[str, Callable[[Finding], str], str]] = {
    "loss-of-shares": ("Shares that the loss asks for", _shares, "The loss may distrust soft labels on purpose."),
}


def _far(n: Numbers, d: Detail) -> str:
    parts = [f"{n[key]:.3g}" for key in ("up_100", "down_100") if key in n]
    text = _("The loss is {base}; with targets moved far up or down: {far}.")
    return text.format(base=amount(n["base"]), far=_(", ").join(parts) or "–")


def _asked(n: Numbers, d: Detail) -> str:
    if "logs_1" in n and "shares_1" in n:
        text = _("Loss of outputs that equal the targets {equal}, of their logarithms {logarithm}.")
        return text.format(equal=amount(n["shares_1"]), logarithm=amount(n["logs_1"]))
    return _("Not finite for outputs that equal the targets, or their logarithms.")


def titles() -> dict[str, str]:
    """Name each experiment as a reader would ask it."""
    return {
        "far-targets": _("Does the loss rise with the distance from the target?"),
        "shares": _("Which shares does the loss ask for?"),
        "two-sides": _("Can the answers be yes and no?"),
        "sums-to-one": _("Along which dimension do probabilities sum to 1?"),
    }


def _sides(n: Numbers, d: Detail) -> str:
    text = _("Answers go from {low} to {high} when all affine layers put out anything at all.")
    return text.format(low=amount(n["low"]), high=amount(n["high"]))


def _sums(n: Numbers, d: Detail) -> str:
    text = _("Sums differ from 1 by up to {classes} over the classes, and by up to {elsewhere} along dimension {dim}.")
    return text.format(classes=amount(n["classes"]), elsewhere=amount(n["elsewhere"]), dim=amount(n["dim"]))


OUTCOMES: dict[str, Callable[[Numbers, Detail], str]] = {
    "far-targets": _far,
    "shares": _asked,
    "two-sides": _sides,
    "sums-to-one": _sums,
}
