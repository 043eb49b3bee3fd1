"""Rules on what is left of the input inside the model, and on what the model could still learn."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from statistics import fmean

from ...document.facts import ActivationRow, EvaluationFacts, Finding, Report, Severity
from ...document.scores import accuracy
from ...document.trials import Trial
from ..context import Context, same_units
from ..curves import finite, losses
from ..thresholds import Thresholds
from .fit import behind_neighbours
from .relearned import is_ahead
from .training import h_diverged, h_overfit

_LEAST_WIDTH = 4
_ROUNDING = 1e-6
_EPOCHS = 4  # of a run whose curves alone tell that it was cut short
_CLEAR = 2.5  # standard errors
_OVERLAP = 0.05  # by which the area lies below the accuracy where labels of two classes are wrong at random
_LOWER = 0.3  # of the loss
_TIMES = 3.0  # as many steps as the run made, after which what is gained says little of it


def rank_one(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """All channels of a layer say the same number up to a factor, though the layer before says more.

    The participation ratio of the channels' covariance is 1 to a part in a million, in a layer of four channels or
    more, over 100 samples or more; that of the layer before it is above 1.5. One number is left of the input: a mean
    over the features, a product with a vector. A warning. Behind a layer of one unit it is that layer's width, which is
    told elsewhere. Inside a block, where the input may run past the layer (a gate made of one number, as in
    squeeze-and-excitation), it informs when the model works. Wrong where one number is all that the task asks, as in a
    model of one input.
    """
    rows = sorted(report.activations.rows, key=lambda row: row.order) if report.activations is not None else []
    known = [row for row in rows if row.spread is not None]
    for before, row in pairwise(known):
        if _single(row) and before.spread is not None and before.spread.participation > 1.5 and not _narrow(rows, row):
            assert row.spread is not None
            fine = row.bypassed and context.outcome_ok
            yield Finding(
                rule="rank-one",
                severity=Severity.WARNING if context.state == "trained" and not fine else Severity.INFO,
                subject=row.name,
                section="activations",
                evidence={
                    "participation": row.spread.participation,
                    "before": before.spread.participation,
                    "channels": _width(row),
                },
                threshold={"participation": 1.0},
                detail={"kind": row.kind, "before": before.name},
            )
            return


def _width(row: ActivationRow) -> int:
    return max((c.n_channels for c in row.channels), default=0)


def _single(row: ActivationRow) -> bool:
    spread = row.spread
    wide = spread is not None and _width(row) >= _LEAST_WIDTH and spread.n_samples >= 100
    return wide and spread is not None and spread.participation < 1 + _ROUNDING


def _narrow(rows: list[ActivationRow], row: ActivationRow) -> bool:
    """Tell whether some layer before this one has a single channel."""
    return any(_width(other) == 1 for other in rows if other.order < row.order)


def too_narrow(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A model with a poor fit that came to rest, and that cannot learn even 32 samples by heart.

    R² on the training data below 0.7 (or, where it was not measured, on the data given), or accuracy less than half of
    the way from the commonest class to 1; the training loss level over the last third (less than 5 % of its drop), and
    the trial on one batch unsolved after 200 steps of Adam at two rates: what is missing is capacity, as behind a layer
    of one unit. A warning. Not judged where the model is affine or where it does not beat a constant guess, which has
    other causes, nor where the loss of that batch came down to a tenth: such a loss (a cosine, a rank) is content
    without the targets' own values, nor of a model whose answers see nothing of what comes later: what follows the
    first elements of a sequence cannot be known from these, nor learned by heart; nor where a batch holds more numbers
    to be learned than the model has trainable ones, as pictures given back by a small net do. Where derivatives of a
    sample's outputs by its input all point one way (the second singular value below 1e-4 of the first, at every
    sample), one number is all that passes, and a poor fit alone is a warning, or one that is behind its neighbours
    (``o-below-neighbours``), however the loss stands and whatever a batch of 32 can be made to learn. No layer need be
    so narrow for that: a mean over the features leaves one number of them.
    """
    if (found := through_one(report, context, limits)) is not None:
        yield found
        return
    trial, (train, _) = report.tried("one-batch"), losses(report.training, limits)
    fit = _fit(report, limits)
    affine = report.tried("affinity")
    if trial is None or train is None or fit is None or trial.numbers["solved"] or _content(trial):
        return
    later = report.tried("later-tokens")
    if later is not None and later.numbers["change"] <= limits.coupling:
        return
    if trial.numbers.get("wanted", 0.0) > trial.numbers.get("free", math.inf):
        return
    name, value, poor = fit
    if not context.outcome_ok or value >= poor or affine is None:
        return
    if affine.numbers["departure"] < limits.affine_departure or any(True for _ in h_diverged(report, context, limits)):
        return
    third = train.smooth[-max(2, len(train.smooth) // 3) :]
    if len(train.y) < 8 or third[0] - third[-1] > 0.05 * max(train.drop, 0.0):
        return
    yield Finding(
        rule="too-narrow",
        severity=Severity.WARNING,
        subject="model",
        section="trials",
        evidence={name: value, "error_share": _left(trial), "samples": trial.numbers["samples"]},
        threshold={name: poor, "error_share": 0.1},
    )


def through_one(report: Report, context: Context, limits: Thresholds) -> Finding | None:
    """Find a trained model of a poor fit through which a single number passes."""
    trial, fit = report.tried("numbers-passed"), _fit(report, limits)
    if trial is None or fit is None or context.state != "trained" or trial.numbers["second"] >= limits.one_number:
        return None
    name, value, poor = fit
    if value >= poor and behind_neighbours(report, context, limits) is None:
        return None
    rows = report.activations.rows if report.activations is not None else []
    narrow = not rows or any(_width(row) == 1 for row in rows)
    return Finding(
        rule="too-narrow",
        severity=Severity.WARNING,
        subject="model",
        section="trials",
        evidence={name: value} | {key: trial.numbers[key] for key in ("second", "width")},
        threshold={name: poor, "second": limits.one_number},
        detail={} if narrow else {"layer": "none"},
    )


def _content(trial: Trial) -> bool:
    """Tell whether the loss of the batch that was to be learned by heart all but vanished."""
    start, end = trial.numbers.get("start"), trial.numbers.get("end")
    return start is not None and end is not None and 0 <= end < 0.1 * start


def _fitted(report: Report) -> EvaluationFacts | None:
    """Return what was measured of the training data; of the data given where that is missing or of another kind.

    Targets that are mixed for training are shares, which scores of classes are not to be held against.
    """
    ours, theirs = report.train_evaluation, report.evaluation
    if ours is None or theirs is None:
        return ours or theirs
    alike = (ours.classification is None) == (theirs.classification is None)
    return ours if alike and same_units(report) else theirs


def _fit(report: Report, limits: Thresholds) -> tuple[str, float, float] | None:
    """Return what the fit is called, its value, and below what it is poor; None where outputs are no predictions."""
    facts = _fitted(report)
    if facts is not None and facts.regression is not None and facts.regression.r2 is not None and same_units(report):
        return "r2", facts.regression.r2, limits.poor_r2
    score = accuracy(facts.classification.confusion) if facts is not None and facts.classification is not None else None
    if score is None or score.majority >= 1:
        return None
    return "skill", (score.value - score.majority) / (1 - score.majority), limits.skill_kept


def _left(trial: Trial) -> float:
    """Return what could not be learned by heart: a share of the variance, or of the answers."""
    return trial.numbers.get("error_share", 1 - trial.numbers.get("accuracy", 1.0))


def latent_collapse(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The latent variable of a trained variational model holds next to nothing of its input.

    The posterior's divergence from the prior is below one nat a sample, all dimensions together, so that it cannot tell
    more than e samples apart. A warning. Usual reasons: a weight of the divergence that is too large, a reconstruction
    averaged over elements beside a divergence summed over dimensions, a decoder that needs no latent variable.
    (Bowman et al. 2016; Burda, Grosse and Salakhutdinov 2016.)
    """
    trial = report.tried("latent-units")
    if trial is None or context.state != "trained" or trial.numbers["divergence"] >= limits.latent_nats:
        return
    n = trial.numbers
    yield Finding(
        rule="latent-collapse",
        severity=Severity.WARNING,
        subject="latent variable",
        section="trials",
        evidence={key: n[key] for key in ("divergence", "active", "dimensions", "samples")},
        threshold={"divergence": limits.latent_nats},
    )


def places_smoothed(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Outputs at the places of a sample become the same with depth, whatever the weights: over-smoothing.

    In a copy with weights drawn anew and no biases, 1 minus the mean cosine between two places of a sample is below
    0.02 in the last layer, and what an input exchanged at one place moves there is less than twice what it moves
    elsewhere: rounds of averages over neighbours, as of graph convolutions, have mixed the places. A warning where the
    model is less than half of the way from the commonest class to no mistake on its training data; else it informs.
    Depth alone brings directions together too, but each place then follows its own input. Not said where all places
    of a sample have one target. (Li, Han and Wu 2018; Oono and Suzuki 2020.)
    """
    trial = report.tried("places-smoothed")
    if trial is None or context.state != "trained":
        return
    n = trial.numbers
    if n["apart_last"] >= limits.places_apart or n.get("own", math.inf) >= limits.places_own:
        return
    scores = report.train_evaluation.scores if report.train_evaluation is not None else []
    known = [(s.value, s.baseline) for s in scores if s.name == "accuracy"]
    poor = any(base is not None and value - base < 0.5 * (1 - base) for value, base in known)
    yield Finding(
        rule="places-smoothed",
        severity=Severity.WARNING if poor else Severity.INFO,
        subject="model",
        section="trials",
        evidence={key: n[key] for key in ("apart_last", "apart_first", "own", "places")},
        threshold={"apart_last": limits.places_apart, "own": limits.places_own},
    )


def sure_and_wrong(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A classifier that learned much, and whose mistakes fall as often where it is sure as where it is not.

    On the data given accuracy is at least 0.15 above the commonest class (of two classes 0.1), a fifth of the answers
    at least are wrong, and the chance that a right answer is surer than a wrong one is below 0.65 with two standard
    errors. Where classes overlap, mistakes lie where the model is unsure; labels that are wrong at random strike
    anywhere. Of two classes that overlap that chance is 0.02 to 0.03 below the accuracy (0.66 for 0.69, as normal
    distributions do), so it has to be 0.05 below that too. At least 100 samples with one label each. A warning. Not
    said where the nearest training samples tell the label clearly more often than the model does, as
    ``o-below-neighbours`` measures it: labels that neighbours share are not wrong at random; nor where a fresh copy
    comes far ahead of it (``fresh-copy-ahead``). Wrong for a badly overfitted model, which is sure of everything.
    """
    trial = report.tried("as-it-is")
    if trial is None or context.state != "trained" or "surer" not in trial.numbers:
        return
    n = trial.numbers
    upper, limit = n["surer"] + 2 * n["surer_error"], limits.surer
    if n.get("classes") == 2:
        limit = min(limit, n["accuracy"] - _OVERLAP)
    least = 0.1 if n.get("classes") == 2 else 0.15
    learned = n["commonest"] + least <= n["accuracy"] <= 0.8
    if n["samples"] < 100 or not learned or upper >= limit:
        return
    if _neighbours_know(report, n["accuracy"], limits) or is_ahead(report, context, limits):
        return
    yield Finding(
        rule="sure-and-wrong",
        severity=Severity.WARNING,
        subject="labels",
        section="trials",
        evidence={key: n[key] for key in ("surer", "surer_error", "accuracy", "commonest", "samples")},
        threshold={"surer": limit},
    )


def _neighbours_know(report: Report, accuracy: float, limits: Thresholds) -> bool:
    """Tell whether the labels of the nearest training samples are right clearly more often than the model."""
    signal = report.splits.across if report.splits is not None else None
    if signal is None or signal.vote is None:
        return False
    error = math.sqrt(max(signal.vote * (1 - signal.vote), 0.01) / signal.n)
    return signal.vote - accuracy > max(limits.below_neighbours, 5 * error)


def cut_short(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A run of a few epochs that was stopped while both losses fell, and that goes on learning when it is gone on with.

    One to seven validations, the last of them the best and the last three each better than the one before; at the last
    step the training loss stands above a quarter of its start; a copy trained on for 120 steps with its own optimizer
    has a loss lower by a tenth on the data given; and its score there (accuracy, R²) was 0.9 at most before, or what
    the score lacks is halved, by two and a half standard errors, and the loss falls to less than a third. Of a run with
    a single validation, which has no trend, the score must rise by 0.15 and four standard errors too. A loss below a
    quarter of its start is no rest where both losses of the last epoch are lower than those before by 15 %, and going
    on for no more steps than were made takes a quarter off what the score lacks, by four standard errors; for up to
    three times as many, as much as a quarter each time comes to; or both are lower by three tenths, the score was 0.9
    at most, and going on halves the loss. Where going on takes no tenth off, it is enough that steps ten times as large
    halve the loss, if it fell by a tenth in each of the last two epochs. Going on says less than the run where it sees
    some of the data only: of four validations or more, the last two each a fifth below the one before, in both losses,
    with that of the validation no more than a tenth above the other, are enough where it does no harm. A warning. Runs
    of eight validations and more are judged by their curves alone, but where they made no more steps than those 120 (a
    loop that breaks off each epoch, as for a quick look): the last three validations the best and each better than the
    one before, over the last quarter the loss on them fell by a tenth, and going on takes a quarter off what the score
    lacks, by four standard errors, and lowers the loss by three tenths; or it more than halves the loss, which fell by
    a fortieth, and takes a fifth off what the score lacks.
    """
    trial, history = report.tried("trained-on"), report.training
    series = history.get("val_loss") if history is not None else None
    values = [y for _, y in finite(series)]
    steps = [y for _, y in finite(history.get("train_loss", "step"))] if history is not None else []
    if trial is None or not values or len(steps) < 20 or not _falls(values):
        return
    if len(values) >= 8:
        if _of_few_steps(report, trial, values, steps, limits) and not any(h_overfit(report, context, limits)):
            yield _cut(trial, steps[0], sum(steps[-10:]) / 10, {"gain": _LOWER})
        return
    first, last = steps[0], sum(steps[-10:]) / 10
    better = trial.numbers["after"] < (1 - limits.longer_gain) * trial.numbers["before"]
    faster = None if better else _faster_halves(report, values)
    better = (better or faster is not None) and _is_short(report, trial.numbers, limits)
    if len(values) == 1:
        better = better and _rises(trial, limits)
    freely = _falls_freely(report, trial, values, steps, limits)
    low = last <= 0.25 * abs(first) and not freely and not _in_full_fall(report, trial, values, steps, limits)
    if low or not (better or freely) or any(True for _ in h_overfit(report, context, limits)):
        return
    poor = trial.numbers.get("score_before", 0.0) <= limits.short_score
    met = {"score": limits.short_score} if poor else {"loss": limits.short_loss}
    yield _cut(trial, first, last, {"gain": limits.longer_gain} | met, faster if better and not freely else None)


def _cut(trial: Trial, first: float, last: float, met: dict[str, float], faster: float | None = None) -> Finding:
    after = trial.numbers["after"] if faster is None else faster
    return Finding(
        rule="cut-short",
        severity=Severity.WARNING,
        subject="train_loss",
        section="training",
        evidence={"before": trial.numbers["before"], "after": after, "first": first, "last": last},
        threshold=met,
        detail={} if faster is None else {"way": "faster"},
    )


def _of_few_steps(report: Report, trial: Trial, values: list[float], steps: list[float], limits: Thresholds) -> bool:
    """Tell whether a run of few steps in many epochs was still learning, and its answers would be far better."""
    n = trial.numbers
    if len(steps) > n["steps"] or "score_after" not in n or n["score_before"] > limits.short_score:
        return False
    then = values[-1 - max(2, len(values) // 4)]
    gained, lacking = n["score_after"] - n["score_before"], 1 - n["score_before"]
    if 0 < values[-1] <= 0.975 * then and n["after"] < 0.5 * n["before"] and gained > 0.2 * lacking:
        return True
    return (
        0 < values[-1] <= 0.9 * then
        and n["after"] <= (1 - _LOWER) * n["before"]
        and gained > max(limits.longer_gained * lacking, limits.anew_errors * _error_of(report, n))
    )


def _is_short(report: Report, n: dict[str, float], limits: Thresholds) -> bool:
    """Tell whether the score left much to learn: that of the copy as it is, or seen from what going on makes of it."""
    if n.get("score_before", 0.0) <= limits.short_score:
        return True
    lacking, gained = 1 - n["score_before"], n.get("score_after", 0.0) - n["score_before"]
    clear = gained > _CLEAR * _error_of(report, n)
    return clear and gained > lacking / 2 and n["after"] < limits.short_loss * n["before"]


def _error_of(report: Report, n: dict[str, float]) -> float:
    """Return the standard error of the difference of two accuracies, or of what two R² lack."""
    scores = (n["score_before"], n.get("score_after", n["score_before"]))
    classes = report.evaluation is not None and report.evaluation.regression is None
    spread = sum(max(s * (1 - s), 0.01) for s in scores) if classes else 2 * (1 - scores[0]) ** 2
    return math.sqrt(spread / n.get("score_samples", n["samples"]))


def _falls(values: list[float]) -> bool:
    """Tell whether the last three of a few values fall, to the lowest of all."""
    return values[-1] == min(values) and all(b < a for a, b in pairwise(values[-3:]))


def _in_full_fall(report: Report, trial: Trial, values: list[float], steps: list[float], limits: Thresholds) -> bool:
    """Tell whether both losses still fell steeply in the last epoch, and going on makes the answers far better."""
    n, made = trial.numbers, len(steps) // max(len(values), 1)
    times = max(n["steps"] / len(steps), 1.0)
    if len(values) < 2 or "score_after" not in n or times > _TIMES:
        return False
    # what so many steps take off comes off again with each time as many
    lower, share = 1 - limits.steep_fall, 1 - (1 - limits.longer_gained) ** times
    now, then = fmean(steps[-made:]), fmean(steps[-2 * made : -made])
    gained, lacking = n["score_after"] - n["score_before"], 1 - n["score_before"]
    free = 0 < values[-1] <= (1 - _LOWER) * values[-2] and 0 < now <= (1 - _LOWER) * then
    # places of a map are mostly right before anything is learned of them
    if free and n["score_before"] <= limits.short_score and n["after"] < n["before"] / 2 and gained > 0:
        return True
    return (
        0 < values[-1] <= lower * values[-2]
        and 0 < now <= lower * then
        and gained > max(share * lacking, limits.anew_errors * _error_of(report, n))
    )


def _faster_halves(report: Report, values: list[float]) -> float | None:
    """Return to what steps ten times as large take a loss that fell by a tenth in each of the last two epochs.

    None where that is not its half.

    Going on repeats the few batches that it has, and may learn these by heart before new ones are any better.
    """
    trial = report.tried("other-ways")
    if trial is None or "faster" not in trial.numbers or len(values) < 3:
        return None
    falls = all(0 < b <= 0.9 * a for a, b in pairwise(values[-3:]))
    return trial.numbers["faster"] if falls and trial.numbers["faster"] < trial.numbers["before"] / 2 else None


def _falls_freely(report: Report, trial: Trial, values: list[float], steps: list[float], limits: Thresholds) -> bool:
    """Tell whether both losses fell by a fifth in each of the last two epochs, side by side; going on does no harm."""
    n, made = trial.numbers, len(steps) // len(values)
    if len(values) < _EPOCHS or n["after"] > n["before"] or "score_before" not in n or not _is_short(report, n, limits):
        return False
    means = [fmean(steps[len(steps) - (k + 1) * made : len(steps) - k * made]) for k in (2, 1, 0)]
    falls = [b <= (1 - limits.free_fall) * a for curve in (values[-3:], means) for a, b in pairwise(curve)]
    return all(falls) and 0 < values[-1] <= 1.1 * means[-1]


def _rises(trial: Trial, limits: Thresholds) -> bool:
    """Tell whether going on lifts accuracy or R² clearly."""
    n = trial.numbers
    if "score_before" not in n:
        return False
    before, after = n["score_before"], n["score_after"]
    error = math.sqrt(sum(max(s * (1 - s), 0.01) for s in (before, after)) / n.get("score_samples", n["samples"]))
    return after - before > max(limits.anew_gap, limits.anew_errors * error)


RULES = (places_smoothed, rank_one, too_narrow, latent_collapse, sure_and_wrong, cut_short)
