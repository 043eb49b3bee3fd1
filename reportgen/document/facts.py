"""The structs that a report is made of.

Facts are plain data: text and numbers, no HTML, no tensors. ``None`` means *not measured*, never zero. Time, host and
paths stand in ``Meta`` and nowhere else, so that the same model measured twice gives the same facts.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from .attention import AttentionFacts
from .course import Course
from .deployment import DeploymentFacts, InferenceTimes
from .evaluation import Classification as Classification
from .evaluation import EvaluationFacts as EvaluationFacts
from .evaluation import OutputFacts as OutputFacts
from .evaluation import Regression as Regression
from .findings import Diagnosis as Diagnosis
from .findings import Finding as Finding
from .findings import RuleSettings, Scorecard, Waived
from .findings import Severity as Severity
from .flow import FlowFacts
from .history import History
from .hub import HubConfig
from .matrices import EmbeddingFacts, GainFacts, GateFacts, MatrixFacts, ShapeFacts
from .pictures import PictureFacts
from .samples import (
    Asked,
    Averaged,
    Copies,
    Filled,
    Mapped,
    Mixed,
    Order,
    Padding,
    Rows,
    Shortcut,
    Signal,
    SplitFacts,
    Sureness,
    TargetCounts,
    TensorRow,
    TokenInputs,
    Twins,
)
from .states import OptimizerState
from .stats import TensorStats
from .trials import Trial, TrialFacts


class Meta(Struct, frozen=True, kw_only=True):
    """Where and when the report was made: the only place for time, host and paths."""

    created: str = ""
    """UTC, ISO 8601."""
    command: str = ""
    sources: dict[str, str] = {}
    """What was read: 'model', 'checkpoint', 'data', ... -> target or path."""
    versions: dict[str, str] = {}
    machine: str = ""
    device: str = ""
    seconds: dict[str, float] = {}
    """Cost of each part of the measuring, and 'total'."""
    commit: str = ""
    """Of the project in whose folder it was made, and whether its files were changed."""
    options: dict[str, str] = {}
    """Settings that differ from the usual ones, and the seed."""
    hashes: dict[str, str] = {}
    """Fingerprints of what was read, SHA-256: 'checkpoint', 'first batch'."""
    inference: InferenceTimes | None = None
    process: int = 0
    """Which of the processes that examined the model together made this report; the first one's is written."""
    processes: int = 1
    sections: list[str] = []
    """Those that the page shows; empty: all."""
    language: str = "en"
    """In which it is shown unless another one is asked for; the facts are the same in all."""


class Coverage(Struct, frozen=True, kw_only=True):
    """One row of what was measured and what was not."""

    part: str
    status: Literal["measured", "partial", "not measured"]
    reason: str = ""
    failed: bool = False
    """It was tried and went wrong, as against not asked for or not possible."""


class SubjectFacts(Struct, frozen=True, kw_only=True):
    """What was examined, and with what."""

    name: str
    kind: Literal["model", "checkpoint", "run"]
    """run: a history alone."""
    inputs: Literal["real", "synthetic", "none"] = "none"
    state: Literal["untrained", "trained", "unknown"] = "unknown"
    n_batches: int = 0
    n_samples: int = 0
    input_shapes: list[str] = []
    loss: str | None = None
    optimizer: str | None = None
    wrappers: list[str] = []
    """What was taken off the model before it was examined: DataParallel, torch.compile, ..."""
    in_eval: bool | None = None
    """The model was handed over in eval mode."""


class LayerRow(Struct, frozen=True, kw_only=True):
    """One module. Parameters are its own, not its children's; a tied tensor counts at its first owner only."""

    name: str
    """Dotted path in the model; '' is the model itself."""
    kind: str
    """Class name."""
    depth: int
    is_leaf: bool
    parameters: int
    trainable: int
    input_shape: str | None = None
    output_shape: str | None = None
    calls: int | None = None
    """Calls in one forward pass; 0 = never executed."""
    flops: int | None = None
    """Of one forward pass over the probed batch, this module alone with its children."""
    mult_adds: int | None = None
    """As torchinfo counts them, for the same pass; None where it could not follow the model."""
    parameter_bytes: int | None = None
    gradient_bytes: int | None = None
    """Of the gradients that a backward pass stores for the trainable parameters."""
    output_bytes: int | None = None
    """Outputs of all calls in the pass; one that was changed in place, or is a view, counts as any other."""
    packed: int = 0
    """Elements of weights that a quantised module packed away: no parameters for PyTorch."""
    packed_bytes: int = 0
    used: bool | None = None
    """Called, or something inside it was, or its parameters were read by another module (attention reads its output
    projection so)."""


class ArchitectureFacts(Struct, frozen=True, kw_only=True):
    """Structure and size. Bytes are of the tensors as they are stored now."""

    rows: list[LayerRow]
    parameters: int
    """Elements of distinct storages: a tied tensor counts once."""
    trainable: int | None
    """None for a file of weights, which does not say."""
    buffers: int
    parameter_bytes: int
    buffer_bytes: int
    dtypes: dict[str, int] = {}
    """Parameter elements by dtype."""
    tied: list[list[str]] = []
    """Names that share one tensor."""
    batch_size: int | None = None
    """Of the pass that shapes, FLOPs and sizes below refer to."""
    flops: int | None = None
    """Whole forward pass; a multiplication and an addition count as two."""
    mult_adds: int | None = None
    activation_bytes: int | None = None
    """Outputs of all leaf modules of one pass: about what training keeps for the backward pass."""
    gradient_bytes: int | None = None
    """Of the gradients of all trainable parameters."""
    packed: int = 0
    """Elements of weights packed away by quantised modules; not in ``parameters``."""
    packed_bytes: int = 0
    peak_bytes: int | None = None
    """Most bytes alive at once of the tensors that operators returned in the pass, without gradients. Parameters,
    buffers and the input are not in it, nor is what an operator uses and frees inside."""
    peak_at: str | None = None
    """The module that was running then."""
    uncounted: list[str] = []
    """Operators or modules with no FLOP formula: their work is not in ``flops``."""
    flow: FlowFacts | None = None
    """Which layer reads what which other made, in the same pass."""


class WeightRow(Struct, frozen=True, kw_only=True):
    """One parameter tensor."""

    name: str
    module: str
    """Class name of the owner; '' when only a file is at hand."""
    shape: list[int]
    dtype: str
    role: Literal["weight", "bias", "norm", "embedding", "other"]
    trainable: bool | None
    in_optimizer: bool | None = None
    """None when no optimizer was given."""
    tied_to: str | None = None
    """First name of the same tensor; statistics stand there."""
    fan_in: int | None = None
    before_norm: bool = False
    """A normalisation layer follows, so the scale of this weight has no effect on the function."""
    at_default_init: bool | None = None
    """Cannot be told from PyTorch's default initialisation U(±1/sqrt(fan_in)); None where that cannot be tested."""
    stats: TensorStats | None = None
    kind: str = ""
    """What the layer is for, told from names and shapes: 'attention query', 'convolution', ..."""
    distribution: ShapeFacts | None = None
    matrices: list[MatrixFacts] = []
    """The matrix in a weight, or the matrices where several are stacked."""
    gains: GainFacts | None = None
    embedding: EmbeddingFacts | None = None
    smoothness: float | None = None
    """Correlation of neighbouring weights within kernels of 5x5 and larger."""
    smoothness_null: float | None = None
    """Its standard deviation for independent weights."""
    radius: float | None = None
    """Spectral radius of the recurrent weight of a plain recurrent layer: by how much a state grows each step."""
    gates: list[GateFacts] = []
    """Of an LSTM or GRU, at its recurrent weight."""


class BufferRow(Struct, frozen=True, kw_only=True):
    """One buffer that ought to be finite."""

    name: str
    shape: list[int]
    dtype: str
    stats: TensorStats | None = None


class BrokenTie(Struct, frozen=True, kw_only=True):
    """Two parameters that the configuration says are one."""

    embedding: str
    head: str
    difference: float
    """Norm of their difference over the norm of the first."""


class WeightFacts(Struct, frozen=True, kw_only=True):
    rows: list[WeightRow]
    buffers: list[BufferRow] = []
    optimizers: list[OptimizerState] = []
    ties_broken: list[BrokenTie] = []
    """That a checkpoint holds beside the weights."""
    config: HubConfig | None = None
    """What the configuration beside the file says."""
    course: Course | None = None
    """The same weights in earlier checkpoints, when they were given."""
    flags: dict[str, bool] = {}
    """Modules that carry an attribute ``requires_grad`` which not one of their parameters has."""


class ChannelFacts(Struct, frozen=True, kw_only=True):
    """Per-channel facts of one call of a layer, folded to counts. A channel is a unit of a dense layer too."""

    call: int
    n_channels: int
    n_samples: int
    n_batches: int
    silent: int
    """Channels that were above zero on no sample, at no position."""
    silent_examples: list[int] = []
    constant: int
    """Channels whose range over everything seen is below 1e-3 of the layer's standard deviation, and not silent."""
    constant_examples: list[int] = []
    fired_share: float | None = None
    """Mean over channels of the share of samples on which the channel was above zero somewhere; rectified outputs."""
    dormant: int | None = None
    """Channels whose mean is at most 0.025 of the layer's mean (Sokar et al. 2023), silent ones included; of rectified
    outputs."""
    idle: int | None = None
    """Channels that never leave the flat end of a smooth rectifier (GELU, SiLU, ...), where its slope is below 1e-3."""
    pushed_off: int | None = None
    """Units of an affine layer whose bias is below -5 rms(Wx): hardly any input brings them above zero."""
    pushed_on: int | None = None
    """The same above zero."""
    reach: float | None = None
    """Largest magnitude of any channel over the median channel's, channels that are zero throughout left out."""
    reach_channel: int | None = None
    saturated: int | None = None
    """Channels of a bounded activation (tanh, sigmoid, ...) with more than 95 % of their values near an end."""


class SpreadFacts(Struct, frozen=True, kw_only=True):
    """How many directions the channels of a layer span, and whether batches differ: from one vector a sample, the mean
    over places. Covariances come from a random sketch of fixed size."""

    n_samples: int
    n_batches: int
    participation: float
    """(trace of the covariance)^2 / trace of its square: the number of directions that share the variance."""
    participation_null: float
    """The same for independent channels at this number of samples: C·N / (C + N)."""
    mean_r2: float | None
    """Mean squared correlation between channels, weighted by their variances."""
    mean_r2_null: float | None
    """Of independent channels: 1 / (N − 1)."""
    drift: float | None = None
    """Median over channels of F = variance between batch means, times the batch size, / variance within batches: 1 for
    batches drawn alike."""


class ActivationRow(Struct, frozen=True, kw_only=True):
    """Output of one layer over all batches, all its calls together."""

    name: str
    kind: str
    order: int
    """Place in the order of first execution."""
    calls: int
    """Calls over the whole pass."""
    shape: str
    """Of the first output seen."""
    stats: TensorStats
    channels: list[ChannelFacts] = []
    rectifier: bool = False
    """The layer's output is that of a ReLU: zero where it does not fire."""
    bypassed: bool = False
    """A skip connection runs past this layer, so silence here does not cut the path."""
    functional: bool = False
    """Not a module's output but what a layer reads, made by a function (``F.relu``) that no hook sees."""
    derived: bool = False
    """Worked back from the batch norm that reads it, to float32 rounding; there is no histogram."""
    sampled: bool = False
    """Deviation, norm, zeros and quantiles come from even places of every sample, the rest from every value."""
    glanced: bool = False
    """Every figure comes from such places, extremes too, and channels are not told of: a norm whose activation is
    measured in full, and the layer that such a norm tells about."""
    spread: SpreadFacts | None = None
    saturated_share: float | None = None
    """Values of a bounded activation near one of its ends: |tanh| > 0.97, sigmoid outside 0.03 to 0.97."""
    concentration: float | None = None
    """(sum of energy over places)^2 / (number of places · sum of squared energy): 1 where energy is spread evenly over
    the map, 1 / places where it sits in one."""


class NormRow(Struct, frozen=True, kw_only=True):
    """Running statistics of a batch norm against those of the data that passed it (medians over channels)."""

    name: str
    n_channels: int
    n_samples: int
    batches_tracked: int | None
    at_default: bool = False
    """Running mean 0 and variance 1 exactly: as made, never updated."""
    mean_gap: float
    """|mean of data − running mean| / sqrt(running var + eps)."""
    log_var_gap: float
    """|ln((var of data + eps) / (running var + eps))|."""
    tiny_var: int | None = None
    """Channels whose running variance is below 10 eps, though their gain is none of the smallest."""


class LayerNormRow(Struct, frozen=True, kw_only=True):
    """The variance that enters a layer norm, over a few rows of every sample."""

    name: str
    n_rows: int
    eps: float
    tiny: int
    """Rows whose variance is below 10 eps: the norm multiplies noise there."""


class BlockRow(Struct, frozen=True, kw_only=True):
    """A module whose output has the shape of its input: how far it moves what passes."""

    name: str
    kind: str
    order: int
    change: float
    """rms(output − input) / rms(input), over places taken of every sample. With a skip connection inside, output −
    input is the branch."""


class AttentionRow(Struct, frozen=True, kw_only=True):
    """Attention recomputed from projected queries and keys, on a few queries of one sample a batch. By head."""

    name: str
    n_queries: int
    causal: bool
    entropy: list[float]
    """Mean over queries of entropy / ln(visible keys): 0 looks at one key, 1 at all alike."""
    logit_std: list[float]
    """Mean over queries of the standard deviation of the logits over visible keys."""
    logit_max: float
    """Largest |logit|."""
    mask_known: bool = True
    """False: the mask, if any, is not to be seen from the module, and all keys were taken as visible."""


class ActivationFacts(Struct, frozen=True, kw_only=True):
    mode: Literal["eval", "train"]
    n_batches: int
    n_samples: int
    rows: list[ActivationRow]
    norms: list[NormRow] = []
    layer_norms: list[LayerNormRow] = []
    blocks: list[BlockRow] = []
    attention: list[AttentionRow] = []
    first_input: TensorStats | None = None
    """What the first executed layer read: the model's input after whatever forward does to it before."""
    not_executed: list[str] = []
    training_only: list[str] = []
    """Layers that no pass in eval mode executed, but whose parameters got gradients in training mode."""
    exact: list[str] = []
    """Columns taken from every value; in rows marked ``sampled`` the others come from evenly spread places."""
    reasons: list[str] = []
    """What could not be measured, and why."""
    remarks: list[str] = []
    """Attention that was not recomputed, and why."""


class GradientRow(Struct, frozen=True, kw_only=True):
    """Gradient of one parameter over the probed batches."""

    name: str
    module: str
    order: int | None
    """Place of the owner in the order of execution; None = never executed."""
    is_matrix: bool
    """At least two dimensions and no embedding, so that it takes part in the profile over depth."""
    requires_grad: bool
    n_none: int
    """Batches whose graph did not reach this parameter."""
    n_zero: int
    """Batches whose gradient was exactly zero everywhere."""
    stats: TensorStats | None = None
    """Over all elements and batches; rms = norm / sqrt(numel)."""


class OutputGradientRow(Struct, frozen=True, kw_only=True):
    """Gradient of the loss in the output of one layer; ``stats`` are of evenly spaced places of large outputs."""

    name: str
    kind: str
    order: int
    stats: TensorStats


class GradientFacts(Struct, frozen=True, kw_only=True):
    loss: str
    mode: Literal["train", "eval"]
    n_batches: int
    n_samples: int
    rows: list[GradientRow]
    outputs: list[OutputGradientRow] = []
    loss_values: list[float | None] = []
    """One a batch; None = not finite."""
    fallback: str = ""
    """Why the pass did not run in training mode as it should have."""


class FeatureStats(Struct, frozen=True, kw_only=True):
    """One channel or feature of the input: moments, extremes, non-finite values over all positions and samples."""

    index: int
    stats: TensorStats


class DatasetFacts(Struct, frozen=True, kw_only=True):
    """The data that the model was given."""

    n_samples: int
    n_batches: int
    shape: str
    dtype: str
    features: list[FeatureStats] = []
    """Channels of images, columns of tables; at most 64, then one for all together."""
    integer_valued: bool | None = None
    normalised_first: bool = False
    """The first layer that the input meets is a normalisation layer."""
    class_counts: list[int] | None = None
    target_dtype: str | None = None
    target: TensorStats | None = None
    target_classes: int | None = None
    """Different values among the first targets, up to 64 of them, where each sample has one target."""
    label_min: int | None = None
    label_max: int | None = None
    """Extremes of integer targets, those that a loss ignores (-100) left out."""
    copies: Copies | None = None
    order: Order | None = None
    padding: Padding | None = None
    signal: Signal | None = None
    twins: Twins | None = None
    shortcut: Shortcut | None = None
    filled: Filled | None = None
    averaged: Averaged | None = None
    """By columns."""
    mapped: Mapped | None = None
    sureness: Sureness | None = None
    mixed: Mixed | None = None
    """As a monitor saw them go into the model."""
    asked: Asked | None = None
    """As a monitor saw it in the gradient of the outputs."""
    rows: Rows | None = None
    tensors: list[TensorRow] = []
    """Of a batch, inputs first; at most 24."""
    targets: list[TargetCounts] = []
    """Of each target that counts."""
    tokens: TokenInputs | None = None


class Report(Struct, frozen=True, kw_only=True):
    """One examined model. A part that is None was not measured; ``coverage`` says why."""

    format_version: int
    title: str
    meta: Meta
    subject: SubjectFacts
    coverage: list[Coverage] = []
    architecture: ArchitectureFacts | None = None
    weights: WeightFacts | None = None
    activations: ActivationFacts | None = None
    attention: AttentionFacts | None = None
    """Of the first sample."""
    gradients: GradientFacts | None = None
    training: History | None = None
    dataset: DatasetFacts | None = None
    evaluation: EvaluationFacts | None = None
    train_dataset: DatasetFacts | None = None
    """The training data, when they were given beside."""
    train_evaluation: EvaluationFacts | None = None
    """The same model on its training data, in eval mode."""
    splits: SplitFacts | None = None
    """The training data against the data given."""
    deployment: DeploymentFacts | None = None
    """Whether the model can be exported."""
    trials: TrialFacts | None = None
    """Experiments on a copy of the model."""
    pictures: PictureFacts | None = None
    tokens: dict[str, str] = {}
    """Names of tokens that occur in the report, by their number, where names were given."""
    findings: list[Finding] = []
    diagnoses: list[Diagnosis] = []
    waived: list[Waived] = []
    """Findings that the project accepts: they prove no diagnosis and count for no verdict."""
    rules: dict[str, RuleSettings] = {}
    """What the project set for single rules; all others are as they come."""
    thresholds: dict[str, float] = {}
    """Thresholds that were set for all rules at once."""
    scorecard: Scorecard | None = None
    """How the rules that judged did where the truth is known; None = not measured."""

    @property
    def verdict(self) -> Severity | None:
        """The worst severity among the diagnoses, never an average; None when there is none."""
        return max((d.severity for d in self.diagnoses), key=lambda s: s.rank, default=None)

    def tried(self, name: str) -> Trial | None:
        """Return an experiment that was made; None when there were none, or this one was skipped."""
        return self.trials.done(name) if self.trials is not None else None
