"""The structs of how good a model is on data: counts, scores with their intervals, curves, examples."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from .samples import Example
from .stats import TensorStats

Task = Literal["multiclass", "binary", "multilabel", "regression", "tokens", "segmentation"]
"""One class of several; yes or no; several yes-or-no answers; numbers; a class for each position of a sequence; a class
for each place of a map."""


class Score(Struct, frozen=True, kw_only=True):
    """One figure of merit with its 95 % interval."""

    name: str
    """As scikit-learn and torchmetrics call it: 'accuracy', 'mcc', 'roc_auc', ..."""
    value: float
    low: float | None = None
    high: float | None = None
    baseline: float | None = None
    """What the best constant answer reaches on the same data."""


class OutputFacts(Struct, frozen=True, kw_only=True):
    """What the model's outputs look like, to hold against what the loss expects."""

    min: float
    max: float
    row_sum_error: float | None
    """Largest |sum of a row − 1|; None for outputs without a class dimension."""
    log_sum_exp_error: float | None
    """Largest |logsumexp of a row|: 0 for log-probabilities."""
    cross_entropy: float | None = None
    """Cross-entropy of the outputs taken as logits, on the same data; of one output as logit or probability."""
    same_shape: bool = True
    """Outputs and targets have the same shape, where a regression loss would broadcast them."""
    probabilities: bool | None = None
    """Outputs were taken as probabilities: all lay in [0, 1], and those of exclusive classes summed to 1."""


class Classification(Struct, frozen=True, kw_only=True):
    classes: list[str]
    confusion: list[list[int]]
    """Rows are true classes, columns predictions."""

    def __post_init__(self) -> None:
        if any(len(row) != len(self.confusion) or any(n < 0 for n in row) for row in self.confusion):
            raise ValueError("a confusion matrix is square and counts")


class LabelCounts(Struct, frozen=True, kw_only=True):
    """Answers to one of several yes-or-no questions, a probability above one half being a yes."""

    label: str
    tp: int
    fp: int
    fn: int
    tn: int


class Curve(Struct, frozen=True, kw_only=True):
    """How well a score parts one class from the rest, from counts of scores in fixed bins."""

    label: str
    positives: int
    negatives: int
    auc: float
    """Area under the ROC curve; scores in one bin count as ties."""
    auc_low: float
    auc_high: float
    """DeLong, DeLong and Clarke-Pearson 1988; of a perfect separation, Wilson's interval for as many of the rarer."""
    average_precision: float
    ap_low: float
    ap_high: float
    """On the scale of log-odds (Boyd, Eng and Page 2013)."""
    points: list[tuple[float, int, int]] = []
    """(threshold as a probability, true positives, false positives), the highest threshold first."""
    sweep: list[tuple[float, int, int]] = []
    """The same at even thresholds."""
    best: tuple[float, int, int] | None = None
    """The same where F1 is highest."""


class Calibration(Struct, frozen=True, kw_only=True):
    """Confidence against frequency. Of exclusive classes it is that of the class named, else that of yes."""

    n: int
    bins: list[tuple[int, float, int]]
    """(answers, sum of confidences, of those right or yes), about as many answers in each, confidence ascending."""
    ece: float
    """Expected calibration error over these bins (Naeini, Cooper and Hauskrecht 2015)."""
    ece_null: float
    """What perfect calibration gives on average at these counts, sum over bins of sqrt(2 var / pi)."""
    ece_null_std: float
    nll: float
    brier: float | None
    """Exclusive classes: squared errors summed over classes. Else of p(yes)."""
    baseline_nll: float
    """Entropy of the answers: what their frequencies reach when they are always named."""
    baseline_brier: float | None
    temperature: float | None = None
    """Divisor of the logits at which the NLL is lowest on these data (Guo et al. 2017)."""
    temperature_nll: float | None = None


class TargetScore(Struct, frozen=True, kw_only=True):
    """One of several numbers that are predicted."""

    name: str
    n: int
    r2: float | None
    mae: float
    rmse: float
    std: float
    """Of the targets."""
    bias: float


class Decile(Struct, frozen=True, kw_only=True):
    """Samples of one tenth of the range of targets, by rank."""

    low: float
    high: float
    n: int
    mae: float
    bias: float


class Regression(Struct, frozen=True, kw_only=True):
    r2: float | None
    """Of several targets their mean."""
    mae: float
    mse: float
    target: TensorStats
    residual: TensorStats
    """Prediction minus target."""
    sample: list[tuple[float, float]] = []
    """(target, prediction) of samples drawn by a hash of their place, in their order; at most 400."""
    standardised: bool = False
    """There are several targets, and ``sample``, ``deciles`` and ``spread_correlation`` are of their values less the
    mean of the target, in its standard deviations."""
    targets: list[TargetScore] = []
    """One a target, where there are several."""
    deciles: list[Decile] = []
    """Of at most 2000 samples drawn in the same way."""
    spread_correlation: float | None = None
    """Rank correlation of |residual| with the prediction, over the same."""


class TokenScores(Struct, frozen=True, kw_only=True):
    """Scores of a class for each position. Perplexity is exp(nll)."""

    n_tokens: int
    n_ignored: int
    nll: float
    """Mean over tokens, in nats."""
    entropy: float
    """Of the frequencies of the targets: the NLL of always naming these."""
    vocabulary: int
    seen: int
    """Different targets."""
    shifted: bool = False
    """Targets equal the inputs, so the output at each position was held against the next target."""
    by_position: list[tuple[int, int, float]] = []
    """(first position, tokens, mean NLL), for 0, 1, 2 to 3, 4 to 7, ..."""


class RegionScore(Struct, frozen=True, kw_only=True):
    """Overlap of one class over all places: IoU = I / U, Dice = 2 I / (I + U)."""

    label: str
    intersection: int
    union: int
    iou: float | None
    low: float | None = None
    high: float | None = None
    """Of the IoU, from its spread over samples."""
    samples: int = 0
    """With this class in truth or prediction."""


class Slice(Struct, frozen=True, kw_only=True):
    """Samples that share a value of what the batch carries beside inputs and targets."""

    key: str
    value: str
    n: int
    score: float
    """Accuracy of classes; else mean loss of a sample."""
    low: float
    high: float


class EvaluationFacts(Struct, frozen=True, kw_only=True):
    """One head of a model on the data given; of several heads each has its own, under ``heads``."""

    task: Task | Literal["several"]
    n_samples: int
    loss: float | None = None
    outputs: OutputFacts | None = None
    classification: Classification | None = None
    regression: Regression | None = None
    scores: list[Score] = []
    labels: list[LabelCounts] = []
    curves: list[Curve] = []
    """Of at most six classes, those with the lowest areas."""
    calibration: Calibration | None = None
    tokens: TokenScores | None = None
    regions: list[RegionScore] = []
    examples: list[Example] = []
    slices: list[Slice] = []
    slice_score: Literal["accuracy", "loss", ""] = ""
    ignored: int = 0
    """Answers left out: target outside of the classes or marked as ignored, or output not a number."""
    heads: dict[str, EvaluationFacts] = {}
    remarks: list[str] = []
    """What could not be evaluated, and why."""

    def score(self, name: str) -> Score | None:
        """Return a score by its name."""
        return next((s for s in self.scores if s.name == name), None)
