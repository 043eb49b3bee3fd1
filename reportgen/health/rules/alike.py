"""Rules on whether the two splits are drawn alike, beyond the mean and the scale of single features."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ...document.facts import DatasetFacts, Finding, Report, Severity
from ...document.samples import Apart, SplitFacts
from ..classes import counts_by_class
from ..context import Context
from ..curves import losses
from ..skill import skill_of
from ..thresholds import Thresholds

SECTION = "dataset"


def d_splits_apart(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A simple classifier tells inputs of the training data from inputs of the data given.

    Area under the curve of a ridge regression on up to 512 samples a split, tried on samples that it was not fitted on
    (a classifier two-sample test, Lopez-Paz and Oquab 2017): above 0.7 and five standard errors, sqrt((2n+1)/(12 n²)),
    above 0.5. Where most samples stand in tight groups (frames of one patient), it is tried on other groups, and n
    counts those. A warning where the model loses more on the way from the one to the other than chance: a fifth of its
    skill and four standard errors, or, where no score is known, a validation loss that ended 1.3 times as high as the
    training loss. Else it informs, and so it does where training samples are augmented (they are to be other ones: a
    second reading changes them, or they stand in tight groups of one size, as for ``d-groups-cut``, and the samples
    given in none of these), where one sample in ten has a copy (then copies give the side away), and where the classes
    have other shares in the two (then inputs differ by that alone). Wrong for a split by time or by source that is
    meant to be hard.
    """
    found = report.splits.apart if report.splits is not None else None
    if found is None or not context.real_data or found.area <= _line(found, limits):
        return
    train, given = report.train_dataset, report.dataset
    shares = train is not None and given is not None and _of_classes(train, given, limits) is not None
    mild = _is_augmented(report.splits) or shares or found.copies > 0.1 or not _harmed(report, context, limits)
    yield Finding(
        rule="d-splits-apart",
        severity=Severity.INFO if mild else Severity.WARNING,
        subject="data",
        section=SECTION,
        evidence={"area": found.area, "neighbours": found.neighbours, "null": found.null_mean, "samples": found.n},
        threshold={"area": _line(found, limits)},
    )


def _is_augmented(splits: SplitFacts | None) -> bool:
    """Tell whether training samples alone were varied: at each reading, or as copies that were stored."""
    if splits is None:
        return False
    stored = splits.training_families is not None and splits.training_families.clear
    return bool(splits.redrawn) or (stored and (splits.families is None or not splits.families.clear))


def is_grouped(splits: SplitFacts) -> bool:
    """Tell whether samples stand in tight groups, so that one of a group says what the others are."""
    return splits.apart is not None and splits.apart.groups is not None


def _line(found: Apart, limits: Thresholds) -> float:
    n = found.n if found.groups is None else max(found.groups, 1)
    return max(limits.apart_area, 0.5 + 5 * math.sqrt((2 * n + 1) / (12 * n**2)))


def _harmed(report: Report, context: Context, limits: Thresholds) -> bool:
    """Tell whether the model is clearly worse on the data given than on its training data."""
    skill = skill_of(report, context)
    if skill is not None:
        return skill.train - skill.given > max(limits.apart_harm * max(skill.train, 0.0), 4 * skill.error)
    train, val = losses(report.training, limits)
    return (
        train is not None and val is not None and val.end > 1.3 * train.end > 0 and val.end - train.end > 3 * val.noise
    )


def d_target_shift(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Targets of the data given are distributed otherwise than those of the training data.

    Numbers: |difference of means| over the larger standard deviation, or |ln of their ratio|, above 0.5 and six
    standard errors. Classes: half the sum of the differences of the shares (total variation) above 0.25 and four times
    what as many samples make by chance, sqrt(K (1/n + 1/m)) / 2. Numbers are a warning where the model is clearly worse
    on the data given (as for ``d-splits-apart``). Otherwise it informs, and so do classes: training data are balanced
    by their sampler as often as not.
    """
    train, given = report.train_dataset, report.dataset
    if train is None or given is None or min(train.n_samples, given.n_samples) < 30:
        return
    classes = _of_classes(train, given, limits)
    named = counts_by_class(train) and counts_by_class(given)
    numbers = None if named else _of_numbers(train, given, limits)
    found = numbers or classes
    if found is None:
        return
    yield Finding(
        rule="d-target-shift",
        severity=Severity.WARNING if numbers and _harmed(report, context, limits) else Severity.INFO,
        subject="targets",
        section=SECTION,
        evidence=found,
        threshold={"shift": limits.shift, "variation": limits.target_variation},
        detail={"kind": "numbers" if numbers else "classes"},
    )


def _of_numbers(train: DatasetFacts, given: DatasetFacts, limits: Thresholds) -> dict[str, float] | None:
    a, b = train.target, given.target
    if a is None or b is None or not a.std or not b.std or a.nonfinite or b.nonfinite:
        return None
    error = math.sqrt(1 / train.n_samples + 1 / given.n_samples)
    moved = abs((b.mean or 0.0) - (a.mean or 0.0)) / max(a.std, b.std)
    stretched = abs(math.log(b.std / a.std))
    if moved <= max(limits.shift, 6 * error) and stretched <= max(limits.shift, 6 * error):
        return None
    return {"train_mean": a.mean or 0.0, "mean": b.mean or 0.0, "train_std": a.std, "std": b.std}


def _of_classes(train: DatasetFacts, given: DatasetFacts, limits: Thresholds) -> dict[str, float] | None:
    ours, theirs = counts_by_class(train), counts_by_class(given)
    size = max(len(ours), len(theirs))
    if not sum(ours) or not sum(theirs) or not 2 <= size <= 1000:
        return None
    ours, theirs = [*ours, *[0] * (size - len(ours))], [*theirs, *[0] * (size - len(theirs))]
    shares = [(a / sum(ours), b / sum(theirs)) for a, b in zip(ours, theirs, strict=True)]
    variation = sum(abs(a - b) for a, b in shares) / 2
    chance = math.sqrt(size * (1 / train.n_samples + 1 / given.n_samples)) / 2
    if variation <= max(limits.target_variation, 4 * chance):
        return None
    place = max(range(size), key=lambda k: abs(shares[k][0] - shares[k][1]))
    return {"variation": variation, "class": place, "train_share": shares[place][0], "share": shares[place][1]}


def is_dealt_otherwise(train: DatasetFacts, given: DatasetFacts, limits: Thresholds) -> bool:
    """Tell whether classes have other shares in the two splits."""
    return _of_classes(train, given, limits) is not None


RULES = (d_splits_apart, d_target_shift)
