"""Which layers a run looks at, by patterns of their names, and how often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import blake2b
from typing import Any

from ..arguments import are_texts, expect, is_number

PARTS = ("outputs", "weights", "gradients")
_EXPECTED = (
    "a pattern such as 'layer1.*', a list of them, or a dict of pattern and probability from 0 to 1, or of pattern and "
    "a dict of probabilities of outputs, weights and gradients"
)
Patterns = str | Sequence[str] | Mapping[str, float | Mapping[str, float]]
Shares = tuple[float, float, float]
"""Of the looks, for each of ``PARTS``."""


@dataclass(frozen=True)
class Choice:
    """Patterns and the shares of looks in which a layer is looked at; the first pattern that fits a layer counts."""

    shares: tuple[tuple[str, Shares], ...] = (("*", (1.0, 1.0, 1.0)),)

    def share(self, name: str, part: str) -> float:
        """Return in which share of the looks a part of a layer is looked at; 0 where no pattern fits."""
        at = PARTS.index(part)
        return next((shares[at] for pattern, shares in self.shares if fnmatchcase(name, pattern)), 0.0)

    def at(self, name: str, step: int, part: str) -> bool:
        """Tell whether to look at a part of a layer in this step, by a hash of layer and step: the same in every run.

        Parts with the same share are looked at in the same steps, and one with a smaller share in some of these.
        """
        share = self.share(name, part)
        drawn = blake2b(f"{name}:{step}".encode(), digest_size=6).digest()
        return share >= 1 or int.from_bytes(drawn, "big") < share * 2**48


def choice_of(layers: Any) -> Choice:
    """Read what a user named; raises OptionError for what are no patterns."""
    if layers is None:
        return Choice()
    if not isinstance(layers, Mapping):
        named = [layers] if isinstance(layers, str) else layers
        expect("layers", layers, bool(named) and are_texts(named), _EXPECTED)
        layers = dict.fromkeys(named, 1.0)
    read = [_shares(value) for value in layers.values()]
    expect("layers", layers, bool(layers) and are_texts([*layers]) and None not in read, _EXPECTED)
    return Choice(tuple((name, shares) for name, shares in zip(layers, read, strict=True) if shares is not None))


def _shares(value: Any) -> Shares | None:
    """Return the shares of all parts, those left out of a dict being 0; None where they are none."""
    if not isinstance(value, Mapping):
        value = dict.fromkeys(PARTS, value)
    if not value or set(value) - set(PARTS) or not all(is_number(p, 0) and p <= 1 for p in value.values()):
        return None
    outputs, weights, gradients = (float(value.get(part, 0.0)) for part in PARTS)
    return outputs, weights, gradients
