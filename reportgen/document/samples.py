"""The structs of samples and labels as such: copies, order, what neighbours in input space say of the labels."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from .stats import TensorStats


class Copies(Struct, frozen=True, kw_only=True):
    """Samples with the same input, bit for bit, found by a hash of each; beyond some ten thousand by a fair sketch."""

    seen: int
    """Samples that passed."""
    kept: int
    """Samples whose hash lies below the sketch's limit: all of them in a small set."""
    distinct: int
    """Different inputs among those kept."""
    conflicting: int
    """Samples kept whose input occurs with another target too."""
    conflicting_inputs: int | None = None
    """Different inputs among those; None in older documents."""
    repeated: int | None = None
    """Different inputs among those kept that occur more than once."""


class Twins(Struct, frozen=True, kw_only=True):
    """Samples with a near double: the nearest neighbour is at less than a fifth of the distance of the fifth nearest.

    Counted in one region of input space of which every sample is kept; equal inputs are left out.
    """

    n: int
    """Samples looked at."""
    found: int
    """Of those, samples with a near double."""
    chance: float
    """Share of samples that would have one by chance, where density is even over the nearest neighbours."""
    dimension: float
    """Of the data, by the distances of the nearest neighbours."""


class Families(Struct, frozen=True, kw_only=True):
    """Samples given that stand in a tight group of one and the same size, with others of it in the training data; or
    training samples with others of theirs."""

    n: int
    """Samples that were looked at."""
    found: int
    """Of those, samples in such a group."""
    size: int
    """Of the groups: all members, wherever they stand."""
    bound: float
    """Largest share of samples that independent draws can have in groups of this size, whatever they cluster about."""
    error: float
    """Standard error of the share, with a group counted as one."""
    dimension: float
    """Of the data, by the distances of neighbours further off."""

    @property
    def clear(self) -> bool:
        """Tell whether there are more than independent draws leave, by six standard errors."""
        return self.found > (self.bound + 6 * self.error) * self.n


class Shortcut(Struct, frozen=True, kw_only=True):
    """The single feature that tells the target best."""

    kind: Literal["classes", "numbers"]
    n: int
    feature: int
    """Place in the flattened input."""
    score: float
    """Classes: share of neighbours in the order of this feature that share their class. Numbers: squared correlation.
    """
    second: float
    """The same of the next best feature."""
    null: float
    """The best that any feature reaches with permuted targets, the highest of 20 permutations."""
    gap: float | None = None
    """Least distance between the means of classes along the feature, over the largest deviation within a class."""
    places: int | None = None
    """Places on an even lattice from its smallest to its largest value; None where values repeat or lie on none."""


class Filled(Struct, frozen=True, kw_only=True):
    """A feature that has a value for one class alone, and is empty (its commonest value) for the others."""

    feature: int
    """Place in the flattened input."""
    label: int
    filled: int
    """Samples in which it has a value."""
    inside: int
    """Of those, samples of the class."""
    of: int
    """Samples of the class."""
    n: int
    second: float = 0.0
    """``share`` of the next such feature; 0 where there is none."""

    @property
    def share(self) -> float:
        """Part of the class for which it is filled."""
        return self.inside / self.of


class Averaged(Struct, frozen=True, kw_only=True):
    """A feature that is the mean of the target and of the target at other rows, but for rounding."""

    feature: int
    """Place in the flattened input."""
    by: Literal["rows", "running", "columns"]
    """Told in the order of the file, as a window or as an exponential mean, or by columns that are the target at other
    times."""
    length: int
    """Targets in the mean; of an exponential one, 2 / weight - 1."""
    weight: float | None = None
    """Of the own target in an exponential mean."""
    before: int | None = None
    """Of those, of earlier rows; None where columns told it."""
    r2: float
    """Of the feature by the mean, or of the target by all columns."""
    without: float
    """The same by the nearest window that leaves the own target out, or without the feature."""
    n: int


class Encoded(Struct, frozen=True, kw_only=True):
    """A column that is the mean target of all rows with the same category, in both splits together."""

    feature: int
    values: int
    """Different values of the column."""
    told: float
    """Share of what means of training rows leave open of the targets given that the column tells."""
    off: float
    """Farthest that a value lies from the mean of both splits, in standard deviations of the column."""
    train_off: float
    """The same from the mean of the training rows alone."""


class Asked(Struct, frozen=True, kw_only=True):
    """The classes that a loop asked for, with inputs that are training samples as they are."""

    rows: int
    other: int
    """Inputs with which another class was asked for than the data hold."""
    unforeseen: int
    """Of those, inputs for which it was not the class that the model named."""
    mapped: int
    """Inputs with which the class was asked for that is asked for most often with theirs."""
    classes: int
    images: int
    """Different ones among the classes that are asked for most often with a class."""
    chance: float
    """Share of equal pairs of training labels."""


class Mapped(Struct, frozen=True, kw_only=True):
    """Whether targets with a value at every place have to do with what their own inputs hold at these places.

    Of each input and each map: the share of the map that a linear fit of what lies at its places explains, with what
    the place alone tells taken off.
    """

    n: int
    own: float
    """How often the own map fits an input better than that of another sample, and the own input a map: 0.5 by chance.
    """
    error: float
    """Standard deviation of that where maps are dealt out anew."""
    spread: float
    """Standard error of it where maps stand as they are."""
    placed: float
    """Share of the variance of maps that their mean at each place tells."""
    moved: float | None = None
    """Share of inputs that their own map fits best more than one place away from where it lies; None where it was not
    asked."""
    beside: float | None = None
    """What the own map is fitted by where it lies, over what it is fitted by where it fits best, the mean of both."""
    best: float | None = None
    """That at its best: the share of a map that is explained, the mean over samples."""

    @property
    def z(self) -> float:
        """Standard deviations above chance."""
        return (self.own - 0.5) / max(self.error, 1e-9)


class Sureness(Struct, frozen=True, kw_only=True):
    """Whether a simple learner is right more often where it is surer, on training samples that it was not fitted to."""

    n: int
    by: Literal["words", "columns"]
    accuracy: float
    commonest: float
    """Share of the commonest class."""
    lowest: float
    """Lowest recall of a class that is no rare one."""
    agreement: float
    """Share of the clearer half of the samples that two learners, each given one half of the input, name alike."""
    lesser: float
    """Accuracy of the lesser of these two."""
    surer: float
    """How often a right answer is surer than a wrong one."""
    error: float
    """Standard error of that (Hanley and McNeil 1982)."""


class Mixed(Struct, frozen=True, kw_only=True):
    """Inputs as the loop trained on them, of which some are two training samples mixed into one."""

    rows: int
    """Inputs that were looked at."""
    mixed: int
    judged: int
    """Mixed inputs of which both parts are more than a tenth, with different targets."""
    one: int
    """Of those, inputs that were trained towards the target of one part alone."""
    lesser: int
    """Of those, inputs that are less than two fifths of that part."""
    share: float | None = None
    """Mean share of the part whose target was asked for."""
    due: float | None = None
    """The same if the target of a part were asked for as often as its share."""
    error: float | None = None
    """Standard error of that."""
    batches: int = 0
    """Batches with three such inputs or more."""
    together: int = 0
    """Of those, batches of which all asked for the larger part, or all for the lesser."""
    together_due: float = 0.0
    """The same if the target of a part were drawn as often as its share, input by input."""
    together_error: float = 0.0


class Order(Struct, frozen=True, kw_only=True):
    """How much neighbours in the order of loading have to do with each other."""

    n: int
    """Samples in one pass."""
    same: int | None = None
    """Neighbours with the same label; None where targets are numbers."""
    expected: float | None = None
    """What a random order of these labels gives on average: sum of c(c-1)/n over class counts c."""
    mixed: float | None = None
    """Share of neighbours with the same label if each batch, as it was loaded, were in a random order of its own; None
    for fewer than 30 pairs inside of batches."""
    correlation: float | None = None
    """Correlation of neighbours, where targets are numbers."""
    one_way: float | None = None
    """Of neighbours with different targets, the share of those that go the way of most: up, or down."""
    inputs: float | None = None
    """Largest correlation of neighbours over the columns of the inputs."""


class RowPart(Struct, frozen=True, kw_only=True):
    """A stretch of rows, and how well their labels fit their inputs."""

    first: int
    last: int
    own: float | None
    """Standard deviations by which labels fit better than when they are dealt out anew within the stretch; None where
    nearly all of them are the same."""
    shift: int
    """Rows up (above 0: the label of a later row) at which labels fit best, 0 left aside."""
    shifted: float
    """The same as ``own`` of the labels there."""


class Rows(Struct, frozen=True, kw_only=True):
    """Rows in the order of their file: whether each label belongs to its row."""

    n: int
    """Rows looked at."""
    of: int
    chained: float
    """Largest correlation of any column with any column up to 8 rows on, in standard errors: below 6 rows come in no
    particular order."""
    whole: list[float]
    """How well labels fit, as ``RowPart.own``, when all of them are moved by -8 to 8 rows."""
    parts: list[RowPart]
    averaged: Averaged | None = None
    """In the order of the file."""


class Padding(Struct, frozen=True, kw_only=True):
    """The token that sequences are filled up with at their end."""

    token: int
    share: float
    """Of all positions, those that belong to a run of this token up to the end of their sequence."""


class Signal(Struct, frozen=True, kw_only=True):
    """How well the nearest neighbours of a sample tell its target, against the same with targets permuted."""

    kind: Literal["classes", "numbers"]
    n: int
    k: int
    """Neighbours asked; 0 where words were asked instead (see ``WordSample.signal``), or factors of pairs of codes (see
    ``probe.factors``)."""
    score: float
    """Classes: share of neighbours of the same class. Numbers: 1 - squared error of their mean over the variance."""
    null_mean: float
    null_std: float
    vote: float | None = None
    """Classes: share of samples whose class most of the neighbours have."""
    surface: float | None = None
    """Accuracy, or R², of a regression on columns and their products, fitted to the samples that are neighbours."""
    distance: float = 0.0
    """Median distance of a sample to its nearest neighbour, in standard deviations of the features, over the square
    root of their number."""

    @property
    def z(self) -> float:
        """Standard deviations above a permutation of the targets."""
        return (self.score - self.null_mean) / max(self.null_std, 1e-9)


class Apart(Struct, frozen=True, kw_only=True):
    """Whether inputs of the training data can be told from those of the data given."""

    n: int
    """Samples of each split."""
    area: float
    """Under the curve of a classifier that is to tell them apart, on samples it was not fitted on: 0.5 = alike."""
    neighbours: float
    """Share of the 5 nearest neighbours that come from the same split."""
    null_mean: float
    null_std: float
    """The same with the two splits mixed."""
    copies: float = 0.0
    """Share of samples with an equal one among them, which makes both larger."""
    groups: int | None = None
    """Tight groups that most samples stand in, of the split that has fewer; the classifier was tried on other ones."""


class Windows(Struct, frozen=True, kw_only=True):
    """Runs of eight time steps of the samples given, looked for at other places of training samples."""

    n: int
    """Samples given that were looked at."""
    earlier: int
    """Of those, samples with a run that stands earlier in some training sample."""
    later: int


class SplitFacts(Struct, frozen=True, kw_only=True):
    """Training data against the data given."""

    compared: int | None = None
    """Samples given that could be looked for in the training data."""
    shared: int | None = None
    """Of those, samples whose input is in the training data bit for bit."""
    shared_inputs: int | None = None
    """Different inputs among those."""
    shared_other_target: int | None = None
    """Of those, samples that never have the same target there."""
    across: Signal | None = None
    """Targets of the data given, told by their nearest neighbours in the training data."""
    training_signal: Signal | None = None
    """As ``DatasetFacts.signal`` of the training data, on as many samples as the next."""
    given_signal: Signal | None = None
    """The same of the data given."""
    twins: Twins | None = None
    """Samples given with a near double in the training data."""
    families: Families | None = None
    """Samples given whose tight groups, of one size, reach into the training data."""
    training_families: Families | None = None
    """The same of training samples among themselves."""
    apart: Apart | None = None
    halves: float | None = None
    """Share of pairs of different training samples whose even, or odd, columns agree: where it is 0, samples do not
    repeat by chance."""
    dimension: float | None = None
    """Of the training inputs, where some samples are in both: see ``Twins.dimension``."""
    by_chance: float | None = None
    """Samples that would be equal to one of the training samples by chance, for each one drawn: see
    ``probe.repeats``. None where inputs are no measurements."""
    windows: Windows | None = None
    """Windows of one recording in both; of series in floating point."""
    encoded: Encoded | None = None
    redrawn: float | None = None
    """Share of some training samples that were another at a second reading: they are augmented. None where samples
    cannot be asked for by place."""
    turned: dict[str, float] = {}
    """Share of some training samples that were mirrored, turned or negated at a second reading, by the kind of turn."""
    torn: int = 0
    """Of these, samples whose image was turned and whose map was not, or the other way round."""
    torn_of: int = 0
    """Samples of which that could be told."""


class Example(Struct, frozen=True, kw_only=True):
    """One sample that is shown. Its place is its number in the order of loading, from 0."""

    index: int
    reason: Literal["worst", "confident", "typical"]
    """The highest losses; the mistakes made with the highest confidence; samples drawn by a hash of their place, which
    are the same from run to run."""
    loss: float
    target: str
    prediction: str
    confidence: float | None = None
    """Of the class named."""
    shape: list[int] = []
    """Of the first input, without the batch."""
    row: list[float] = []
    """The input, where it is a row of a table: the first ten of more than 16 numbers."""
    tokens: list[int] = []
    """The first 48 of the input, where it is a sequence of whole numbers."""
    text: str = ""
    """What the batch carries of it in words."""


class TensorRow(Struct, frozen=True, kw_only=True):
    """One tensor of the batches: an input or a target."""

    name: str
    """The argument, or its number; of a target the entry, or 'target'."""
    role: Literal["input", "target"]
    shape: str
    """In the first batch."""
    dtype: str
    stats: TensorStats
    sampled: bool = False
    """Of large ones at most a million values a batch were looked at, at even places."""


class TargetCounts(Struct, frozen=True, kw_only=True):
    """How often each class of one target occurs, or how many samples have each of several labels."""

    name: str
    kind: Literal["classes", "labels"]
    counts: list[int]
    n: int
    """Samples, or positions of sequences and maps."""


class TokenInputs(Struct, frozen=True, kw_only=True):
    """The whole numbers of an input of sequences."""

    n: int
    distinct: int
    commonest: list[tuple[int, int]]
    """(token, times), at most eight."""
