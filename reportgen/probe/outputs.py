"""What is kept of each layer while batches stream by, and the rows that it becomes."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..document.facts import ActivationRow, ChannelFacts, NormRow
from ..document.stats import merge_all
from ..subject.shapes import whole
from .channels import ChannelAccumulator
from .derived import affine_of, before_norm
from .layers import AFFINE, BOUNDED, FLAT_END, NORMS, bypassed, kind_of
from .norms import norm_row
from .shape import Concentration, Saturation
from .spread import MAX_WIDTH, Spread

CONSTANT_RANGE = 1e-3  # of the layer's standard deviation: below it a channel says the same to every sample
DORMANT = 0.025
_EXAMPLES = 16
_PUSHED = 5.0  # times rms(Wx): a normal sum reaches beyond it once in two million


@dataclass
class Channels:
    """One call of a layer."""

    exact: ChannelAccumulator
    spread: Spread | None
    saturation: Saturation | None = None
    concentration: Concentration | None = None


@dataclass
class Layer:
    """What is known of one layer while batches stream by."""

    name: str
    module: nn.Module
    rectified: bool = False
    functional: bool = False
    time_first: bool = False
    """Its sequences lie (time, samples, features)."""
    order: int | None = None
    calls: int = 0
    calls_in_batch: int = 0
    shape: str = ""
    parts: dict[int, Channels] = field(default_factory=dict)
    trouble: str = ""
    ignored: bool = False
    norm: Layer | None = None
    """The batch norm that reads its output, as far as the order of registration tells."""
    linked: bool = False
    """That norm did read it, so that its figures tell those of this layer."""
    derived: bool = False
    broken: ChannelAccumulator | None = None
    """Counts of what was not finite in outputs that the norm told of otherwise."""
    activated: bool = False
    """An activation follows, as far as the order of registration tells."""
    is_norm: bool = False
    own_channels: bool = False
    """Its kind alone says where its channels lie: ``dims`` keeps where, by the number of dimensions."""
    dims: dict[int, int] = field(default_factory=dict)
    glance: bool = False
    """A few places of its output are enough."""


def new_part(layer: Layer, n_channels: int, x: Tensor) -> Channels:
    module = layer.module
    bounds = None if layer.functional else BOUNDED.get(type(module))
    # between a convolution, its norm and its activation one look is enough, behind the last
    followed = layer.norm is not None or layer.activated
    maps = x.dim() == 4 and (layer.functional or not isinstance(module, (*AFFINE, *NORMS)))
    return Channels(
        ChannelAccumulator(n_channels, x.device, rectified=layer.rectified),
        Spread(n_channels, x.device) if 1 < n_channels <= MAX_WIDTH and not followed else None,
        None if bounds is None else Saturation(n_channels, bounds, x.device),
        Concentration() if maps else None,
    )


def add_told_by_norm(layer: Layer) -> None:
    """Give a layer that a norm tells about its figures."""
    norm, layer.linked = layer.norm if layer.linked else None, False
    if norm is None or 0 not in norm.parts or not isinstance(norm.module, _BatchNorm):
        return
    affine, behind = affine_of(norm.module), norm.parts[0].exact
    if affine is None or len(affine.gain) != behind.n_channels:
        layer.trouble = "the norm behind it changed during the pass"
        return
    if layer.parts:  # measured by itself in some passes, told of in others: the parts cannot be told apart
        layer.trouble = "the norm behind it read it in some passes only; the figures are of the others"
        return
    layer.derived = True
    told = before_norm(behind, affine)
    if layer.broken is not None:
        told.nonfinite, told.taken_nonfinite = layer.broken.nonfinite, behind.taken_nonfinite
    layer.parts[0] = Channels(told, None)
    layer.shape = layer.shape or norm.shape


def norm_row_of(layer: Layer) -> NormRow | None:
    if not isinstance(layer.module, _BatchNorm) or len(layer.parts) != 1 or 0 not in layer.parts:
        return None
    return norm_row(layer.name, layer.module, layer.parts[0].exact)


def is_rectified(row: ActivationRow) -> bool:
    return row.stats.min == 0.0 and row.stats.zeros > 0 and not _are_flags(row)


def _are_flags(row: ActivationRow) -> bool:
    """Tell whether all that is not 0 has one value, in several channels: a code of one column for each, or a mask.

    By the inequality of Cauchy and Schwarz the square of a sum is n times the sum of squares only then.
    """
    stats = row.stats
    n, squares = stats.count - stats.zeros, stats.m2 + stats.sum**2 / stats.count
    firing = [channels.n_channels - channels.silent > 1 for channels in row.channels]
    return n > 0 and any(firing) and abs(n * squares - stats.sum**2) <= 1e-6 * stats.sum**2


def row_of(layer: Layer, model: nn.Module) -> ActivationRow:
    parts = sorted(layer.parts.items())
    stats = {call: part.exact.stats() for call, part in parts}
    kind, glanced = kind_of(layer.module), any(part.exact.glanced for _, part in parts)
    saturated = [part.saturation for _, part in parts if part.saturation is not None]
    concentrated = [c for _, p in parts if p.concentration is not None and (c := p.concentration.share()) is not None]
    spreads = [part.spread.facts(part.exact.variances()) for _, part in parts[:1] if part.spread is not None]
    seen = sum(s.n for s in saturated)
    return ActivationRow(
        name=layer.name,
        kind="function" if layer.functional else kind,
        order=layer.order or 0,
        calls=layer.calls,
        shape=layer.shape,
        stats=merge_all(stats.values()),
        channels=[] if glanced else [_channels(call, part, stats[call].std, layer) for call, part in parts],
        rectifier=layer.rectified,
        bypassed=bypassed(layer.name.removesuffix(" (input)"), model),
        functional=layer.functional,
        derived=layer.derived,
        sampled=any(not part.exact.whole for _, part in parts),
        glanced=glanced,
        spread=spreads[0] if spreads else None,
        saturated_share=sum(s.share() * s.n for s in saturated) / seen if seen else None,
        concentration=sum(concentrated) / len(concentrated) if concentrated else None,
    )


def _channels(call: int, part: Channels, std: float | None, layer: Layer) -> ChannelFacts:
    """Fold channel vectors to counts. A silent channel was never above zero; a constant one hardly moves."""
    seen = part.exact
    silent = seen.high <= 0
    constant = (seen.high - seen.low <= CONSTANT_RANGE * (std or 0.0)) & ~silent
    enough = seen.n_samples > 1
    idle = dormant = None
    flat = None if layer.functional else FLAT_END.get(type(layer.module))
    if flat is not None:
        below = seen.high <= (flat if isinstance(layer.module, nn.Softplus) else 0.0)
        idle = int((below & (seen.low >= -flat)).sum())
    if layer.rectified and seen.n_channels:
        dormant = int((seen.sums <= DORMANT * seen.sums.mean()).sum())
    fired = layer.rectified and seen.n_samples and seen.n_channels
    off, on = _pushed(seen, layer)
    reach, channel = _reach(seen)
    return ChannelFacts(
        call=call,
        n_channels=seen.n_channels,
        n_samples=seen.n_samples,
        n_batches=seen.n_batches,
        silent=int(silent.sum()),
        silent_examples=silent.nonzero().flatten()[:_EXAMPLES].tolist(),
        constant=int(constant.sum()) if enough else 0,
        constant_examples=constant.nonzero().flatten()[:_EXAMPLES].tolist() if enough else [],
        fired_share=float(seen.fired.mean()) / seen.n_samples if fired else None,
        dormant=dormant,
        idle=idle,
        pushed_off=off,
        pushed_on=on,
        reach=reach,
        reach_channel=channel,
        saturated=None if part.saturation is None else part.saturation.units(),
    )


def _pushed(seen: ChannelAccumulator, layer: Layer) -> tuple[int | None, int | None]:
    """Count units whose bias lies below -5 rms(Wx), and those above 5: E[(y - b)^2] = E[y^2] - 2 b E[y] + b^2."""
    bias = getattr(layer.module, "bias", None)
    if layer.functional or not isinstance(layer.module, AFFINE) or not isinstance(bias, Tensor) or bias.is_meta:
        return None, None
    b = whole(bias.detach()).double().to(seen.moments.device)
    taken = seen.n_taken / max(seen.n_channels, 1)
    if not taken or len(b) != seen.n_channels or bool(seen.taken_nonfinite):
        return None, None
    mean, squares = seen.moments / taken
    rest = (squares - 2 * b * mean + b.square()).clamp(min=0.0)
    extreme = b.square() > _PUSHED**2 * rest
    return int((extreme & (b < 0)).sum()), int((extreme & (b > 0)).sum())


def _reach(seen: ChannelAccumulator) -> tuple[float | None, int | None]:
    """Return how far the farthest channel reaches, of the median channel that is not zero throughout, and its place."""
    far = torch.maximum(seen.low.abs(), seen.high.abs())
    living = far[far > 0]
    if len(living) < 2 or not bool(torch.isfinite(far).all()):
        return None, None
    return float(far.max() / living.median()), int(far.argmax())
