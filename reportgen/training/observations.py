"""What a watched run writes down, one line each: plain structs, and the counters that go with them.

Both the memory of a running monitor and a journal read back are made from these, in the same order. A number is None
where it was not finite; ``NOTHING`` (-1) stands where there was nothing to measure: no gradient, a start at zero.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from ..document.history import Event, OptimizerRun
from .recorder import Axis

JOURNAL_VERSION = 1  # 1: the first format
NOTHING = -1.0

Setting = float | str | bool | None


class Session(Struct, tag="session", kw_only=True, omit_defaults=True):
    """The head of a journal, and of every part that was appended to it."""

    version: int
    pid: int = 0
    started: float = 0.0
    """Seconds since 1970."""
    source: str = "monitor"
    hyperparameters: dict[str, Setting] = {}
    accumulation: int | None = None
    from_step: int | None = None
    """The step that the weights come from with which this session goes on; what was logged beyond it led nowhere."""
    from_epoch: float | None = None


class Row(Struct, tag="row", kw_only=True, omit_defaults=True):
    """Scalars that were logged together, once."""

    axis: Axis
    x: float
    values: dict[str, float | None]


class Rows(Struct, tag="rows", kw_only=True):
    """Scalars that were logged by step, several times the same ones: a column for each name."""

    x: list[float]
    values: dict[str, list[float | None]]


class ParameterEntry(Struct, kw_only=True, omit_defaults=True):
    """Who a parameter is, and who owns it."""

    name: str
    module: str = ""
    shape: list[int] = []
    is_matrix: bool = False
    trainable: bool = True
    optimizer: int | None = None
    group: int | None = None


class Parameters(Struct, tag="parameters", kw_only=True, omit_defaults=True):
    """The parameters in the order that later lines refer to, and the optimizers; written again when they change."""

    entries: list[ParameterEntry]
    optimizers: list[OptimizerRun] = []


class LayerEntry(Struct, kw_only=True, omit_defaults=True):
    name: str
    kind: str
    rectifier: bool = False


class Layers(Struct, tag="layers", kw_only=True, omit_defaults=True):
    """The layers in the order that later lines refer to."""

    entries: list[LayerEntry]


class Gradients(Struct, tag="gradients", kw_only=True, omit_defaults=True):
    """Norm of the gradient of each parameter at a looked-at step; ``at`` holds places in the table of parameters."""

    step: int
    at: list[int]
    norms: list[float | None]


class Movement(Struct, tag="movement", kw_only=True, omit_defaults=True):
    """What one optimizer step did to the parameters ``at``."""

    step: int
    at: list[int]
    ratios: list[float | None]
    decay: list[float | None] = []
    """‖lr·λ·w‖ / ‖Δw‖; empty where the optimizer has no such part."""
    stale_v: list[float | None] = []


class Outputs(Struct, tag="outputs", kw_only=True, omit_defaults=True):
    """Outputs of the layers ``at`` in one training step."""

    step: int
    at: list[int]
    rms: list[float | None]
    silent: list[float | None]
    train: list[int]
    eval: list[int]


class Bars(Struct, kw_only=True):
    """One distribution at one moment."""

    name: str
    part: Literal["weight", "activation", "gradient", "other"]
    low: float
    high: float
    counts: list[int]


class Portrait(Struct, tag="portrait", kw_only=True):
    step: int
    bars: list[Bars]


class Clip(Struct, tag="clip", kw_only=True):
    """One step whose gradient was shortened between backward and step: factor = used / computed."""

    step: int
    factor: float
    norm: float


class Happening(Struct, tag="event", kw_only=True):
    event: Event


class Standing(Struct, kw_only=True, omit_defaults=True):
    """A parameter as it is now, against its start."""

    at: int
    trainable: bool = True
    moved: float | None = None
    changed: bool | None = None
    start_mean: float | None = None
    start_rms: float | None = None
    eps_floor: float | None = None
    state_nonfinite: int = 0


class Standings(Struct, tag="standings", kw_only=True):
    rows: list[Standing]
    optimizers: list[OptimizerRun]


class Turns(Struct, kw_only=True, omit_defaults=True):
    """How the steps of one optimizer lie among those of the others."""

    first: int = 0
    last: int = 0
    """The steps of the run between which it stepped."""
    seen: int = 0
    """Looked-at steps before which a backward pass was seen."""
    joined: int = 0
    """Of those, steps that came after another optimizer's without a backward pass in between."""
    passes: int = 0
    """Backward passes that led to them."""
    rewritten: bool = False
    """Its parameters were written to since its last step."""


class Tally(Struct, kw_only=True):
    """Exact counts over the run so far."""

    steps: int = 0
    optimizer_steps: list[int] = []
    turns: list[Turns] = []
    """Of each optimizer."""
    backwards: int = 0
    """Seen in looked-at steps, and in the one that is not done."""
    backwards_of_step: dict[int, int] = {}
    """How many of the looked-at steps had so many backward passes."""
    fresh_checked: int = 0
    stale: int = 0
    followed: int = 0
    """Looked-at steps of which the gradient that arrived at the outputs was seen."""
    again: int = 0
    """Of those, steps after which the same gradient arrived at these outputs once more."""
    twice: int = 0
    """Of those, steps before which it arrived twice, and was added to itself."""
    asked: list[int] = []
    """Places of tokens that one was asked for at, in looked-at steps, and those asked for their own; places before the
    last of their sequence, and those asked for the next."""
    beside: int = 0
    """Steps of optimizers that move none of the watched parameters."""
    clip_checked: int = 0
    clipped: int = 0
    train_steps: int = 0
    eval_steps: int = 0
    train_validations: int = 0
    dropped_validations: int = 0
    eval_validations: int = 0
    batch_size: int | None = None
    samples: int = 0
    """Seen in the steps that ``stepping`` covers."""
    stepping: float = 0.0
    """Seconds from one step to the next, validation left out."""
    seconds: float = 0.0
    waited: float = 0.0
    """Seconds that ``batches`` waited for the loader."""
    looping: float = 0.0
    """Seconds that ``batches`` lasted."""
    peak_memory: int | None = None
    scale_first: float | None = None
    scale_last: float | None = None
    halvings: int = 0


class Counters(Struct, tag="counters", kw_only=True):
    tally: Tally


class End(Struct, tag="end", kw_only=True):
    """The last line of a session; without it the process was killed or still runs."""

    interrupted: str = ""


Observation = (
    Session
    | Row
    | Rows
    | Parameters
    | Layers
    | Gradients
    | Movement
    | Outputs
    | Portrait
    | Clip
    | Happening
    | Standings
    | Counters
    | End
)
