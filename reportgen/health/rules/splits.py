"""Rules on the training data against the data given."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ...document.evaluation import EvaluationFacts
from ...document.facts import DatasetFacts, FeatureStats, Finding, Report, Severity
from ...document.samples import Copies, SplitFacts
from ...document.scores import Accuracy, accuracy, wilson
from ..classes import counts_by_class
from ..context import Context
from ..thresholds import Thresholds
from .alike import is_grouped

SECTION = "dataset"
_CLASS = 3.0  # standard deviations that classes lie apart in a feature, at most


def leakage(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Samples given are in the training data too, bit for bit.

    Share of the inputs given whose 64-bit hash is among those of the training data with the same target. An error where
    at least five are, above 1 % with the lower end of the 95 % interval (Wilson) above 0.1 %, and more than three times
    what copies within either split make likely; fewer inform, and so do inputs of few possible values, which repeat by
    nature. Copies within the training data are no reason where they were made: some inputs are there far oftener than
    draws from a finite set would have it (one and a half times the Poisson mean of those that repeat), with one and the
    same target, and no two different samples agree in every second column; or samples are measurements of three
    dimensions at least, whose values are too many for a hundredth of a sample to meet another by chance. Augmented or
    re-scaled copies are not found.
    """
    splits, train = report.splits, report.train_dataset
    if splits is None or not splits.shared or not splits.compared or train is None or train.copies is None:
        return
    natural = copies_by_nature(report, limits)
    # a sample that has another target there gives nothing away
    same = splits.shared - (splits.shared_other_target or 0)
    share = same / splits.compared
    low = wilson(same, splits.compared)[0]
    grave = same >= 5 and share > max(limits.leak, 3 * natural) and low > 0.1 * limits.leak
    yield Finding(
        rule="leakage",
        severity=Severity.ERROR if grave else Severity.INFO,
        subject="data",
        section=SECTION,
        evidence={"shared": splits.shared, "compared": splits.compared, "copies_in_training": natural},
        threshold={"share": limits.leak},
    )


def copies_by_nature(report: Report, limits: Thresholds) -> float:
    """Return the share of inputs that repeat in either split because they have few values; 0 where copies were made."""
    splits, train = report.splits, report.train_dataset
    if splits is None or train is None or train.copies is None:
        return 0.0
    if _were_multiplied(train.copies, splits) or _cannot_repeat(train, train.copies, splits, limits):
        return 0.0
    return max(1 - train.copies.distinct / max(train.copies.kept, 1), _by_chance(report))


def _were_multiplied(copies: Copies, splits: SplitFacts) -> bool:
    """Tell whether samples that repeat were multiplied by somebody, as rare ones are, and do not repeat by nature."""
    if splits.halves != 0 or not copies.repeated or (splits.shared_inputs or 0) < 5:
        return False
    many = copies.kept - (copies.distinct - copies.repeated)
    if copies.conflicting > 0.01 * many or copies.distinct < 0.5 * copies.kept:
        return False
    return many / copies.repeated > 1.5 * _usual_repeats(copies.distinct / copies.kept)


def _cannot_repeat(train: DatasetFacts, copies: Copies, splits: SplitFacts, limits: Thresholds) -> bool:
    """Tell whether samples are measurements that repeat only where they were copied.

    What hangs on one or two quantities (a day of the year, a place on a grid) repeats with them, so at least three
    dimensions are asked for; and so does one sample that stands for no measurement at all, so many samples are.
    """
    inputs, shared = splits.shared_inputs or 0, splits.shared or 0
    dimension = train.twins.dimension if train.twins is not None else splits.dimension
    if splits.by_chance is None or dimension is None or dimension < limits.copied_dimensions:
        return False
    if inputs < max(5, shared / 10) or copies.conflicting > 0.01 * copies.kept:
        return False
    return splits.by_chance * copies.kept * (splits.compared or 0) < limits.copied_chance


def _usual_repeats(distinct: float) -> float:
    """Return how often inputs that repeat do so on average when all of a finite set are drawn with the same chance.

    Numbers of draws are Poisson with a mean m that solves (1 - e^-m)/m = share of different inputs.
    """
    low, high = 1e-6, 50.0
    for _ in range(60):
        m = (low + high) / 2
        low, high = (m, high) if (1 - math.exp(-m)) / m > distinct else (low, m)
    none, once = math.exp(-low), low * math.exp(-low)
    return (low - once) / max(1 - none - once, 1e-12)


def _by_chance(report: Report) -> float:
    """Return the share of the data given that training data drawn alike would hold by chance.

    Pairs of copies within the data given, over all pairs, times the number of training samples: inputs of few possible
    values meet in a small training set too, which has hardly any copies itself.
    """
    given, train = report.dataset, report.train_dataset
    if given is None or given.copies is None or train is None or given.copies.kept < 30:
        return 0.0
    kept = given.copies.kept
    # c copies of one input are c - 1 too many, and c(c - 1)/2 pairs: the first is the careful count
    return min(1.0, 2 * (kept - given.copies.distinct) / (kept * (kept - 1)) * train.n_samples)


def d_missing_class(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Classes occur in the data given that the training data lack.

    A warning where at least five samples and 1 % of those given belong to them. Not judged for token targets or above
    1000 classes, where some are always rare.
    """
    train, given = report.train_dataset, report.dataset
    if train is None or given is None or train.target_classes is None or given.target_classes is None:
        return
    known, asked = train.class_counts or [], given.class_counts or []
    if not known or not asked or max(len(known), len(asked)) > 1000 or train.n_samples < given.n_samples / 4:
        return
    unseen = {i: c for i, c in enumerate(asked) if c and (i >= len(known) or not known[i])}
    n = sum(unseen.values())
    if n >= max(5, limits.unseen * sum(asked)):
        yield Finding(
            rule="d-missing-class",
            severity=Severity.WARNING,
            subject="labels",
            section=SECTION,
            evidence={"classes": len(unseen), "samples": n, "of": sum(asked), "first": min(unseen)},
            threshold={"share": limits.unseen},
        )


def d_train_val_shift(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A feature or channel has another mean or another scale in the data given than in the training data.

    |difference of means| over the larger std above 0.5, or |ln of the std ratio| above 0.5, and beyond six standard
    errors with samples (not pixels) counted as independent, or the tight groups that most of them stand in; a column
    that is nearly always the same has the error of its few other values. Columns and channels are judged one by one. A
    warning; it informs where accuracy on the data given is within 0.05 of that on the training data, or R² within 0.1
    (of several heads, of each whose targets differ). The detail says where one and the same map fits all of them: then
    the preparation differs. Where the classes have other shares in both, as a sampler that balances them makes,
    features that go with the class move along: by three standard deviations of a class at most for each sample that
    would have to change its class. Not judged for integer inputs.
    """
    train, given = report.train_dataset, report.dataset
    if train is None or given is None or min(train.n_samples, given.n_samples) < 30:
        return
    apart = report.splits.apart if report.splits is not None else None
    groups = apart.groups if apart is not None and apart.groups is not None else math.inf
    sizes = min(train.n_samples, groups), min(given.n_samples, groups)
    ours = {f.index: f for f in train.features}
    pairs = [(ours[f.index], f) for f in given.features if f.index in ours]
    drawn = _other_shares(train, given)
    moved = [(a, b) for a, b in pairs if _moved(a, b, sizes, limits, drawn)]
    if not moved:
        return
    worst_a, worst_b = max(moved, key=lambda pair: _shift(*pair) + _stretch(*pair))
    yield Finding(
        rule="d-train-val-shift",
        severity=Severity.INFO if _no_harm(report) else Severity.WARNING,
        subject=f"input {worst_b.index}",
        section=SECTION,
        evidence={
            "features": len(moved),
            "of": len(pairs),
            "train_mean": worst_a.stats.mean or 0.0,
            "mean": worst_b.stats.mean or 0.0,
            "train_std": worst_a.stats.std or 0.0,
            "std": worst_b.stats.std or 0.0,
        },
        threshold={"shift": limits.shift, "log_std_ratio": limits.shift},
        detail={"kind": "preparation" if len(moved) >= 0.8 * len(pairs) else "distribution"},
    )


def _redrawn(report: Report) -> dict[str, str]:
    """Say in a detail whether training samples are made anew at each reading: then augmentation is what spoils them."""
    return {"redrawn": "yes"} if report.splits is not None and report.splits.redrawn else {}


def _shift(a: FeatureStats, b: FeatureStats) -> float:
    return abs((b.stats.mean or 0.0) - (a.stats.mean or 0.0)) / (a.stats.std or 1.0)


def _stretch(a: FeatureStats, b: FeatureStats) -> float:
    return abs(math.log((b.stats.std or 1e-12) / (a.stats.std or 1e-12)))


def _other_shares(train: DatasetFacts, given: DatasetFacts) -> float:
    """Return the total variation between the shares of the classes, where it is beyond chance; else 0."""
    ours, theirs = counts_by_class(train), counts_by_class(given)
    n, m = sum(ours), sum(theirs)
    if not n or not m or len(ours) != len(theirs):
        return 0.0
    apart = sum(abs(a / n - b / m) for a, b in zip(ours, theirs, strict=True)) / 2
    return apart if apart > 0.1 and apart > 3 * math.sqrt(1 / n + 1 / m) else 0.0


def _moved(a: FeatureStats, b: FeatureStats, sizes: tuple[float, float], limits: Thresholds, drawn: float) -> bool:
    if not a.stats.std or not b.stats.std or a.stats.nonfinite or b.stats.nonfinite:
        return False
    error = math.hypot(*(1 / math.sqrt(n) for n in sizes))
    pooled = max(a.stats.std, b.stats.std)
    far = max(limits.shift, 6 * error) + _CLASS * drawn
    shifted = abs((b.stats.mean or 0.0) - (a.stats.mean or 0.0)) > far * pooled
    loose = 6 * math.hypot(_loose(a, sizes[0]), _loose(b, sizes[1]))
    return shifted or _stretch(a, b) > max(limits.shift, loose) + drawn


def _loose(feature: FeatureStats, n: float) -> float:
    """Return the relative standard error of a feature's standard deviation.

    Of a column that is nearly always the same, m rare values make up the standard deviation, and the farthest lies
    r = sqrt(n/m) of them from the mean: the error is 1/(2 sqrt(m)) = r/(2 sqrt(n)). For a Gaussian that is careful.
    """
    stats = feature.stats
    mean, low, high = stats.mean or 0.0, stats.min or 0.0, stats.max or 0.0
    farthest = max(high - mean, mean - low) / (stats.std or 1.0)
    return max(farthest, math.sqrt(2)) / (2 * math.sqrt(n))


def _scores(report: Report) -> tuple[Accuracy, Accuracy] | None:
    train, given = report.train_evaluation, report.evaluation
    if train is None or given is None or train.classification is None or given.classification is None:
        return None
    ours, theirs = accuracy(train.classification.confusion), accuracy(given.classification.confusion)
    return (ours, theirs) if ours is not None and theirs is not None else None


def _no_harm(report: Report) -> bool:
    """Tell whether the model does about as well on the data given as on its training data, and well at all.

    Of several heads all do whose targets differ in the data given.
    """
    train, given = report.train_evaluation, report.evaluation
    if train is None or given is None:
        return False
    if not given.heads:
        return _is_kept(train, given)
    asked = {name: head for name, head in given.heads.items() if _differ(head)}
    return bool(asked) and all(name in train.heads and _is_kept(train.heads[name], asked[name]) for name in asked)


def _differ(head: EvaluationFacts) -> bool:
    table = head.classification.confusion if head.classification is not None else None
    return table is None or sum(any(row) for row in table) > 1


def _is_kept(train: EvaluationFacts, given: EvaluationFacts) -> bool:
    if train.classification is not None and given.classification is not None:
        ours, theirs = accuracy(train.classification.confusion), accuracy(given.classification.confusion)
        if ours is None or theirs is None:
            return False
        return theirs.value > ours.value - 0.05 and theirs.low > theirs.majority
    if train.regression is None or given.regression is None:
        return False
    own, other = train.regression.r2, given.regression.r2
    return own is not None and other is not None and other > max(own - 0.1, 0.1)


def d_label_mapping(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The labels of the data given are numbered differently from those of the training data.

    The best one-to-one renaming of the classes in the confusion matrix (Kuhn 1955, the Hungarian method) lifts accuracy
    by more than 0.3, to above 0.6 and to three quarters of that on the training data. Also an error: at least ten
    inputs that occur in both splits, four of five of them with another label. A model that guesses gains little by any
    renaming, since it has K! of them but one matrix.
    """
    splits, scores = report.splits, _scores(report)
    evidence: dict[str, float] = {}
    if splits is not None and splits.shared and splits.shared >= 10:
        other = splits.shared_other_target or 0
        train = report.train_dataset
        natural = train is None or train.copies is None or train.copies.conflicting > 0.05 * train.copies.kept
        if other > 0.8 * splits.shared and not natural:
            evidence = {"shared": splits.shared, "other_label": other}
    table = report.evaluation.classification if report.evaluation is not None else None
    if table is not None and scores is not None and len(table.confusion) <= 1000:
        train_score, given = scores
        if given.total >= 50 and given.value < 0.7 and train_score.value > 0.6:
            best = _renamed(table.confusion)
            if best > max(given.value + limits.mapping_gain, 0.6, 0.75 * train_score.value):
                evidence |= {"accuracy": given.value, "renamed": best, "training": train_score.value}
    if evidence:
        yield Finding(
            rule="d-label-mapping",
            severity=Severity.ERROR,
            subject="labels",
            section=SECTION,
            evidence=evidence,
            threshold={"gain": limits.mapping_gain},
        )


def _renamed(confusion: list[list[int]]) -> float:
    """Return the accuracy after the best one-to-one renaming of the predicted classes."""
    from scipy.optimize import linear_sum_assignment  # here, because most reports never need it

    rows, columns = linear_sum_assignment([[-n for n in row] for row in confusion])
    hits = sum(confusion[r][c] for r, c in zip(rows, columns, strict=True))
    return float(hits / max(sum(map(sum, confusion)), 1))


def d_labels_unrelated(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Targets in one split have to do with the inputs, in the other they do not.

    5 nearest neighbours in input space, on as many samples of each split, copies of a row left out, and on as many of
    each class where classes have other shares: one is at least eight standard deviations above its permutation null,
    the other within three. An error: rows were shuffled, shifted or joined wrongly in one file. A strong difference
    that leaves both above chance is told by ``d-label-noise``.
    """
    splits = report.splits
    train, given = (splits.training_signal, splits.given_signal) if splits is not None else (None, None)
    if train is None or given is None or min(train.n, given.n) < 100:
        return
    for name, weak, strong in (("training data", train, given), ("data", given, train)):
        if weak.z < 3 and strong.z > 8:
            yield Finding(
                rule="d-labels-unrelated",
                severity=Severity.ERROR,
                subject=name,
                section=SECTION,
                evidence={"z": weak.z, "other_z": strong.z, "samples": weak.n},
                threshold={"z": 3, "other_z": 8},
                detail=_redrawn(report) if name == "training data" else {},
            )


def d_label_noise(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Training labels agree less with their neighbours than the labels of the data given do.

    Share of the 5 nearest neighbours of the same class, inside each split, on as many samples: the training data's is
    lower by more than a tenth and by six standard errors, though above chance, while nearest neighbours are as close
    (within a tenth), as they are not where training samples are augmented. Four standard errors are enough where the
    model bears witness too: it is right less often on what it was trained on than on the data given, by two. Both
    splits being drawn alike, a share of wrong training labels is what remains. A warning. Not judged where samples
    stand in tight groups, of which a sample of each split holds more or less; nor where training samples are made anew
    at each reading, so that none can be known by heart, and the model is right on them as often as neighbours are in
    the data given, or nearly (half a tenth). Noise that is the same in both splits cannot be seen so.
    """
    splits = report.splits
    train, given = (splits.training_signal, splits.given_signal) if splits is not None else (None, None)
    if train is None or given is None or train.kind != "classes" or given.kind != "classes":
        return
    if splits is not None and is_grouped(splits):
        return
    # the five answers of a sample hang together, and neighbours share them: a sample counts as one
    alike = given.distance > 0 and 0.9 < train.distance / given.distance < 1.1
    told = splits is not None and splits.redrawn and _is_right_at_home(report, given.score - 0.5 * limits.noisier)
    error = math.sqrt(sum(s.score * (1 - s.score) / s.n for s in (train, given)))
    errors = 4 if _is_worse_at_home(report) else 6
    lower = given.score - train.score > max(limits.noisier, errors * error)
    if alike and lower and not told and min(train.n, given.n) >= 100 and train.z >= 3:
        yield Finding(
            rule="d-label-noise",
            severity=Severity.WARNING,
            subject="training data",
            section=SECTION,
            evidence={"agreement": train.score, "given": given.score, "samples": train.n},
            threshold={"difference": limits.noisier},
            detail=_redrawn(report),
        )


def _is_right_at_home(report: Report, least: float) -> bool:
    """Tell whether the model, in eval mode, is right on its training data at least so often."""
    scores = _scores(report)
    return scores is not None and scores[0].value >= least


def _is_worse_at_home(report: Report) -> bool:
    """Tell whether the model, in eval mode, is right less often on its training data by two standard errors."""
    scores = _scores(report)
    if scores is None:
        return False
    error = math.sqrt(sum(s.value * (1 - s.value) / max(s.total, 1) for s in scores))
    return scores[1].value - scores[0].value > 2 * error


RULES = (
    leakage,
    d_missing_class,
    d_train_val_shift,
    d_label_mapping,
    d_labels_unrelated,
    d_label_noise,
)
