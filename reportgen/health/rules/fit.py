"""Rules on how the fit of both splits compares: skill that is lost on new data, few samples, worse than neighbours."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import fmean

from msgspec import Struct

from ...document.facts import EvaluationFacts, Finding, Report, Severity
from ...document.samples import Signal
from ...document.scores import accuracy
from ..context import Context
from ..curves import scalar
from ..skill import Skill, score_of, skill_of
from ..thresholds import Thresholds
from .relearned import rests_on_frozen

_HANDFUL = 8  # training samples
SECTION = "evaluation"


def o_skill_lost(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """More than half of what the model knows of its training data is lost on the data given.

    Skill is accuracy above the share of the commonest class, over what there is above it; R² for numbers; both in eval
    mode. A warning where it is above 0.8 on the training data and below half of that on the data given, by four
    standard errors. Curves need not show it: a loss may go flat early while the training data are learned by heart.
    Wrong where the data given come from another source; ``d-splits-apart`` looks for that.
    """
    skill = skill_of(report, context)
    if skill is None or skill.train <= limits.skill_high or not _lost(skill, limits):
        return
    yield Finding(
        rule="o-skill-lost",
        severity=Severity.WARNING,
        subject="model",
        section=SECTION,
        evidence={"train": skill.train, "given": skill.given, "error": skill.error},
        threshold={"train": limits.skill_high, "kept": limits.skill_kept},
        detail={"kind": skill.kind},
    )


def _lost(skill: Skill, limits: Thresholds) -> bool:
    return skill.given + 4 * skill.error < max(limits.skill_kept * skill.train, 4 * skill.error)


def few_samples(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Training data of a handful of samples, learned by heart, with a clear gap to the data given.

    Fewer than 25 samples a class on average, or fewer than 50 samples with numbers as targets; skill (see
    ``o-skill-lost``) above 0.8 on them, and lower on the data given by 0.15 and four standard errors of that on these:
    the training data are all that there are. A warning. Up to
    512 samples count too where skill on them is above 0.9, and lower on the data given by 0.3, and more would help: of
    fresh copies that learned from as many samples, and from half of them, scored on parts of both splits that neither
    had seen, the first are ahead by a twentieth of the way to a perfect score and by two standard errors of the
    difference, sample by sample, and are themselves short of what is known by heart by 0.3 and four standard errors.
    One sample a class may be all that a task of another kind needs (retrieval), which has no such scores.
    """
    train, skill = report.train_dataset, skill_of(report, context, fewest=_HANDFUL)
    if train is None or skill is None or skill.train <= limits.skill_high:
        return
    classes = sum(c > 0 for c in train.class_counts or []) if skill.kind == "accuracy" else 0
    needed, gap = limits.few_by_class * max(classes, 2), limits.few_gap
    more: dict[str, float] = {}
    if train.n_samples >= needed:
        more, gap = _would_help(report, train.n_samples, skill, 2 * gap), 2 * gap
    # the copies were scored on all samples, so that theirs is the error that counts
    error = 0.0 if more else skill.given_error
    if (train.n_samples >= needed and not more) or skill.train - skill.given <= max(gap, 4 * error):
        return
    yield Finding(
        rule="few-samples",
        severity=Severity.WARNING,
        subject="training data",
        section="dataset",
        evidence={"samples": train.n_samples, "classes": classes, "train": skill.train, "given": skill.given} | more,
        threshold={"samples": needed, "gap": gap},
        detail={"kind": skill.kind},
    )


def _would_help(report: Report, samples: int, skill: Skill, gap: float) -> dict[str, float]:
    """Return what copies come to that learn from all of so few samples, and from half; nothing where it is the same."""
    trial = report.tried("half-as-many")
    if trial is None or trial.numbers["learned"] != samples:
        return {}
    n = trial.numbers
    room = 1 - n["constant"]
    if n["full"] - n["half"] <= max(0.05 * room, 2 * n["error"]):
        return {}
    miss = 1 - n["full"]
    error = math.sqrt(n["full"] * miss) / room if skill.kind == "accuracy" else math.sqrt(2) * miss
    short = skill.train - (n["full"] - n["constant"]) / room
    if skill.train <= 0.9 or short <= max(gap, 4 * error / math.sqrt(n["samples"])):
        return {}
    return {"full": n["full"], "half": n["half"]}


def o_below_neighbours(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The nearest training samples tell the target of new ones clearly better than the trained model does.

    5 nearest neighbours in input space among up to 512 training samples (features standardised): how often most of them
    have the right class against the model's accuracy, or R² of their mean against the model's. Of tables of up to 24
    columns a ridge regression on columns and their products, fitted to the same samples, is asked as well, and the
    better of the two counts: it sees interactions that lie too thin for neighbours. Of two codes with a number (a user,
    an item, a rating) it is what a level of each code and eight factors of both tell, fitted to the training data by
    alternating least squares (Zhou et al. 2008). A warning where they are ahead by 0.15 and five standard errors:
    whatever holds the model back, the inputs hold more than it found. It is the last that is said, where nothing else
    tells why; it informs where a frozen body that was learned before is what limits the fit. Of sequences with a class
    at every element it is what a table of pairs says, made from one half of the data given for the other: an element
    and the one before it have the class that most such pairs had. Not said of a model that fits its training data, by
    the same measure, as well as neighbours tell new ones: measured in eval mode, or as the run logged it. What it lacks
    is lost between the two, so nothing holds back its fit. Nor of one that names rare classes so often that its
    accuracy is below the commonest class, and its mean recall a tenth above chance: it was trained for recall. Wrong
    where the loss asks for something else than that answer.
    """
    found = behind_neighbours(report, context, limits)
    if found is None or _fits(report, found, limits) or _is_balanced(report.evaluation):
        return
    signal = found.signal
    yield Finding(
        rule="o-below-neighbours",
        severity=Severity.INFO if rests_on_frozen(report) else Severity.WARNING,
        subject="model",
        section=SECTION,
        evidence={"model": found.score, "neighbours": found.told, "chance": signal.null_mean, "samples": signal.n},
        threshold={"difference": limits.below_neighbours},
        detail={"kind": signal.kind if signal is _across(report) else "pairs"}
        | ({"by": "products"} if found.told == signal.surface else {})
        | ({"by": "factors"} if not signal.k and signal.kind == "numbers" else {}),
    )


def o_outdone(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The nearest training samples tell the target of new ones better than the model, which knows its own by heart.

    By what ``o-below-neighbours`` asks: they are ahead on the data given by 0.1 and five standard errors, while the
    model's score on its training data, in eval mode, is above what they tell of new ones, and above its own on the data
    given by 0.15 and four standard errors. Some hundred samples and a mean of five hold more than what was learned from
    all of them, so that what the model knows beyond that is these samples themselves. A warning. Where the model is
    behind on its training data too, something holds back its fit (``o-below-neighbours``). Wrong where the loss asks
    for something else than that answer.
    """
    found, measured = _ahead(report, context, limits.outdone), score_of(report.train_evaluation)
    if found is None or measured is None or measured <= found.told or _is_balanced(report.evaluation):
        return
    signal, n = found.signal, found.signal.n
    if signal is not _across(report):
        return
    spread = max(found.score * (1 - found.score), 0.01)
    if measured - found.score <= max(limits.few_gap, 4 * math.sqrt(spread / n)):
        return
    yield Finding(
        rule="o-outdone",
        severity=Severity.WARNING,
        subject="model",
        section=SECTION,
        evidence={"model": found.score, "neighbours": found.told, "train": measured, "samples": n},
        threshold={"difference": limits.outdone, "gap": limits.few_gap},
        detail={"kind": signal.kind}
        | ({"by": "products"} if found.told == signal.surface else {})
        | ({"by": "factors"} if not signal.k and signal.kind == "numbers" else {}),
    )


def _is_balanced(facts: EvaluationFacts | None) -> bool:
    """Tell whether a classifier gives accuracy away for the recall of rare classes."""
    table = facts.classification.confusion if facts is not None and facts.classification is not None else []
    score, rows = accuracy(table), [(i, row) for i, row in enumerate(table) if sum(row)]
    if score is None or len(rows) < 2 or score.value >= score.majority:
        return False
    return fmean(row[i] / sum(row) for i, row in rows) > 1 / len(rows) + 0.1


class Behind(Struct, frozen=True):
    """A model that tells the targets of new samples worse than their neighbours do."""

    signal: Signal
    told: float
    """Accuracy, or R², of the neighbours."""
    score: float
    """The same of the model."""
    line: float
    """Difference that is beyond chance."""


def behind_neighbours(report: Report, context: Context, limits: Thresholds) -> Behind | None:
    """Return how far a trained model is behind its neighbours on the data given; None where it is not."""
    return _ahead(report, context, limits.below_neighbours)


def _ahead(report: Report, context: Context, least: float) -> Behind | None:
    found = _by_neighbours(report, context) or _by_pairs(report)
    if found is None or context.state != "trained":
        return None
    signal, score = found
    if signal.n < 50:
        return None
    told = signal.score if signal.vote is None else signal.vote
    told = max(told, signal.surface if signal.surface is not None else told)
    beyond = 5 * math.sqrt(max(told * (1 - told), 0.01) / signal.n)
    line = max(least, beyond)
    if told - signal.null_mean <= beyond:  # nor do they tell anything
        return None
    return Behind(signal, told, score, line) if told - score > line else None


def _fits(report: Report, found: Behind, limits: Thresholds) -> bool:
    """Tell whether the model is not behind on its training data, in eval mode or by what the run logged at its end."""
    numbers = found.signal.kind == "numbers"
    logged = (scalar(report.training, name, limits) for name in (("train_r2",) if numbers else ("train_accuracy",)))
    scores = [curve.end for curve in logged if curve is not None and curve.end <= 1]
    measured = score_of(report.train_evaluation)
    return any(found.told - score <= found.line for score in [*scores, *([] if measured is None else [measured])])


def _across(report: Report) -> Signal | None:
    return report.splits.across if report.splits is not None else None


def _by_neighbours(report: Report, context: Context) -> tuple[Signal, float] | None:
    """Return what neighbours tell, and the score of the model by the same measure."""
    signal, facts = _across(report), report.evaluation
    if signal is None or facts is None or not context.outcome_known:
        return None
    alike = signal.kind == ("classes" if facts.classification is not None else "numbers")
    score = score_of(facts) if alike else None
    return (signal, score) if score is not None else None


def _by_pairs(report: Report) -> tuple[Signal, float] | None:
    """Return what pairs of neighbouring elements tell of the class at each, and how often the model has it."""
    signal, trial = report.splits.given_signal if report.splits is not None else None, report.tried("as-it-is")
    if signal is None or _across(report) is not None or trial is None or "accuracy" not in trial.numbers:
        return None
    n = trial.numbers
    return (signal, n["accuracy"]) if n["answers"] > n["samples"] else None


RULES = (o_skill_lost, few_samples, o_below_neighbours, o_outdone)
