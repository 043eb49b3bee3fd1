"""Two small measures on a layer's output: units stuck at an end, and energy gathered in few places."""

from __future__ import annotations

import torch
from torch import Tensor

from .channels import Seen

STUCK = 0.95  # share of its values near an end from which a unit counts as saturated
MIN_PLACES = 49
_PLACES = 256
_CHANNELS = 16
_EVERY = 4


class Saturation:
    """Counts values outside ``bounds`` by channel, of those taken."""

    def __init__(self, n_channels: int, bounds: tuple[float, float], device: torch.device) -> None:
        self._low, self._high = bounds
        self._near_end = torch.zeros(n_channels, dtype=torch.int64, device=device)
        self._rows = 0

    def update(self, taken: Tensor) -> None:
        """Add the values (B·P, C) of one call."""
        self._near_end += ((taken < self._low) | (taken > self._high)).sum(0)
        self._rows += len(taken)

    @property
    def n(self) -> int:
        return self._rows * len(self._near_end)

    def share(self) -> float:
        """Return the share of values near an end."""
        return float(self._near_end.sum()) / self.n if self.n else 0.0

    def units(self) -> int:
        """Return the number of channels that are near an end for more than ``STUCK`` of their values."""
        return int((self._near_end > STUCK * self._rows).sum()) if self._rows else 0


class Concentration:
    """Mean over batches of the participation ratio of energy over places, (Σe)² / (n Σe²), e = Σ_c x² at a place.

    Of the first sample of a batch, at up to 256 places of up to 16 channels; of the first ``_EVERY`` batches, and of
    one in ``_EVERY`` from there on.
    """

    def __init__(self) -> None:
        self._total: Tensor | float = 0.0
        self._n = self._offered = 0

    def pick(self, seen: Seen) -> Tensor | None:
        """Take from one call's output what ``add`` needs: (rows, channels, columns); None of small maps."""
        lay = seen.layout
        self._offered += 1
        if self._offered > _EVERY and self._offered % _EVERY:
            return None
        if seen.flat is None or lay.before * lay.behind < MIN_PLACES:
            return None
        one = seen.flat[0].view(lay.before, lay.channels, lay.behind)
        rows, columns, channels = -(-lay.before // _PLACES), -(-lay.behind // _PLACES), -(-lay.channels // _CHANNELS)
        return one[::rows, ::channels, ::columns].clone()

    def add(self, few: Tensor) -> None:
        """Add what was picked of one call."""
        energy = (few * few).sum(1, dtype=torch.float64).flatten()
        self._total = self._total + energy.sum().square() / (energy.numel() * energy.square().sum())
        self._n += 1

    def share(self) -> float | None:
        """Return the mean; None where maps were too small, empty or not finite."""
        value = float(self._total) / self._n if self._n else None
        return value if value is not None and 0.0 < value <= 1.0 + 1e-9 else None
