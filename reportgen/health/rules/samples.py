"""Rules on samples that are nearly the same, features that tell the label, and the type of the input."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ...document.facts import Finding, Report, Severity
from ...document.samples import Twins
from ..context import Context
from ..thresholds import Thresholds
from .splits import copies_by_nature

SECTION = "dataset"
_LEAST = 10  # twins, below which nothing is said


def _beyond_chance(twins: Twins, share: float) -> bool:
    """Tell whether twins are many, more than chance makes by six deviations, and chance makes few of them."""
    expected = twins.n * twins.chance
    rare = twins.chance < share / 5
    return rare and twins.found >= max(_LEAST, share * twins.n, expected + 6 * math.sqrt(expected + 1))


def d_near_duplicates(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Samples that are nearly the same as another one of their split, though not bit for bit.

    A sample has a near double where its nearest neighbour is at less than a fifth of the distance of its fifth nearest.
    In data of dimension d chance gives that to a share of 1 - (1 - 0.2^d)^4, whatever the density; d comes from the
    median ratio of the fifth to the tenth (compare Facco et al. 2017, who use the first two). It informs where 5
    % of the samples have one, at least ten, and six standard deviations more than chance. Pictures are compared as 8 x
    8 thumbnails without brightness and contrast, columns in their standard deviations, in one region of input space
    that holds some thousand samples. Flipped, shifted or cropped copies are not found, nor are groups of six and more.
    """
    for name, data in (("training data", report.train_dataset), ("data", report.dataset)):
        twins = data.twins if data is not None else None
        if twins is not None and context.real_data and _beyond_chance(twins, limits.near_duplicates):
            yield Finding(
                rule="d-near-duplicates",
                severity=Severity.INFO,
                subject=name,
                section=SECTION,
                evidence=_evidence(twins),
                threshold={"share": limits.near_duplicates},
            )


def near_leakage(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Samples given have a near double in the training data.

    Measured as for ``d-near-duplicates``, with neighbours among the training data; equal inputs are left to
    ``leakage``. A warning where 5 % of the samples given have one, at least ten, and six standard deviations more than
    chance: the data were augmented before the split, or samples that hang together (frames of one film, windows of one
    series, patients) were split apart. Where the training data have twins among themselves as often, the detail says
    so. It informs where a tenth of the inputs repeat exactly, by nature (``leakage``): what has few values comes near
    by itself, too. Wrong where new samples will have near doubles in the training data too.
    """
    twins = report.splits.twins if report.splits is not None else None
    if twins is None or not context.real_data or not _beyond_chance(twins, limits.near_leak):
        return
    own = report.train_dataset.twins if report.train_dataset is not None else None
    among = own is not None and _beyond_chance(own, limits.near_leak)
    yield Finding(
        rule="near-leakage",
        severity=Severity.INFO if copies_by_nature(report, limits) > 0.1 else Severity.WARNING,
        subject="data",
        section=SECTION,
        evidence=_evidence(twins),
        threshold={"share": limits.near_leak},
        detail={"training": "groups" if among else "single"},
    )


def d_groups_cut(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Samples come in tight groups of one size, as copies of one original do, and stand in both splits.

    The splits are laid together, and of each sample given the neighbours of its own class are looked at (all where
    there are no classes; pictures as for ``d-near-duplicates``): a group of k others ends where the next is so much
    farther off that points of even density have such a gap one time in a thousand: (r_k / r_k+1)^(d k), which is
    uniform for them. Counted: samples whose group has a member in the training data, by k up to 9, and where that says
    nothing, by k from 10 to 39. Independent draws, whatever they cluster about, have numbers of neighbours that are
    mixed Poisson, so that at most e^-k k^k / k! of them have just k: 37 % one, 27 % two, 20 % four. A warning where one
    k has more than that, by six standard errors with a group counted as one: every original was copied so often, with
    noise or slight changes, or a person was recorded so often, and the samples were split at random. Not judged of
    windows that slide over a series: of one that comes back there are as many of a kind as it has periods. Wrong where
    samples are planned to come in groups of one size (repeated measurements), and new ones will come in those very
    groups.
    """
    found = report.splits.families if report.splits is not None else None
    if found is None or not context.real_data or not found.clear:
        return
    yield Finding(
        rule="d-groups-cut",
        severity=Severity.WARNING,
        subject="data",
        section=SECTION,
        evidence={
            "grouped": float(found.found),
            "samples": float(found.n),
            "size": float(found.size),
            "bound": found.bound,
            "dimension": found.dimension,
        },
        threshold={"errors": 6.0},
    )


def d_windows_overlap(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Windows of the same recordings stand in both splits: they were cut first, and split at random then.

    Counted: samples given that have a run of eight time steps, bit for bit, in common with a training sample, at an
    earlier place of the window and, perhaps with another one, at a later place. More than a quarter of the samples
    for both is a warning where a class is asked for: its recording gives it away. It informs for numbers. Splits that
    follow each other in time share steps at their border alone, and on one side. Periods without noise and constant
    stretches do not count. Wrong where new windows will come from the recordings that were trained on.
    """
    windows = report.splits.windows if report.splits is not None else None
    if windows is None or not context.real_data or windows.n < 20:
        return
    share = min(windows.earlier, windows.later) / windows.n
    if share <= limits.windows:
        return
    data = report.train_dataset or report.dataset
    classes = data is not None and data.class_counts is not None
    yield Finding(
        rule="d-windows-overlap",
        severity=Severity.WARNING if classes else Severity.INFO,
        subject="data",
        section=SECTION,
        evidence={"overlapping": min(windows.earlier, windows.later), "samples": windows.n},
        threshold={"share": limits.windows},
    )


def _evidence(twins: Twins) -> dict[str, float]:
    return {"twins": twins.found, "samples": twins.n, "chance": twins.chance, "dimension": twins.dimension}


def d_shortcut(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """One single feature tells the target almost perfectly, and no other comes near it.

    Classes: of samples in the order of the feature, at least 99 % of neighbours (but for one change between any two
    classes) share their class, against less than 90 % for the next best feature, and more than with permuted labels.
    It informs; a warning where the feature is the label itself in other numbers: class means along it are more than 7
    standard deviations of the widest class apart (classes cut from an evenly spread measurement lie 3.5 apart); or
    where it numbers the rows of a file that was sorted by class: no value occurs twice, all lie on an even lattice, and
    that has fewer than three places for each sample of both splits.
    Numbers: squared correlation above 0.999, which informs; a warning within 1e-5 of 1, where what is left is a few
    thousandths of the target's spread: the feature is the target itself in other units. Judged on up to 512 samples of
    the data given and, of inputs with more than 1024 values, on evenly spaced ones. Wrong where one measurement decides
    by nature.
    """
    found = report.dataset.shortcut if report.dataset is not None else None
    if found is None or not context.real_data or found.second >= limits.shortcut_second:
        return
    counts = report.dataset.class_counts if report.dataset is not None else None
    classes = sum(c > 0 for c in counts) if counts else 2
    changes = (classes - 1) / (found.n - 1) if found.kind == "classes" else 0.0
    least = limits.shortcut_score if found.kind == "classes" else limits.shortcut_r2
    if found.score + changes < least or found.score <= found.null:
        return
    is_label = found.gap is not None and found.gap > limits.shortcut_gap
    is_number = found.kind == "classes" and _numbers_rows(report, found.places)
    is_target = found.kind == "numbers" and 1 - found.score < limits.shortcut_exact
    yield Finding(
        rule="d-shortcut",
        severity=Severity.WARNING if is_label or is_number or is_target else Severity.INFO,
        subject=f"input {found.feature}",
        section=SECTION,
        evidence={"score": found.score, "second": found.second, "null": found.null, "samples": found.n}
        | ({"gap": found.gap} if found.gap is not None else {}),
        threshold={"score": least, "second": limits.shortcut_second, "gap": limits.shortcut_gap},
        detail={"kind": found.kind} | ({"column": "row number"} if is_number else {}),
    )


def _numbers_rows(report: Report, places: int | None) -> bool:
    samples = sum(data.n_samples for data in (report.train_dataset, report.dataset) if data is not None)
    return places is not None and places <= 3 * samples


def d_filled_in(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A feature has a value for samples of one class alone; for all others it is empty.

    Empty is its commonest value (0, or what missing values were filled with). At least 20 samples with another one, of
    ten kinds or more, of which 99 % are of one class, and no other feature with half as much of that. A warning where
    99 % of that class have a value: such columns are filled in after the outcome, and will be empty when the model is
    used. It informs where half of the class have one: a measurement that is only made of cases already known looks the
    same as one that proves a case. Judged on up to 512 samples of the data given. Wrong where the class is what the
    column counts, and the column will be known in time.
    """
    data = report.dataset
    found = data.filled if data is not None else None
    if found is None or not context.real_data or found.share < 0.5 or found.second >= 0.5 * found.share:
        return
    yield Finding(
        rule="d-filled-in",
        severity=Severity.WARNING if found.share >= limits.shortcut_score else Severity.INFO,
        subject=f"input {found.feature}",
        section=SECTION,
        evidence={
            "filled": float(found.filled),
            "inside": float(found.inside),
            "share": found.share,
            "label": float(found.label),
            "samples": float(found.n),
        },
        threshold={"share": limits.shortcut_score},
    )


def d_target_averaged(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A feature is the mean of the target and of the target at rows beside: it holds what is to be predicted.

    In the order of the file (stretches of up to 128 rows): a column is the sum of the targets of a window of 2 to 63
    rows with its own row in it (of more than 31: that begins, ends or has its middle there), but for a 100,000th of its
    variance, and no window that leaves the own row out comes within a hundred times of that, as in a series that goes
    on by a rule of its own. Or it is an exponential mean: what its last value leaves open is told as exactly by the
    target of the row, and by that of no other row. Or, whatever the order: the target is a linear function of columns,
    with R² above 0.99999, and not above 0.99 without one; the others have a weight of -1 each (to 5 %), the target's
    own deviation (to 10 %) and no correlation with it below -0.4, as the target at earlier times has: what is left is
    their mean. Numbers put together from columns that have nothing to do with each other are spread more widely than
    these, or run against them. A warning: rolling means that are centred, or end with the row itself, are not known
    before the target is.
    Not judged for targets of fewer than 20 values, nor where several columns are means of one length, as of a signal
    that was blurred. Wrong where the mean is what is measured, and the target is to be recovered from it.
    """
    for data in (report.train_dataset, report.dataset):
        found = (data.rows.averaged if data.rows is not None else None) or data.averaged if data is not None else None
        if found is None or not context.real_data:
            continue
        yield Finding(
            rule="d-target-averaged",
            severity=Severity.WARNING,
            subject=f"input {found.feature}",
            section=SECTION,
            evidence={"r2": found.r2, "without": found.without, "length": found.length, "samples": found.n}
            | {key: v for key, v in (("before", found.before), ("weight", found.weight)) if v is not None},
            threshold={"r2": 1 - 1e-5},
            detail={"by": found.by},
        )
        return


def d_mean_target(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A column is the mean target of all rows with the same category, those of the data given among them.

    A categorical column was replaced by the mean of the target (target encoding) before the data were split: each
    sample given finds a part of its own answer in it. Told where twenty values or more that occur in both splits are
    the means of the targets of all their rows to within 1e-4 standard deviations, up to scale and offset or to
    smoothing, and are not those of the training rows, by ten times that. Where few rows share a category, shares of yes
    take few values: five or more are told that are met to the row, in a way that chance meets once in 100 000, from a
    least value without any yes to a largest without any no. A warning where the column tells a twentieth of what means
    of the training rows leave open of the targets given (squared partial correlation; of few values, of these targets
    themselves); otherwise, with many rows to a category, it informs. Not looked for in tables of more than 16384 rows
    or 64 columns, and not seen where other rows took part. Means over training rows, or over other folds, are no means
    of both. (Micci-Barreca 2001.)
    """
    found = report.splits.encoded if report.splits is not None else None
    if found is None or not context.real_data:
        return
    yield Finding(
        rule="d-mean-target",
        severity=Severity.WARNING if found.told > limits.encoded_told else Severity.INFO,
        subject=f"input {found.feature}",
        section=SECTION,
        evidence={"off": found.off, "train_off": found.train_off, "told": found.told, "values": float(found.values)},
        threshold={"told": limits.encoded_told},
    )


def d_dtype(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Whole numbers go into the model, and its first layer reads them on their raw scale.

    Bytes or integers are fine where forward divides them, or where an embedding looks them up. Here the first layer
    reads values of a standard deviation above 20. A warning where the model does not work, else it informs, and so it
    does where a normalisation layer comes first. What ``d-input-scale`` is for floating-point inputs.
    """
    data, activations = report.dataset, report.activations
    if data is None or activations is None or not context.real_data or "int" not in data.dtype:
        return
    read = activations.first_input
    first = min(activations.rows, key=lambda row: row.order, default=None)
    if read is None or read.std is None or first is None or "Embedding" in first.kind:
        return
    if read.std <= limits.input_std_high or data.n_samples < limits.input_samples:
        return
    harmful = context.outcome_known and not context.outcome_ok and not data.normalised_first
    yield Finding(
        rule="d-dtype",
        severity=Severity.WARNING if harmful else Severity.INFO,
        subject=first.name,
        section=SECTION,
        evidence={"std": read.std, "min": read.min or 0.0, "max": read.max or 0.0},
        threshold={"std": limits.input_std_high},
        detail={"dtype": data.dtype},
    )


RULES = (
    d_mean_target,
    d_near_duplicates,
    near_leakage,
    d_groups_cut,
    d_windows_overlap,
    d_shortcut,
    d_filled_in,
    d_target_averaged,
    d_dtype,
)
