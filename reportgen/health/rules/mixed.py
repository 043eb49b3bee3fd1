"""Rules on samples as the loop trained on them."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ...document.facts import Finding, Report, Severity
from ..context import Context
from ..thresholds import Thresholds
from .training import noted

_FEWEST = 10
_ROWS = 40
_NEARLY_ALL = 0.95


def inputs_mixed(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Inputs are two training samples mixed or cut into one, and are trained towards the target of one part alone.

    Told of inputs that a monitor saw go into the model: a x + (1 - a) y of two training samples (seen from it they lie
    in opposite directions, which no two do by chance), or with each entry from one of the two. The gradient that came
    back to the outputs is held against that of the loss for either sample's target, and for both by their shares.
    Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019) ask for both. A warning where in nearly all of ten inputs
    or more, with parts of a tenth at least, one target was asked for, in 15 % of them that of a part below 0.4, and it
    was not drawn as often as its share, which comes to the same as asking for both: the mean share of the part is lower
    than that by 0.05 and three standard errors, or batches that ask for the larger parts alone, or for the lesser
    alone, are more than such draws make by four. An input that keeps the label of its larger part, or of one half
    (SamplePairing, Inoue 2018), is right. Wrong where what is mixed in is a background that has a label by chance.
    """
    mixed = report.train_dataset.mixed if report.train_dataset is not None else None
    if mixed is None or mixed.one < max(_FEWEST, 0.8 * mixed.judged) or mixed.share is None:
        return
    if mixed.lesser <= limits.mixed_lesser * mixed.one or mixed.due is None or mixed.error is None:
        return
    rarer = mixed.due - mixed.share > max(0.05, limits.mixed_errors * mixed.error)
    alike = mixed.together - mixed.together_due > (limits.mixed_errors + 1) * mixed.together_error
    if not rarer and not (alike and mixed.batches):
        return
    yield noted(
        "inputs-mixed",
        Severity.WARNING,
        "training data",
        {"inputs": mixed.one, "of": mixed.rows, "lesser": mixed.lesser / mixed.one, "share": mixed.share},
        {"lesser": limits.mixed_lesser, "errors": limits.mixed_errors},
    )


def asked_otherwise(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The loop trains inputs towards other classes than the data hold for them.

    Told of inputs that a monitor saw go into the model as they are in the training data, 40 or more: of all classes one
    alone accounts for the gradient that came back to the outputs, by the loss that was given. With more than a quarter
    of them it was not the class of the sample, nor (for half as many) the one that the model named, as pseudo-labels
    are. Inputs or labels were shuffled or moved on their own between loader and loss; another class for each class is a
    numbering of the loop's own, which whoever reads the data does not know. An error. A part alone is told as noise:
    labels are drawn anew on purpose for a tenth of the samples or so (DisturbLabel, Xie et al. 2016). Not judged for
    two classes. Wrong where the loop trains for another task than the data are labelled for.
    """
    asked = report.train_dataset.asked if report.train_dataset is not None else None
    if asked is None or asked.rows < _ROWS or asked.other <= limits.asked_other * asked.rows:
        return
    mapped = asked.mapped >= _NEARLY_ALL * asked.rows
    if mapped and asked.images < asked.classes:
        return  # one class for several: another task
    if not mapped and asked.unforeseen <= limits.asked_other / 2 * asked.rows:
        return
    own = 1 - asked.other / asked.rows
    part = own > asked.chance + 4 * math.sqrt(asked.chance * (1 - asked.chance) / asked.rows)
    yield noted(
        "asked-otherwise",
        Severity.ERROR,
        "training data",
        {"other": asked.other, "of": asked.rows, "share": 1 - own, "chance": 1 - asked.chance},
        {"share": limits.asked_other},
        kind="renumbered" if mapped else "in part" if part else "all",
    )


RULES = (inputs_mixed, asked_otherwise)
