"""Rules on targets with a value at every place: whether they stand beside the inputs that they were made of."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ...document.facts import Finding, Report, Severity
from ...document.samples import Mapped
from ..context import Context
from ..thresholds import Thresholds

SECTION = "dataset"
_FEWEST = 60
_CHANCE = 3.0  # standard deviations
_CLEAR = 8.0
_NOISIER = 6.0
_KEPT = 0.7


def _both(report: Report) -> tuple[Mapped, Mapped] | None:
    """Return what was found of either split, of enough samples."""
    train, given = report.train_dataset, report.dataset
    ours, theirs = (data.mapped if data is not None else None for data in (train, given))
    if ours is None or theirs is None or min(ours.n, theirs.n) < _FEWEST:
        return None
    return ours, theirs


def d_maps_unrelated(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Maps (masks, depths, heat maps) have no more to do with their own inputs than with those of other samples.

    A linear fit, sample by sample, of the map on what the input holds at each place: levels, their means about it, and
    roughness, less what the place alone tells on average. How often the own map is fitted better than that of another
    sample is 0.5 by chance, and 0.9 to 1 where maps are of what can be seen; its deviation is that of 200 permutations.
    An error where it is within three of these in one split and above eight in the other, by 0.15: that file was sorted,
    shuffled or joined otherwise. What shapes mean far away no such fit sees. So where it is within three in both, it is
    a warning only if nothing else sees anything either: the model does not work, and neither what it says of the data
    given nor what fresh copies say that learned from half of either split fits the map of the sample itself better than
    others (within three standard deviations too), and means at each place tell less than half of the variance of maps:
    where the place tells most, a model may say the same of all and be right. At least 60 samples of each split. Wrong
    where a task is too hard for all of them.
    """
    pair = _both(report)
    if pair is None:
        return
    for name, weak, strong in zip(("training data", "data"), pair, pair[::-1], strict=True):
        if weak.z < _CHANCE and strong.z > _CLEAR and strong.own - weak.own > limits.maps_gap:
            redrawn = report.splits is not None and report.splits.redrawn and name == "training data"
            detail = {"redrawn": "yes"} if redrawn else {}
            yield _found(name, Severity.ERROR, weak, strong.own, limits, detail)
            return
    if max(part.z for part in pair) < _CHANCE and _is_lost_on_all(report, context, pair):
        yield _found("targets", Severity.WARNING, pair[0], pair[1].own, limits, {"kind": "both"})


def _found(
    subject: str, severity: Severity, weak: Mapped, other: float, limits: Thresholds, detail: dict[str, str]
) -> Finding:
    return Finding(
        rule="d-maps-unrelated",
        severity=severity,
        subject=subject,
        section=SECTION,
        evidence={"own": weak.own, "other": other, "samples": weak.n},
        threshold={} if detail.get("kind") == "both" else {"difference": limits.maps_gap},
        detail=detail,
    )


def _is_lost_on_all(report: Report, context: Context, pair: tuple[Mapped, Mapped]) -> bool:
    """Tell whether neither the model nor copies that learned from either split say anything of the sample itself."""
    trial = report.tried("learned-anew")
    if trial is None or context.state != "trained" or not context.real_data or context.outcome_ok:
        return False
    told = [value for key, value in trial.numbers.items() if key.startswith("own_")]
    return len(told) == 5 and max(told) < _CHANCE and max(part.placed for part in pair) < 0.5


def d_maps_noisier(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Maps of the training data fit their own inputs less often than those of the data given do.

    The share of ``d-maps-unrelated``, which is above chance in both splits by eight standard deviations: that of the
    training data is lower by 0.1 and by six standard errors. A map that belongs to another sample fits its input better
    than others half of the time, so that the part of wrong ones is about twice that difference. Splits that are drawn
    alike differ by chance alone. A warning. Not judged where training samples are augmented, which hides what lies at a
    place. Wrong where the training data are of another kind than those given.
    """
    pair = _both(report)
    if pair is None or (report.splits is not None and report.splits.redrawn):
        return
    ours, theirs = pair
    error = math.hypot(ours.spread, theirs.spread)
    if min(ours.z, theirs.z) <= _CLEAR or theirs.own - ours.own <= max(limits.maps_lower, _NOISIER * error):
        return
    yield Finding(
        rule="d-maps-noisier",
        severity=Severity.WARNING,
        subject="training data",
        section=SECTION,
        evidence={"own": ours.own, "other": theirs.own, "samples": ours.n},
        threshold={"difference": limits.maps_lower},
    )


def d_maps_moved(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Maps of the training data lie beside what they show, each in its own direction, and those given do not.

    The linear fit of ``d-maps-unrelated``, of the inside of a picture, on its own map moved by up to a sixth of the
    side of a grid of 24 places at most (256 of a series): the share of samples where it is best more than one place
    off. In training that is larger by 0.3 and by six standard errors, binomial; there a map as it lies is explained to
    less than 0.7 of what it is at its best, and that is at least 0.7 of what it is in the data given: it is the place
    that is lost, not the picture, as noise would lose it. The input was cropped, shifted or turned a little, and its
    map otherwise, or not at all. A warning. Not judged where the maps given lie beside what they show in more than half
    of all samples: then it is meant, or not to be seen. Less than two places are not seen, of 24 on a side. At least 60
    samples of each split.
    """
    pair = _both(report)
    if pair is None or pair[1].z <= _CLEAR:
        return
    ours, theirs = pair
    if ours.moved is None or theirs.moved is None or ours.beside is None or ours.best is None or theirs.best is None:
        return
    error = math.sqrt(sum(max(p.moved * (1 - p.moved), 0.01) / p.n for p in pair if p.moved is not None))
    line = max(limits.maps_moved, _NOISIER * error)
    if theirs.moved > 0.5 or ours.moved - theirs.moved <= line:
        return
    if ours.beside >= limits.maps_beside or ours.best < _KEPT * theirs.best:
        return
    redrawn = report.splits is not None and report.splits.redrawn
    yield Finding(
        rule="d-maps-moved",
        severity=Severity.WARNING,
        subject="training data",
        section=SECTION,
        evidence={"moved": ours.moved, "given": theirs.moved, "beside": ours.beside, "samples": ours.n},
        threshold={"difference": line, "beside": limits.maps_beside},
        detail={"redrawn": "yes"} if redrawn else {},
    )


RULES = (d_maps_unrelated, d_maps_noisier, d_maps_moved)
