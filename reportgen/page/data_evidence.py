"""One picture of the evidence for what is wrong with data: the column, the classes, the part that two splits share."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from ..document.facts import DatasetFacts, FeatureStats, Finding, Report
from ..document.stats import TensorStats
from .evidence_bars import Bar, Range, bars, binned, ranges, shared_axis
from .evidence_figures import distribution, profile
from .formats import count, name, number, percent
from .language import N_, _
from .places import place
from .svg import Element
from .words_evidence import measured, quantity


class Drawn(Struct, frozen=True):
    """A drawing and the sentence that says what it shows."""

    drawing: Element
    caption: str


def of_data(report: Report, finding: Finding) -> Drawn | None:
    """Draw what a finding about data rests on; None where nothing of it can be drawn."""
    make = _BY_RULE.get(finding.rule)
    return None if make is None else make(report, finding)


# ------------------------------------------------------------------------------------------- a part of a whole

# rule -> the number that is a part, the number that is the whole, what the picture shows
_PARTS = {
    "leakage": ("shared", "compared", N_("Inputs given that are in the training data, of all inputs given")),
    "d-groups-cut": (
        "grouped",
        "samples",
        N_("Inputs given in groups of one size with training inputs, of those compared"),
    ),
    "near-leakage": ("twins", "samples", N_("Inputs given with a near double in the training data, of those compared")),
    "d-windows-overlap": (
        "overlapping",
        "samples",
        N_("Windows given that overlap training windows, of those compared"),
    ),
    "d-duplicates": ("copies", "samples", N_("Samples whose input occurred before, of all samples")),
    "d-near-duplicates": ("twins", "samples", N_("Samples with a near double, of those compared")),
    "d-conflicting-labels": ("samples", "of", N_("Samples whose input has several labels, of all samples")),
    "d-missing-class": ("samples", "of", N_("Samples of classes that training lacks, of all samples given")),
    "d-filled-in": ("inside", "filled", N_("Samples of one class, of all samples with a value in the column")),
    "d-padding": ("share", "", N_("Places that are padding, of all places")),
    "augmentation-torn": ("torn", "of", N_("Samples whose image turns without its map, or alone, of those read")),
    "run-unused": ("share", "", N_("Parameters of layers that never ran, of all")),
}


def _part(report: Report, finding: Finding) -> Drawn | None:
    key, of, caption = _PARTS[finding.rule]
    part, whole = finding.evidence.get(key), finding.evidence.get(of) if of else 1.0
    if part is None or not whole:
        return None
    said = percent(part / whole)
    shown = _("{part} of {whole}, {share}").format(part=count(int(part)), whole=count(int(whole)), share=said)
    row = Bar(quantity(finding.rule, key), part, shown if of else said, found=True)
    drawn = bars([row], _(caption), whole)
    return None if drawn is None else Drawn(drawn, _(caption))


# ---------------------------------------------------------------------------------------- numbers side by side

# rule -> the numbers, that which was found first; what the picture shows; the full length of a bar, 0 is the longest
_HALF_BY_CHANCE = ("d-maps-unrelated", "d-maps-noisier")
_SIDE_BY_SIDE: dict[str, tuple[tuple[str, ...], str, float]] = {
    "d-order": (("same", "expected"), N_("Training samples with the label of the one before, as they were loaded"), 0),
    "d-shortcut": (("score", "second", "null"), N_("How well single columns tell the target"), 1),
    "d-target-averaged": (
        ("r2", "without"),
        N_("Variance that is told with the target's own row, or this feature, and without"),
        1,
    ),
    "d-mean-target": (("off", "train_off"), N_("How far the column is from means of the target at most"), 0),
    "d-label-mapping": (("accuracy", "renamed", "training"), N_("Accuracy as it is, and with the classes renamed"), 1),
    "d-label-signal": (("score", "chance"), N_("Nearest neighbours of the same class, against chance"), 1),
    "d-labels-unrelated": (("z", "other_z"), N_("What the nearest neighbours tell of the target, in both splits"), 0),
    "d-labels-drawn": (
        ("by_heart", "told", "commonest"),
        N_("Training labels that the model has, that inputs tell, and the commonest class"),
        1,
    ),
    "d-maps-unrelated": (
        ("own", "other"),
        N_("Maps that fit their own input better than another map does, in both splits"),
        1,
    ),
    "d-maps-moved": (("moved", "given"), N_("Maps that fit their own input best elsewhere, in both splits"), 1),
    "d-maps-noisier": (
        ("own", "other"),
        N_("Maps that fit their own input better than another map does, in both splits"),
        1,
    ),
    "d-label-noise": (("agreement", "given"), N_("Nearest neighbours that agree with the label, in both splits"), 1),
    "splits-disagree": (("other", "own", "constant"), N_("Skill of a copy that learned from the training data"), 1),
    "training-targets-off": (
        ("beyond", "beyond_given"),
        N_("Samples far off what is said of them: training data, and data given"),
        1,
    ),
    "only-given-learns": (("own", "given", "constant"), N_("Skill of copies that learned from one split"), 1),
    "augmentation-hurts": (("own", "given", "as_is"), N_("Skill of copies that learned from one split"), 1),
    "prepared-otherwise": (
        ("given", "best", "training"),
        N_("Skill on the data given, as they are and with their inputs changed, and on the training data"),
        1,
    ),
    "training-labels-noisier": (
        ("own", "other"),
        N_("Accuracy of a copy that learned from training data: on others of them, and on the data given"),
        1,
    ),
    "fitted-labels-noisier": (
        ("own", "other"),
        N_("How far the model agrees with training data, and with the data given"),
        1,
    ),
    "splits-labelled-otherwise": (
        ("other", "own"),
        N_("Accuracy of a copy that learned from training data: on others of them, and on the data given"),
        1,
    ),
    "tags-slipped": (("own", "moved", "model"), N_("Labels that tokens tell, and that the model does"), 1),
    "o-below-neighbours": (("model", "neighbours", "chance"), N_("Skill on the data given"), 1),
    "o-outdone": (("model", "neighbours", "train"), N_("Skill on the data given, and on the training data"), 1),
    "fresh-copy-ahead": (("as_is", "onward", "fresh"), N_("Skill on the data given"), 1),
    "places-smoothed": (("apart_last", "apart_first"), N_("How far directions at two places lie apart"), 0),
    "head-drowned": (
        ("worth", "worth_alone"),
        N_("What the other heads tell, in units of the loss"),
        0,
    ),
    "loss-mismatch": (
        ("right_apart", "right_fresh", "right"),
        N_("Share of the numbers that are given, rounded: by a copy that learned classes, and as the run does"),
        1,
    ),
    "eval-train-gap": (("eval_accuracy", "norms_accuracy"), N_("Accuracy on the same samples, by mode"), 1),
    **dict.fromkeys(
        ("faster-helps", "slower-helps", "thawing-helps", "owning-helps", "freedom-helps"),
        (("same", "after", "before"), N_("Loss on the data given: gone on as before, in the other way, and before"), 0),
    ),
    "few-samples": (("given", "train"), N_("Skill on the data given, and on the training data"), 1),
    "o-skill-lost": (("given", "train"), N_("Skill on the data given, and on the training data"), 1),
}


def _side_by_side(report: Report, finding: Finding) -> Drawn | None:
    keys, caption, whole = _SIDE_BY_SIDE[finding.rule]
    known = [(key, finding.evidence[key]) for key in keys if key in finding.evidence]
    if len(known) < 2:
        return None
    rows = [
        Bar(quantity(finding.rule, key), value, measured(finding.rule, key, value), found=key == keys[0])
        for key, value in known
    ]
    if finding.rule in _HALF_BY_CHANCE:
        rows.append(Bar(_("by chance"), 0.5, measured(finding.rule, keys[0], 0.5)))
    drawn = bars(rows, _(caption), whole or None)
    return None if drawn is None else Drawn(drawn, _(caption))


# ------------------------------------------------------------------------------------------------ distributions


def _feature(data: DatasetFacts | None, subject: str) -> FeatureStats | None:
    """Return the column or channel that a finding names as 'input 3'."""
    if data is None or not subject.startswith("input "):
        return None
    return next((f for f in data.features if str(f.index) == subject.removeprefix("input ")), None)


def _scale(report: Report, finding: Finding) -> Drawn | None:
    data = report.train_dataset or report.dataset
    if finding.rule == "d-dtype":
        stats = report.activations.first_input if report.activations is not None else None
    elif finding.rule == "d-target-scale":
        stats = data.target if data is not None else None
    else:
        feature = _feature(data, finding.subject)
        stats = feature.stats if feature is not None else None
    axis = shared_axis([stats], (-2.0, 2.0))
    if axis is None or stats is None:
        return None
    caption = _("Values of {name}, the middle 99 %; grey: where a network expects them").format(
        name=place(finding.subject, finding.section)
    )
    row = Range("", binned(stats, axis), found=True)
    return Drawn(ranges([row], axis, caption, (-2.0, 2.0, _("−2 to 2"))), caption)


def _out_of_reach(report: Report, finding: Finding) -> Drawn | None:
    """Hold the targets against what the last activation can reach."""
    data, e = report.train_dataset or report.dataset, finding.evidence
    target = data.target if data is not None else None
    if finding.detail.get("kind") == "scores" and e["low"] < e["high"]:
        # a score may be any number: as much of them as stands for all
        most = max(-e["low"], e["high"], finding.threshold.get("bound", 1.0))
        caption = _("Scores, which may be any number; grey: what the last activation reached")
        usual = (e["low"], e["high"], _("{low} to {high}").format(low=number(e["low"]), high=number(e["high"])))
        return Drawn(ranges([Range("", [])], (-1.5 * most, 1.5 * most), caption, usual), caption)
    if "outside" not in e or target is None or target.min is None or target.max is None:
        return None
    # of an activation without a bound on one side, as much as the targets need
    low, high = max(e["low"], 2 * min(target.min, 0.0) - 1), min(e["high"], 2 * max(target.max, 0.0) + 1)
    axis = shared_axis([target], (low, high))
    if axis is None:
        return None
    caption = _("Targets, the middle 99 %; grey: what the last activation can reach")
    row = Range("", binned(target, axis), found=True)
    return Drawn(ranges([row], axis, caption, (low, high, _("within reach"))), caption)


def _not_finite(report: Report, finding: Finding) -> Drawn | None:
    """Show how much of a tensor is not finite."""
    e = finding.evidence
    bad, whole = int(e.get("nan", 0) + e.get("inf", 0)), int(e.get("count", 0))
    if not 0 < bad <= whole:
        return None
    caption = _("Values that are NaN or infinite, of all values of {name}").format(name=name(finding.subject))
    shown = _("{part} of {whole}, {share}").format(part=count(bad), whole=count(whole), share=percent(bad / whole))
    drawn = bars([Bar(_("not finite"), bad, shown, found=True)], caption, whole)
    return None if drawn is None else Drawn(drawn, caption)


def _broken(report: Report, finding: Finding) -> Drawn | None:
    """Show the columns that hold what is not finite."""
    data = report.train_dataset or report.dataset
    features = [f for f in data.features if f.index >= 0] if data is not None else []
    if len(features) < 2:
        return None
    shares = [f.stats.nonfinite / max(f.stats.count, 1) for f in features]
    caption = _("Share of values that are not finite, column by column")
    ends = (_("first"), _("last"))
    drawn = profile(shares, [share > 0 for share in shares], caption, ends)
    return None if drawn is None or not any(shares) else Drawn(drawn, caption)


def _shift(report: Report, finding: Finding) -> Drawn | None:
    pair = [_feature(data, finding.subject) for data in (report.train_dataset, report.dataset)]
    stats = [feature.stats if feature is not None else None for feature in pair]
    return _two(stats, _("Values of {name} in both splits").format(name=place(finding.subject, finding.section)))


def _two(stats: list[TensorStats | None], caption: str) -> Drawn | None:
    axis = shared_axis(stats)
    if axis is None:
        return None
    rows = [
        Range(label, binned(one, axis), found=i == 1)
        for i, (label, one) in enumerate(zip((_("training data"), _("data given")), stats, strict=True))
    ]
    return Drawn(ranges(rows, axis, caption), caption)


def _targets(report: Report, finding: Finding) -> Drawn | None:
    train, given = report.train_dataset, report.dataset
    if train is None or given is None:
        return None
    caption = _("Targets of both splits")
    if not train.class_counts or not given.class_counts:
        return _two([train.target, given.target], caption)
    n = max(len(train.class_counts), len(given.class_counts))
    rows = [
        Range(label, [*counts, *[0] * (n - len(counts))], found=found)
        for label, counts, found in (
            (_("training data"), train.class_counts, False),
            (_("data given"), given.class_counts, True),
        )
    ]
    caption = _("Samples of each class in both splits, from class 0 to class {last}").format(last=n - 1)
    return Drawn(ranges(rows, (0, n - 1), caption), caption)


def _classes(report: Report, finding: Finding) -> Drawn | None:
    data = report.train_dataset or report.dataset
    counts = (data.class_counts or []) if data is not None else []
    if not 2 <= len(counts) <= 300:
        return None
    rare = finding.evidence.get("class")
    marked = [i == rare if rare is not None else c == min(counts) for i, c in enumerate(counts)]
    caption = _("Samples of each class, in the order of their numbers")
    ends = (_("class {n}").format(n=0), _("class {n}").format(n=len(counts) - 1))
    drawn = profile([float(c) for c in counts], marked, caption, ends)
    return None if drawn is None else Drawn(drawn, caption)


def _column(report: Report, finding: Finding) -> Drawn | None:
    feature = _feature(report.train_dataset or report.dataset, finding.subject)
    caption = _("Values of {name}, the middle 99 %").format(name=place(finding.subject, finding.section))
    drawn = distribution(feature.stats if feature is not None else None, caption)
    return None if drawn is None else Drawn(drawn, caption)


_BY_RULE: dict[str, Callable[[Report, Finding], Drawn | None]] = {
    **dict.fromkeys(_PARTS, _part),
    **dict.fromkeys(_SIDE_BY_SIDE, _side_by_side),
    **dict.fromkeys(("d-input-scale", "d-dtype", "d-target-scale"), _scale),
    "d-class-imbalance": _classes,
    "d-constant-feature": _column,
    "d-nonfinite": _broken,
    "output-range": _out_of_reach,
    "param-nonfinite": _not_finite,
    "d-target-shift": _targets,
    "d-train-val-shift": _shift,
}
