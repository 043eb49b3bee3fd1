"""What is kept of one layer's outputs while batches stream by: fixed-size sums by channel, on the layer's own device.

Of every tensor the sums, the largest and the smallest values and what is not finite are taken exactly. Everything else
(squares, zeros, the histogram) comes from the same places of every sample: ``SAMPLE`` values of each, all of them where
a sample has no more. The places depend on the shape of one sample alone, so it makes no difference how the samples are
cut in batches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..document.stats import N_BINS, Histogram, TensorStats
from . import tally
from .places import Layout, Reduced, in_memory_order, layout_of, reduce, sums_alone, take, wide
from .reduce import bin_index, count_bins, histogram_of
from .tally import Tally

_SAFE = 1e30  # sums below it hold no infinity, no NaN and nothing near either
_MAX_LAYOUTS = 32
_TOGETHER = 16  # layers whose histograms are counted at once: so many still lie in the processor's cache


class Range(NamedTuple):
    """Extremes (any, C) of one tensor, known from the tensor that it was made of."""

    low: Tensor
    high: Tensor


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
    plain: bool = False
    """The values taken are all there are, one a channel and sample, and nobody has looked at them yet."""

    @property
    def n_kept(self) -> int:
        """Values that stay when the tensor is let go."""
        sums, low, high = self.reduced
        kept = self.taken.numel() + (0 if sums is None else sums.numel())
        return kept + (0 if low is None else low.numel()) + (0 if high is None else high.numel())

    @property
    def sums(self) -> Tensor:
        """Sums of each sample (B, C)."""
        if self.reduced.sums is not None:
            return self.reduced.sums
        few = self.taken.view(self.samples, -1, self.taken.shape[1])
        return few.sum(1) * (self.layout.before * self.layout.behind / few.shape[1])

    @property
    def stands_for(self) -> float:
        """Values of the output for each one taken."""
        return self.samples * self.layout.size / self.taken.numel()

    def let_go(self) -> Seen:
        """Return the same without the tensor, and without views of it: it may be written into from here on."""
        lay, samples, flat, reduced, taken, calm, plain = self
        if flat is None:
            return self
        if lay.picked is None:
            taken = taken.clone()
            if lay.before == 1 and calm:  # the sums are the values themselves
                reduced = Reduced(taken, reduced.low, reduced.high)
        return Seen(lay, samples, None, reduced, taken, calm, plain)


class _Row:
    """Layers that are added together."""

    def __init__(self, tally: Tally, widths: list[int]) -> None:
        self.tally, self.widths = tally, widths
        first = torch.arange(0, len(widths) * N_BINS, N_BINS, dtype=torch.int32)
        self.first_bins = first.repeat_interleave(torch.tensor(widths))
        """Where the bins of each channel's layer begin."""


class ChannelAccumulator:
    """Sums, counts and extremes by channel over any number of tensors of one layer.

    State: float64 vectors of length C and a few scalars, on the device. ``rectified`` says that no value is below
    zero, which saves a look at the smallest and makes the sum of a sample tell whether the channel fired on it.
    """

    def __init__(self, n_channels: int, device: torch.device, *, rectified: bool = False) -> None:
        self.n_channels = n_channels
        self.rectified = rectified
        self.glanced = False
        """Sums and extremes are of the values taken, some of them at least."""
        self.n_samples = self.n_batches = self.count = self.n_taken = 0
        self.tally = tally.new(n_channels, device)
        self.row: tuple[_Row, int] | None = None
        """The layers that were added together with this one last, and its place among them."""
        self.nonfinite = torch.zeros(3, dtype=torch.int64, device=device)  # NaN, +inf, -inf
        self.taken_nonfinite = torch.zeros((), dtype=torch.int64, device=device)
        self._plain = Layout(1, n_channels, 1, None)
        self._layouts: dict[tuple[torch.Size, int], Layout] = {}
        self._last: tuple[torch.Size, int, Layout | None] = (torch.Size(), 0, None)

    def update(self, x: Tensor, dim: int, known: Range | None = None) -> None:
        """Look at one output and add it."""
        seen = self.look(x, dim, known)
        if seen is not None:
            self.add(seen)

    def look(
        self, x: Tensor, dim: int, known: Range | None = None, *, glance: bool = False, later: bool = False
    ) -> Seen | None:
        """Take from one output all that needs the tensor, samples along dimension 0 and channels along ``dim``.

        ``known``: what need not be looked for, where it follows from another tensor. ``glance``: extremes too come from
        the values taken, and so do sums where enough of them are. ``later``: an output of one value a channel and
        sample is only taken, and looked at when it is added. Returns None of an empty tensor.
        Between the layers of a network every small operation is dear, for the layers have driven its code and data out
        of the caches; so the rest waits for ``add``, and many layers are added in a row.
        """
        if not x.numel():
            return None
        samples = x.shape[0] if x.dim() > 1 else 1
        if later and x.is_cpu and x.numel() == samples * self.n_channels:
            taken = wide(x.reshape(samples, -1).clone())
            return Seen(self._plain, samples, None, Reduced(None, None, None), taken, True, True)
        if x.is_contiguous():
            flat = x.view(samples, -1)
        else:
            x, dim = in_memory_order(x, dim)
            # a part of a larger tensor has gaps between its samples
            flat = x.view(samples, -1) if x.is_contiguous() else x.reshape(samples, -1).contiguous()
        lay = self._layout(x.shape, dim, x.device)
        if not x.is_cpu:
            # a look at the sums would wait for the device, so every tensor takes the careful way
            return Seen(lay, samples, flat, self._careful(flat, lay, None), take(flat, lay), False)
        glance = glance and lay.mostly_left_out
        self.glanced |= glance
        if glance:
            reduced = Reduced(None if lay.crowded else sums_alone(flat, lay), None, None)
        elif known is not None:
            reduced = Reduced(sums_alone(flat, lay), known.low, known.high)
        else:
            reduced = reduce(flat, lay, lower=not self.rectified)
        taken = take(flat, lay)  # of a small output, after it was brought into the cache
        calm = abs((taken if reduced.sums is None else reduced.sums).sum().item()) < _SAFE
        if not calm:
            reduced = self._careful(flat, lay, reduced.sums)
        elif self.rectified and reduced.low is None and taken.min().item() != 0.0:
            # zero is the end of the scale, so one zero among the values taken makes their smallest exact
            reduced = reduced._replace(low=torch.minimum(taken.amin(0, keepdim=True), flat.min()))
        return Seen(lay, samples, flat, reduced, taken, calm)

    def settled(self, seen: Seen) -> Seen:
        """Look at an output that was only taken, and is not all finite perhaps."""
        calm = abs(seen.taken.sum().item()) < _SAFE
        reduced = seen.reduced if calm else self._careful(seen.taken, seen.layout, seen.taken)
        return seen._replace(reduced=reduced, calm=calm, plain=False)

    def add(self, seen: Seen) -> None:
        """Add what was seen of one output; the tensor itself may be gone."""
        add_all([(self, seen)])

    def _layout(self, shape: torch.Size, dim: int, device: torch.device) -> Layout:
        last, last_dim, known = self._last
        if known is None or last != shape or last_dim != dim:
            key = (shape[1:] if len(shape) > 1 else shape, dim)
            known = self._layouts.get(key)
            if known is None:
                if len(self._layouts) >= _MAX_LAYOUTS:  # sequences of every length: do not keep a map for each
                    self._layouts.clear()
                known = self._layouts[key] = layout_of(shape, dim, device)
            self._last = (shape, dim, known)
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
            x.where(finite, math.inf).reshape(rows).amin((0, 1, 3)).unsqueeze(0),
            x.where(finite, -math.inf).reshape(rows).amax((0, 1, 3)).unsqueeze(0),
        )

    def merge(self, other: ChannelAccumulator) -> None:
        """Add another part of the same layer's outputs."""
        if other.n_channels != self.n_channels:
            raise ValueError(f"{other.n_channels} channels do not merge with {self.n_channels}")
        self.tally.merge(other.tally)
        self.nonfinite += other.nonfinite
        self.taken_nonfinite += other.taken_nonfinite
        self.glanced |= other.glanced
        for name in ("n_samples", "n_batches", "count", "n_taken"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def moments(self) -> Tensor:
        """Of the values taken: sums, sums of squares, (2, C)."""
        return self.tally.figures[:2]

    @property
    def sums(self) -> Tensor:
        return self.tally.figures[2]

    @property
    def fired(self) -> Tensor:
        """Samples on which each channel of a rectifier was above zero; of no meaning for other layers."""
        return self.tally.figures[3]

    @property
    def low(self) -> Tensor:
        return self.tally.figures[4]

    @property
    def high(self) -> Tensor:
        return self.tally.figures[5]

    @property
    def bins(self) -> Tensor:
        return self.tally.bins[0]

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
    for layers, rounds in _alike(held):
        _add_alike(layers, rounds)


def _alike(
    held: Sequence[tuple[ChannelAccumulator, Seen]],
) -> Iterator[tuple[list[ChannelAccumulator], list[tuple[Seen, ...]]]]:
    """Cut into groups that may lie in one tensor: layers side by side, their batches (rounds) beneath each other."""
    by_layer: dict[int, dict[object, list[tuple[ChannelAccumulator, Seen]]]] = {}
    for one in held:  # a value taken stands for as many in all rounds of a layer: they are of one layout
        of_layer = by_layer.setdefault(id(one[0]), {})
        of_layer.setdefault((_form(one[1]), id(one[1].layout)), []).append(one)
    groups: dict[object, list[list[tuple[ChannelAccumulator, Seen]]]] = {}
    for of_layer in by_layer.values():
        for nth, rounds in enumerate(of_layer.values()):  # no group holds a layer twice
            groups.setdefault((_form(rounds[0][1]), len(rounds), nth), []).append(rounds)
    for group in groups.values():
        for start in range(0, len(group), _TOGETHER):
            columns = group[start : start + _TOGETHER]
            yield [rounds[0][0] for rounds in columns], list(zip(*([s for _, s in r] for r in columns), strict=True))


def _form(seen: Seen) -> tuple[object, ...]:
    rows = [None if figure is None else figure.shape[0] for figure in seen.reduced]
    return (seen.taken.dtype, seen.taken.device, seen.taken.shape[0], *rows, seen.plain, seen.calm)


def _add_alike(layers: list[ChannelAccumulator], rounds: list[tuple[Seen, ...]]) -> None:
    """Add outputs to each layer. Calls of torch are what this costs, so all of them lie in one tensor."""
    first = rounds[0][0]
    taken = _joined([_joined([one.taken for one in seen], 1) for seen in rounds], 0)  # (rounds·B·P, all channels)
    values = taken.to(torch.float64, copy=True)
    if not first.calm:
        finite = torch.isfinite(taken)
        values.masked_fill_(finite.logical_not(), 0.0)
        for layer, part in zip(layers, torch.split(finite, [layer.n_channels for layer in layers], 1), strict=True):
            layer.taken_nonfinite += part.logical_not().sum()
    added = values.new_empty((4, taken.shape[1]))
    total, squares, of_all, fired = added.unbind()
    torch.sum(values, 0, out=total)
    if first.plain and not abs(total.sum().item()) < _SAFE:
        settled = [(layer, layer.settled(one)) for seen in rounds for layer, one in zip(layers, seen, strict=True)]
        return add_all(settled)
    torch.sum(values.square_(), 0, out=squares)
    sums, low, high = (_laid_out(rounds, figure) for figure in range(3))
    if sums is not None:
        torch.sum(sums, 0, dtype=torch.float64, out=of_all)
    else:
        of_all.copy_(total)
        for one, part in zip(rounds[0], torch.split(of_all, [layer.n_channels for layer in layers]), strict=True):
            part.mul_(one.stands_for)
    fired.zero_()
    if any(layer.rectified for layer in layers):
        torch.sum((taken if sums is None else sums).sign().relu_(), 0, dtype=torch.float64, out=fired)
    low, high = (taken if low is None else low).amin(0), (taken if high is None else high).amax(0)
    row = _side_by_side(layers)
    row.tally.add(added, low, high, _bins(taken, row))
    for seen in rounds:
        for layer, one in zip(layers, seen, strict=True):
            layer.n_samples += one.samples
            layer.n_batches += 1
            layer.count += one.samples * one.layout.size
            layer.n_taken += one.taken.numel()


def _laid_out(rounds: list[tuple[Seen, ...]], figure: int) -> Tensor | None:
    """Lay one of the ``Reduced`` (rows, C) of many layers side by side, and rounds of them beneath each other."""
    lines = [[part for one in seen if (part := one.reduced[figure]) is not None] for seen in rounds]
    return _joined([_joined(parts, 1) for parts in lines], 0) if lines[0] else None


def _joined(parts: list[Tensor], dim: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


def _side_by_side(layers: list[ChannelAccumulator]) -> _Row:
    """Return one tally of all layers; the same again for the same layers, so that a batch costs no copy of theirs."""
    row = layers[0].row[0] if layers[0].row is not None else None
    if row is None or len(row.widths) != len(layers) or any(layer.row != (row, i) for i, layer in enumerate(layers)):
        whole, parts = tally.beside([layer.tally for layer in layers])
        row = _Row(whole, [layer.n_channels for layer in layers])
        for i, (layer, part) in enumerate(zip(layers, parts, strict=True)):
            layer.tally, layer.row = part, (row, i)
    return row


def _bins(taken: Tensor, row: _Row) -> Tensor:
    """Count the bins of each layer's part of (rows, all channels): (layers, N_BINS)."""
    index = bin_index(taken).view(taken.shape)
    if not taken.is_cpu:
        return torch.stack([count_bins(part.reshape(-1)) for part in torch.split(index, row.widths, 1)])
    index += row.first_bins
    return torch.bincount(index.view(-1), minlength=len(row.widths) * N_BINS).view(-1, N_BINS)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
