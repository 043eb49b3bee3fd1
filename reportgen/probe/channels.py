"""What is kept of one layer's outputs while batches stream by: fixed-size sums by channel, on the layer's own device.

A tensor is seen as (B, M, C, S): samples, places before the channel, channels, places behind. Of every tensor the sums,
the largest and the smallest values and what is not finite are taken exactly. Everything else (squares, zeros, the
histogram) comes from the same places of every sample: ``SAMPLE`` values of each, all of them where a sample has no
more. The places depend on the shape of one sample alone, so it makes no difference how the samples are cut in batches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..document.stats import N_BINS, Histogram, TensorStats
from .reduce import bin_index, count_bins, histogram_of

SAMPLE = 1024  # values taken of each sample; the cost of a hook stays flat in the size of the output
GLANCE = 4  # places of each channel and sample that are enough where exact figures stand elsewhere
_BLOCK = 1 << 18  # values that are reduced several ways while they lie in the processor's cache
_SHORT = 128  # places: reducing shorter rows one by one is slow, so samples are folded first
_SAFE = 1e30  # sums below it hold no infinity, no NaN and nothing near either
_MAX_LAYOUTS = 32

_Figures = tuple[Tensor, Tensor | None, Tensor]  # sums, smallest and largest; the smallest may be left out


class Layout(NamedTuple):
    """How one sample lies, and which of its values are taken."""

    before: int
    channels: int
    behind: int
    picked: Tensor | None
    """(P·C,) indices into a flat sample, channel fastest; None where the flat sample is just that already."""

    @property
    def size(self) -> int:
        """Values of one sample."""
        return self.before * self.channels * self.behind

    @property
    def crowded(self) -> bool:
        """Most of a sample is left out, and yet ``GLANCE`` places of each channel are taken."""
        return self.picked is not None and self.channels * GLANCE <= len(self.picked) <= self.size // 8


class Reduced(NamedTuple):
    """Exact figures of one tensor: sums (B, C) of each sample, or of all (1, C); extremes (C,) of all."""

    sums: Tensor
    low: Tensor
    high: Tensor


class Range(NamedTuple):
    """Extremes (C,) of one tensor, known from the tensor that it was made of."""

    low: Tensor
    high: Tensor


def layout_of(shape: torch.Size, dim: int, device: torch.device) -> Layout:
    """Lay out samples of ``shape`` (B, ...) with their channels along ``dim`` (1 or more; 0 for a lone vector)."""
    if len(shape) <= 1:
        return Layout(1, math.prod(shape) if shape else 1, 1, None)
    before, channels, behind = math.prod(shape[1:dim]), shape[dim], math.prod(shape[dim + 1 :])
    places = before * behind
    taken = min(places, max(1, SAMPLE // max(channels, 1)))
    if taken == places and behind == 1:
        return Layout(before, channels, behind, None)
    # Each channel begins at another place, so that a few places a channel still see the whole of the map.
    step, hop = places // taken, int(places * 0.618) | 1
    place = torch.arange(taken).unsqueeze(1) * step + torch.arange(channels).unsqueeze(0) * hop
    place = torch.arange(taken).unsqueeze(1).expand_as(place) if taken == places else place % places
    index = (place // behind * channels + torch.arange(channels)) * behind + place % behind
    return Layout(before, channels, behind, index.reshape(-1).to(device))


class Seen(NamedTuple):
    """What was seen of one tensor as it went by."""

    layout: Layout
    samples: int
    flat: Tensor | None
    """The tensor itself, (B, M·C·S), for measures that want a second look; None once it was let go."""
    reduced: Reduced
    """Of the finite values."""
    taken: Tensor
    """(B·P, C)"""
    calm: bool
    """All of it is known to be finite."""

    def let_go(self) -> Seen:
        """Return the same without the tensor, and without views of it: it may be written into from here on."""
        lay, reduced, taken = self.layout, self.reduced, self.taken
        if lay.picked is None:
            taken = taken.clone()
            if lay.before == 1 and self.calm:  # a sample is one value a channel, its sums are the values themselves
                reduced = reduced._replace(sums=taken)
        return self._replace(flat=None, reduced=reduced, taken=taken)


class ChannelAccumulator:
    """Sums, counts and extremes by channel over any number of tensors of one layer.

    State: float64 vectors of length C and a few scalars, on the device. ``rectified`` says that no value is below
    zero, which saves a look at the smallest and makes the sum of a sample tell whether the channel fired on it.
    """

    def __init__(self, n_channels: int, device: torch.device, *, rectified: bool = False) -> None:
        def filled(value: float) -> Tensor:
            return torch.full((n_channels,), value, dtype=torch.float64, device=device)

        self.n_channels = n_channels
        self.rectified = rectified
        self.glanced = False
        """Sums and extremes are of the values taken, some of them at least."""
        self.n_samples = self.n_batches = self.count = self.n_taken = 0
        self.sums, self.fired = filled(0.0), filled(0.0)
        self.low = torch.full((n_channels,), math.inf, device=device)  # in the precision of what comes
        self.high = torch.full((n_channels,), -math.inf, device=device)
        self.moments = torch.zeros((2, n_channels), dtype=torch.float64, device=device)
        """Of the values taken: sums, sums of squares."""
        self.nonfinite = torch.zeros(3, dtype=torch.int64, device=device)  # NaN, +inf, -inf
        self.taken_nonfinite = torch.zeros((), dtype=torch.int64, device=device)
        self.bins = torch.zeros(N_BINS, dtype=torch.int64, device=device)
        self._layouts: dict[tuple[torch.Size, int], Layout] = {}

    def update(self, x: Tensor, dim: int, known: Range | None = None) -> None:
        """Look at one output and add it."""
        seen = self.look(x, dim, known)
        if seen is not None:
            self.add(seen)

    def look(self, x: Tensor, dim: int, known: Range | None = None, *, glance: bool = False) -> Seen | None:
        """Take from one output all that needs the tensor, samples along dimension 0 and channels along ``dim``.

        ``known``: what need not be looked for, where it follows from another tensor. ``glance``: sums and extremes too
        come from the values taken, where enough of them are. Returns None of an empty tensor.
        Between the layers of a network every small operation is dear, for the layers have driven its code and data out
        of the caches; so the rest waits for ``add``, and many layers are added in a row.
        """
        if not x.numel():
            return None
        x, dim = in_memory_order(x, dim)
        lay = self._layout(x, dim)
        samples = x.shape[0] if x.dim() > 1 else 1
        flat = x.reshape(samples, -1).contiguous()  # a part of a larger tensor has gaps between its samples
        taken = take(flat, lay)
        if x.device.type != "cpu":
            # a look at the sums would wait for the device, so every tensor takes the careful way
            return Seen(lay, samples, flat, self._careful(flat, lay, None), taken, False)
        self.glanced |= (glanced := glance and lay.crowded)
        if glanced:
            sums, low, high = _estimate(taken, lay)
        elif known is not None:
            sums, low, high = _sums(flat, lay), known.low, known.high
        else:
            sums, low, high = _reduce(flat, lay, not self.rectified)
        calm = abs(float(sums.sum())) < _SAFE
        if not calm:
            return Seen(lay, samples, flat, self._careful(flat, lay, sums), taken, False)
        reduced = Reduced(sums, _low_of_rectified(flat, taken) if low is None else low, high)
        return Seen(lay, samples, flat, reduced, taken, True)

    def add(self, seen: Seen) -> None:
        """Add what was seen of one output; the tensor itself may be gone."""
        add_all([(self, seen)])

    def _layout(self, x: Tensor, dim: int) -> Layout:
        key = (x.shape[1:] if x.dim() > 1 else x.shape, dim)
        known = self._layouts.get(key)
        if known is None:
            if len(self._layouts) >= _MAX_LAYOUTS:  # sequences of every length: do not keep a map for each
                self._layouts.clear()
            known = self._layouts[key] = layout_of(x.shape, dim, x.device)
        return known

    def _careful(self, flat: Tensor, lay: Layout, sums: Tensor | None) -> Reduced:
        """Count what is not finite and put it out; sums that hold none of it stay as they are."""
        x = flat.double() if flat.device.type == "cpu" else flat.float()
        self.nonfinite += torch.stack([x.isnan().sum(), (x == math.inf).sum(), (x == -math.inf).sum()])
        finite = torch.isfinite(x)
        rows = (len(flat), lay.before, lay.channels, lay.behind)
        careful = x.where(finite, 0.0).reshape(rows).sum((1, 3)).double()
        return Reduced(
            careful if sums is None else sums.double().where(sums.abs() < _SAFE, careful),
            x.where(finite, math.inf).reshape(rows).amin((0, 1, 3)),
            x.where(finite, -math.inf).reshape(rows).amax((0, 1, 3)),
        )

    def merge(self, other: ChannelAccumulator) -> None:
        """Add another part of the same layer's outputs."""
        if other.n_channels != self.n_channels:
            raise ValueError(f"{other.n_channels} channels do not merge with {self.n_channels}")
        for name in ("sums", "moments", "fired", "nonfinite", "taken_nonfinite", "bins"):
            getattr(self, name).add_(getattr(other, name))
        self.glanced |= other.glanced
        self.low, self.high = torch.minimum(self.low, other.low), torch.maximum(self.high, other.high)
        for name in ("n_samples", "n_batches", "count", "n_taken"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def whole(self) -> bool:
        """Nothing was left out: all figures are exact."""
        return self.n_taken == self.count

    def variances(self) -> Tensor:
        """Return the variance of each channel over the values taken, (C,)."""
        sums, squares = self.moments / max(self.n_taken // max(self.n_channels, 1), 1)
        return torch.clamp(squares - sums.square(), min=0.0)

    @property
    def zeros(self) -> int:
        """Zeros among the values taken. What lies below 2^-129 shares their bins, and counts too where any zero may be:
        to compare every value once more would cost as much as the whole histogram."""
        reached = bool(((self.low <= 0) & (self.high >= 0)).any())
        return int(self.bins[0] + self.bins[N_BINS // 2]) if reached else 0

    def _histogram(self) -> Histogram | None:
        counts = histogram_of(self.bins, max(1, round(self.count / self.n_taken)) if self.n_taken else 1)
        return counts if counts.bins or not self.count else None

    def stats(self) -> TensorStats:
        """Return the whole layer's statistics; what was taken stands for the rest."""
        nan, pos_inf, neg_inf = self.nonfinite.tolist()
        finite, taken = self.count - nan - pos_inf - neg_inf, self.n_taken - int(self.taken_nonfinite)
        total, squares = self.moments.sum(1).tolist()
        m2 = max(squares - total * total / taken, 0.0) / taken * finite if taken and math.isfinite(squares) else 0.0
        zeros = self.zeros
        share = zeros / self.n_taken if self.n_taken else 0.0
        return TensorStats(
            count=self.count,
            nan=nan,
            pos_inf=pos_inf,
            neg_inf=neg_inf,
            zeros=zeros if self.whole else min(round(share * self.count), finite),
            sum=float(self.sums.sum()),
            m2=m2,
            min=_finite(float(self.low.min())) if self.n_channels else None,
            max=_finite(float(self.high.max())) if self.n_channels else None,
            histogram=self._histogram(),
        )


def add_all(held: Sequence[tuple[ChannelAccumulator, Seen]]) -> None:
    """Add many outputs to their layers; what is the same for every value is done for all of them at once."""
    for group in _alike(held):
        _add_alike([accumulator for accumulator, _ in group], [seen for _, seen in group])


def _alike(held: Sequence[tuple[ChannelAccumulator, Seen]]) -> Iterator[list[tuple[ChannelAccumulator, Seen]]]:
    """Cut into groups that may lie side by side in one tensor, and hold no layer twice."""
    groups: dict[tuple[torch.dtype, torch.device, int], dict[int, tuple[ChannelAccumulator, Seen]]] = {}
    for one in held:
        accumulator, seen = one
        group = groups.setdefault((seen.taken.dtype, seen.taken.device, len(seen.reduced.sums)), {})
        if id(accumulator) in group:
            yield list(group.values())
            group.clear()
        group[id(accumulator)] = one
    for group in groups.values():
        yield list(group.values())


def _add_alike(layers: list[ChannelAccumulator], seen: list[Seen]) -> None:
    """Add one output to each layer. Calls of torch are what this costs, so layers lie side by side in one tensor."""
    sizes, widths = [one.taken.numel() for one in seen], [layer.n_channels for layer in layers]
    flat = torch.cat([one.taken.reshape(-1) for one in seen])
    wide = flat.new_empty((2, len(flat)), dtype=torch.float64)
    wide[0] = flat
    if not all(one.calm for one in seen):
        finite = torch.isfinite(flat)
        wide[0].masked_fill_(finite.logical_not(), 0.0)
        for layer, part in zip(layers, torch.split(finite, sizes), strict=True):
            layer.taken_nonfinite += part.logical_not().sum()
    torch.mul(wide[0], wide[0], out=wide[1])
    parts = zip(torch.split(wide, sizes, 1), widths, strict=True)
    moments = torch.cat([part.view(2, -1, width).sum(1) for part, width in parts], 1)
    moments += torch.cat([layer.moments for layer in layers], 1)
    sums = torch.cat([one.reduced.sums for one in seen], 1)
    fired = torch.cat([layer.fired for layer in layers]).add_((sums > 0).sum(0))
    sums = torch.cat([layer.sums for layer in layers]).add_(sums.sum(0, dtype=torch.float64))
    high = torch.maximum(torch.cat([layer.high for layer in layers]), torch.cat([one.reduced.high for one in seen]))
    low = torch.minimum(torch.cat([layer.low for layer in layers]), torch.cat([one.reduced.low for one in seen]))
    figures = (torch.split(moments, widths, 1), *(torch.split(x, widths) for x in (sums, fired, low, high)))
    index = torch.split(bin_index(flat), sizes)
    for layer, one, size, binned, *new in zip(layers, seen, sizes, index, *figures, strict=True):
        layer.bins += count_bins(binned)
        layer.moments, layer.sums, layer.fired, layer.low, layer.high = new
        layer.n_samples += one.samples
        layer.n_batches += 1
        layer.count += one.samples * one.layout.size
        layer.n_taken += size


def in_memory_order(x: Tensor, dim: int) -> tuple[Tensor, int]:
    """Return x as it lies in memory, channels last where they are: flattening it is then no copy."""
    if x.dim() == 4 and dim == 1 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        return x.permute(0, 2, 3, 1), 3
    if x.dim() == 5 and dim == 1 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last_3d):
        return x.permute(0, 2, 3, 4, 1), 4
    return x, dim


def take(flat: Tensor, lay: Layout) -> Tensor:
    """Return the values taken of every sample: (B·P, C), float32 or float64."""
    values = flat if lay.picked is None else flat.index_select(1, lay.picked)
    values = values.reshape(-1, lay.channels)
    return values if values.dtype in (torch.float32, torch.float64) else values.float()


def _reduce(flat: Tensor, lay: Layout, lower: bool) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return the sums, smallest and largest of (B, M·C·S), exactly; ``lower`` asks for the smallest too."""
    samples, channels = len(flat), lay.channels
    if lay.behind == 1:
        x = flat.view(samples, lay.before, channels)
        if lay.before == 1:
            rows = x.view(samples, channels)
            return (_wide(rows), rows.amin(0) if lower else None, rows.amax(0))
        parts = torch.split(x, 1) if samples > 1 and x[0].numel() > _BLOCK // 8 else (x,)
        seen = [(_sum(p, 1), p.amin((0, 1)) if lower else None, p.amax((0, 1))) for p in parts]
        if len(seen) == 1:
            return seen[0]
        low = torch.stack([p[1] for p in seen if p[1] is not None]).amin(0) if lower else None
        return (torch.cat([p[0] for p in seen]), low, torch.stack([p[2] for p in seen]).amax(0))
    if lay.before > 1:
        x = flat.view(samples, lay.before, channels, lay.behind)
        return (_sum(x, (1, 3)), x.amin((0, 1, 3)) if lower else None, x.amax((0, 1, 3)))
    if lay.behind < _SHORT and samples > 2:
        sums = _sum(flat.view(-1, lay.behind), 1)
        low = flat.amin(0).view(channels, lay.behind).amin(1) if lower else None
        return (sums.view(samples, channels), low, flat.amax(0).view(channels, lay.behind).amax(1))
    return _reduce_rows(flat.view(-1, lay.behind), channels, lower=lower)


def _estimate(taken: Tensor, lay: Layout) -> _Figures:
    """Return sums, smallest and largest as the values taken tell them."""
    few = taken.view(-1, len(lay.picked) // lay.channels if lay.picked is not None else 1, lay.channels)
    return few.sum(1) * (lay.before * lay.behind / few.shape[1]), taken.amin(0), taken.amax(0)


def _sums(flat: Tensor, lay: Layout) -> Tensor:
    """Return the sums (B, C) of each sample alone."""
    if lay.behind == 1:
        x = flat.view(len(flat), lay.before, lay.channels)
        return _wide(x[:, 0]) if lay.before == 1 else _sum(x, 1)
    if lay.before == 1:
        return _sum(flat.view(-1, lay.behind), 1).view(len(flat), lay.channels)
    return _sum(flat.view(len(flat), lay.before, lay.channels, lay.behind), (1, 3))


def _reduce_rows(rows: Tensor, channels: int, *, lower: bool) -> _Figures:
    """Reduce (B·C, S) block by block: the first look at a block brings it into the cache, the others find it there."""
    if rows.numel() <= 2 * _BLOCK:
        low = rows.amin(1).view(-1, channels).amin(0) if lower else None
        return (_sum(rows, 1).view(-1, channels), low, rows.amax(1).view(-1, channels).amax(0))
    step = max(1, _BLOCK // rows.shape[1])
    sums = rows.new_empty(len(rows), dtype=_width(rows))
    lows, highs = (rows.new_empty(len(rows)) if lower else None), rows.new_empty(len(rows))
    for start in range(0, len(rows), step):
        part, place = rows[start : start + step], slice(start, start + step)
        torch.sum(part, 1, dtype=sums.dtype, out=sums[place])
        torch.amax(part, 1, out=highs[place])
        if lows is not None:
            torch.amin(part, 1, out=lows[place])
    return (
        sums.view(-1, channels),
        None if lows is None else lows.view(-1, channels).amin(0),
        highs.view(-1, channels).amax(0),
    )


def _low_of_rectified(flat: Tensor, taken: Tensor) -> Tensor:
    """Return the smallest value taken of each channel; zero is the end of the scale, so one zero makes it exact."""
    low = taken.amin(0)
    return low if float(low.min()) == 0.0 else torch.minimum(low, flat.min())


def _width(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def _sum(x: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    return x.sum(dim, dtype=_width(x))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
