"""Rules on augmentation: whether samples still show what their label says, and whether maps go along."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ...document.facts import Finding, Report, Severity
from ...document.trials import Trial
from ..context import Context
from ..thresholds import Thresholds
from .relearned import error_of, evidence_of, is_clear, trial_of

SECTION = "trials"


def augmentation_hurts(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Samples as they are teach a fresh copy more than augmented ones teach it, or taught the model.

    Training samples that are another at a second reading. Both copies learn by the same 300 steps, from half of either
    split: that of the data given, which are not augmented, is better on their other half by 0.15 and four standard
    errors than the one that learned from at least as many training samples, on either split, and than the model. The
    augmentation destroys or contradicts what the label says, or goes further than these steps can follow. Or the same
    holds of the two classes that the model confounds most, by 0.3: mirrored, turned or cut, samples of the one are
    samples of the other. Where training samples are seen to be mirrored, turned or negated when read again, less shows
    that: the copy that learned from the data given tells the two apart better than all others do, by two standard
    errors, and takes them for one another once they are turned so: it is right by 0.3 and four standard errors less
    often than on them as they are, and no more often than a guess. A warning where the model comes less than nine
    tenths of the way from a constant answer to a perfect one (else no copy is made). Wrong where a much longer run
    would learn from the augmented ones as well.
    """
    trial, splits = trial_of(report, context), report.splits
    if trial is None or splits is None or not splits.redrawn or not is_clear(trial, "given", "given", limits):
        return
    n = trial.numbers
    best = max(n["training_training"], n["training_given"], n["as_is"])
    line = max(limits.anew_gap, limits.anew_errors * error_of(trial, "given", n["given_given"], best))
    pair, turn = _tells_a_pair(trial, limits), _swaps_a_pair(report, trial, limits)
    if n["learned_training"] < n["learned_given"] or not (n["given_given"] - best > line or pair or turn):
        return
    yield Finding(
        rule="augmentation-hurts",
        severity=Severity.WARNING,
        subject="training data",
        section=SECTION,
        evidence=evidence_of(trial, "given")
        | {"as_is": n["as_is"]}
        | ({"pair": n["pair_given_given"], "pair_as_is": n["pair_as_is"]} if turn or pair else {})
        | ({"pair_turned": n[f"pair {turn}"]} if turn else {}),
        threshold={"gap": limits.anew_gap, "errors": limits.anew_errors},
        detail={"kind": trial.detail.get("kind", ""), "redrawn": "yes"} | ({"turn": turn} if turn else {}),
    )


def augmentation_torn(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Training images are mirrored or turned when they are read again, and the maps that belong to them are not.

    Samples of the training data, read twice: the image of the second reading is the first one turned, and its map of
    the same height and width (a mask, a depth, a heat map) is not turned so, or the map is turned and the image is as
    it was, in three samples at least. Each transform drew random numbers of its own. A warning. Wrong where the map is
    meant to stay, as where a model is to undo the turn.
    """
    splits = report.splits
    if splits is None or splits.torn < 3 or not context.real_data:
        return
    yield Finding(
        rule="augmentation-torn",
        severity=Severity.WARNING,
        subject="training data",
        section="dataset",
        evidence={"torn": splits.torn, "of": splits.torn_of},
        threshold={"torn": 3},
        detail={"redrawn": "yes"},
    )


def _tells_a_pair(trial: Trial, limits: Thresholds) -> bool:
    """Tell whether samples as they are tell apart two classes that nothing else does, one of which is guessed."""
    n = trial.numbers
    if "pair_given_given" not in n:
        return False
    best = max(n["pair_training_training"], n["pair_training_given"], n["pair_as_is"])
    error = _between(n["pair_given_given"], best, min(n["pair_asked_given"], n["pair_asked_training"]))
    return n["pair_given_given"] - best > max(2 * limits.anew_gap, limits.anew_errors * error)


def _swaps_a_pair(report: Report, trial: Trial, limits: Thresholds) -> str:
    """Return the turn, which training images were seen to take, that makes two classes one another; '' for none."""
    n, turned = trial.numbers, report.splits.turned if report.splits is not None else {}
    if "pair_given_given" not in n:
        return ""
    right, asked = n["pair_given_given"], n["pair_asked_given"]
    best = max(n["pair_training_training"], n["pair_training_given"], n["pair_as_is"])
    if right - best <= 2 * _between(right, best, min(asked, n["pair_asked_training"])):
        return ""
    for turn in turned:
        after = n.get(f"pair {turn}", right)
        if after <= 0.5 and right - after > max(
            2 * limits.anew_gap, limits.anew_errors * _between(right, after, asked)
        ):
            return turn
    return ""


def _between(one: float, other: float, n: float) -> float:
    """Return the standard error of the difference of two shares of n."""
    return math.sqrt(sum(max(share * (1 - share), 0.01) for share in (one, other)) / n)


RULES = (augmentation_hurts, augmentation_torn)
