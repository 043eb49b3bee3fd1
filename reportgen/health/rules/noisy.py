"""The rule on labels that are wrong as often wherever inputs are clear, in both splits alike."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ...document.facts import Finding, Report, Severity
from ...document.samples import Sureness
from ..context import Context
from ..skill import score_of
from ..thresholds import Thresholds

_BETTER = 0.05
_ABOVE = 0.1
_WRONG = 0.2
_STABLE = 0.85
_TRIALS = ("unseen-half", "learned-anew")


def d_labels_drawn(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A fifth of the training labels or more are not what inputs say, however clear these are; the model learned them.

    Naive Bayes on the tokens that a sequence holds (or, of tables and small pictures, a ridge regression on columns) is
    asked for labels that it was not fitted to. It is above the commonest class by a tenth and four standard errors, and
    right in four fifths at most; it names every class. Given the one half of each input (every second token, the first
    half of the columns) or the other, it knows half as much at least, and says the same of 85 % of the clearer half of
    the samples: no single hint, which may be a weak one, decides. And it is right no more often where it is surest: the
    area under the curve that tells right answers from wrong ones is below 0.6 with two standard errors. Where classes
    overlap (Gaussians, mixtures, sums of weak hints) mistakes lie where a learner is unsure, and the area is 0.63 and
    more. So inputs are of distinct kinds, and labels differ within each at random: wrong labels, in both splits if
    nothing knows better. A warning where the model, in eval mode, is right on its training data more often than that
    learner is by 0.05 and three standard errors, and neither it nor a copy, nor neighbours, are on what they have not
    seen: then it has learned them by heart. Else it informs. Wrong where the target is a draw by nature (a click, a
    coin): then there is nothing more to know, and learning it by heart is the only fault. (Compare Northcutt, Jiang and
    Chuang 2021.)
    """
    found = report.train_dataset.sureness if report.train_dataset is not None else None
    if found is None or not _is_drawn(found, limits):
        return
    train = score_of(report.train_evaluation)
    error = math.sqrt(found.accuracy * (1 - found.accuracy) / found.n)
    known = _knows_better(report, found, error)
    if known or report.train_evaluation is None or report.train_evaluation.classification is None or train is None:
        return
    by_heart = context.state == "trained" and train - found.accuracy > max(limits.drawn_by_heart, 3 * error)
    yield Finding(
        rule="d-labels-drawn",
        severity=Severity.WARNING if by_heart and context.real_data else Severity.INFO,
        subject="labels",
        section="dataset",
        evidence={
            "told": found.accuracy,
            "surer": found.surer,
            "agreement": found.agreement,
            "by_heart": train,
            "commonest": found.commonest,
            "samples": found.n,
        },
        threshold={"surer": limits.drawn_surer, "by_heart": limits.drawn_by_heart},
        detail={"kind": found.by},
    )


def _is_drawn(found: Sureness, limits: Thresholds) -> bool:
    """Tell whether a learner that is sure of itself, and has samples enough, is as often wrong where it is surest."""
    error = math.sqrt(found.accuracy * (1 - found.accuracy) / found.n)
    learned = _ABOVE + found.commonest <= found.accuracy <= 1 - _WRONG
    learned = learned and found.accuracy - found.commonest > 4 * error and found.lowest >= found.accuracy / 2
    learned = learned and found.lesser - found.commonest >= 0.5 * (found.accuracy - found.commonest)
    return learned and found.agreement >= _STABLE and found.surer + 2 * found.error < limits.drawn_surer


def _knows_better(report: Report, found: Sureness, error: float) -> bool:
    """Tell whether the model, neighbours or copies are right more often on samples that they were not fitted to."""
    across = report.splits.across if report.splits is not None else None
    scores = [score_of(report.evaluation), across.vote if across is not None else None]
    scores += [across.surface if across is not None and across.kind == "classes" else None]
    for name in _TRIALS:
        trial = report.tried(name)
        if trial is not None and trial.detail.get("kind") == "classes":
            scores += [v for key, v in trial.numbers.items() if key in ("training_training", "training_given")]
    line = found.accuracy + max(_BETTER, 2 * error)
    return any(score is not None and score > line for score in scores)


RULES = (d_labels_drawn,)
