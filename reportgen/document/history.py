"""The structs of a training run: what was logged, what became of each parameter, and how the loop behaved.

All of it is bounded whatever the length of the run: curves are thinned (each says how many values were seen), counts
are exact. ``None`` means *not measured*.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Series(Struct, frozen=True, kw_only=True):
    """One logged scalar. A value that was not finite is None, and ``nonfinite`` counts those."""

    name: str
    axis: Literal["epoch", "step"]
    x: list[float]
    y: list[float | None]
    n: int
    """Values logged; more than len(y) when the series was thinned."""
    nonfinite: int = 0
    first_nonfinite: float | None = None
    """x of the first value that was not finite."""

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise ValueError(f"series {self.name!r} has {len(self.x)} places and {len(self.y)} values")


class Trace(Struct, frozen=True, kw_only=True):
    """A short curve of one layer or parameter, by optimizer step; at most some dozens of points."""

    x: list[float] = []
    y: list[float | None] = []

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise ValueError(f"a trace has {len(self.x)} places and {len(self.y)} values")


class ParameterRun(Struct, frozen=True, kw_only=True):
    """What became of one parameter over the run."""

    name: str
    module: str
    """Class name of the owner."""
    shape: list[int]
    is_matrix: bool
    """At least two dimensions and no embedding."""
    trainable: bool
    """``requires_grad`` when the run ended."""
    optimizer: int | None = None
    """Index in ``LoopFacts.optimizers``; None = no optimizer owns it."""
    group: int | None = None
    """Index of its parameter group in that optimizer."""
    n_steps: int = 0
    """Steps of its optimizer."""
    n_looked: int = 0
    """Steps at which its gradient and movement were measured."""
    n_grad_none: int = 0
    """Of those, steps at which it had no gradient at all."""
    n_grad_zero: int = 0
    """Of those, steps at which its gradient was exactly zero everywhere."""
    moved: float | None = None
    """‖w_end − w_start‖ / ‖w_start‖ over evenly spaced entries; None when the start was zero."""
    changed: bool | None = None
    """Whether any looked-at entry differs between the start and the end."""
    start_mean: float | None = None
    start_rms: float | None = None
    """Mean and root mean square of evenly spaced entries at the start of the run."""
    gradient_norm: Trace | None = None
    update_ratio: Trace | None = None
    """‖Δw‖/‖w‖ across real steps."""
    decay_share: float | None = None
    """Median of ‖lr·λ·w‖ / ‖Δw‖: the part of the movement that is weight decay."""
    eps_floor: float | None = None
    """Adam and kin: share of elements with √v̂ < ε at the end (elements that never had a gradient left out)."""
    stale_v: Trace | None = None
    """Adam and kin: √mean(g² / max(v̂, ε²)) at looked-at steps; far above 1 = the second moment lags behind."""
    state_nonfinite: int = 0
    """Non-finite elements of its optimizer state at the end."""


class LayerRun(Struct, frozen=True, kw_only=True):
    """Output of one layer during training steps, looked at on a schedule."""

    name: str
    kind: str
    order: int
    rectifier: bool = False
    train_calls: int = 0
    """Training steps' calls with the module in train mode, at looked-at steps."""
    eval_calls: int = 0
    """The same with the module in eval mode."""
    rms: Trace | None = None
    silent: Trace | None = None
    """Share of channels that were above zero nowhere in the looked-at batch."""


class Bars(Struct, frozen=True, kw_only=True):
    """Counts in even bins from ``low`` to ``high``, at one moment of a run."""

    x: float
    low: float
    high: float
    counts: list[int]


class HistogramRun(Struct, frozen=True, kw_only=True):
    """One distribution at several moments of the run, for a ridgeline."""

    name: str
    part: Literal["weight", "activation", "gradient", "other"]
    axis: Literal["epoch", "step"]
    moments: list[Bars]


class Event(Struct, frozen=True, kw_only=True):
    """Something that happened once, or a line of a text log."""

    kind: Literal["nonfinite", "scaler", "gap", "interrupted", "text", "note"]
    """nonfinite: a loss, gradient, activation or weight first stopped being finite. scaler: the AMP scale was halved.
    gap: the run was resumed. interrupted: an exception or Ctrl-C. text: logged by the user. note: about the reading."""
    step: int | None = None
    epoch: float | None = None
    subject: str = ""
    """'loss', or the name of a layer, parameter or series."""
    part: str = ""
    """nonfinite: 'loss', 'gradient', 'activation' or 'weight'."""
    value: float | None = None
    detail: str = ""
    """What came before it, or the text."""


class OptimizerRun(Struct, frozen=True, kw_only=True):
    """One optimizer as the run used it."""

    name: str
    """Class name."""
    n_steps: int
    settings: dict[str, float | str | bool | None] = {}
    """Of the first parameter group."""
    group_sizes: list[int] = []
    """Parameter elements of each group."""
    foreign: int = 0
    """Parameters it owns that the model does not have (made before the model was rebuilt, or another model's)."""
    label: str = ""
    """What tells it from the others in the names of curves: the part of the model that it moves, or its class."""
    first_step: int | None = None
    last_step: int | None = None
    """The steps of the run between which it stepped."""
    n_seen: int = 0
    """Looked-at steps of it before which a backward pass was seen."""
    n_joined: int = 0
    """Of those, steps that followed another optimizer's without a backward pass in between: both follow one loss."""
    passes: float | None = None
    """Mean number of backward passes that led to one of them."""
    rewritten: bool = False
    """Its parameters were written to after its last step: averaged, loaded or put back."""


class LoopFacts(Struct, frozen=True, kw_only=True):
    """How the loop treats its model and optimizers, seen from hooks."""

    optimizers: list[OptimizerRun] = []
    n_backwards_seen: int | None = None
    """Backward passes that reached a parameter in looked-at steps, and until a first step is taken: no count of all."""
    declared_accumulation: int | None = None
    backwards_per_step: float | None = None
    """Median over looked-at steps."""
    n_fresh_checked: int = 0
    """Steps at whose first backward pass it was seen whether the gradients had been cleared."""
    n_stale: int = 0
    """Of those, steps that began with the gradients of an earlier step."""
    n_followed: int = 0
    """Looked-at steps of which the gradient that arrived at the outputs was seen."""
    n_again: int = 0
    """Of those, steps after which the same gradient arrived at the same outputs again: their loss came back."""
    n_twice: int = 0
    """Of those, steps before which it arrived there more than once, and was added to itself."""
    n_asked: int = 0
    """Places of sequences of tokens at which the loss was seen to ask for a token."""
    n_asked_own: int = 0
    """Of those, places at which it was the token that stands there in the input."""
    n_asked_before: int = 0
    """Of the places asked, those before the last of their sequence."""
    n_asked_next: int = 0
    """Of those, places at which it was the token that follows."""
    n_beside: int = 0
    """Steps of optimizers that move none of the watched parameters, as that of a critic does not."""
    n_clip_checked: int = 0
    """Steps at which the gradient after backward was held against the one the optimizer got."""
    n_clipped: int = 0
    """Of those, steps where it had been made shorter."""
    clip_factor: float | None = None
    """Median of (norm used / norm computed) over the clipped steps."""
    clip_norm: float | None = None
    """Median norm used at the clipped steps: the limit."""
    n_train_steps: int = 0
    """Looked-at training steps in which modules with two modes (dropout, batch norm, ...) ran in train mode."""
    n_eval_steps: int = 0
    """Looked-at training steps in which all such modules that ran were in eval mode."""
    n_train_validations: int = 0
    """Forward passes without gradients in which such modules ran in train mode."""
    n_dropped_validations: int = 0
    """Those of them in which the model itself was in eval mode, and dropout layers alone were not."""
    n_eval_validations: int = 0
    samples_per_second: float | None = None
    wait_share: float | None = None
    """Share of the time that the loop waited for its data."""
    peak_memory_bytes: int | None = None
    scaler_first: float | None = None
    scaler_last: float | None = None
    scaler_halvings: int | None = None


class History(Struct, frozen=True, kw_only=True):
    """A training run: every scalar by epoch or step. ``train_*`` and ``val_*``; a loss is lower-is-better."""

    series: list[Series] = []
    epochs: int = 0
    steps: int = 0
    batch_size: int | None = None
    seconds: float | None = None
    optimizer: str = ""
    hyperparameters: dict[str, float | str | bool | None] = {}
    interrupted: str = ""
    """Why the run ended before its time; '' when it did not."""
    source: str = ""
    """Where it came from: 'monitor', 'fit', or the kind of file; no path."""
    loop: LoopFacts | None = None
    parameters: list[ParameterRun] = []
    layers: list[LayerRun] = []
    histograms: list[HistogramRun] = []
    events: list[Event] = []

    def get(self, name: str, axis: str | None = None) -> Series | None:
        """Return the series of that name (of that axis when given), or None."""
        return next((s for s in self.series if s.name == name and axis in (None, s.axis)), None)
