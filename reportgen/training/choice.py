"""Which layers a run looks at, by patterns of their names, and how often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import blake2b
from typing import Any

from ..arguments import are_texts, expect, is_number

_EXPECTED = "a pattern such as 'layer1.*', a list of them, or a dict of pattern and probability from 0 to 1"
Patterns = str | Sequence[str] | Mapping[str, float]


@dataclass(frozen=True)
class Choice:
    """Patterns and the share of looks in which a layer is looked at; the first pattern that fits a layer counts."""

    shares: tuple[tuple[str, float], ...] = (("*", 1.0),)

    def share(self, name: str) -> float:
        """Return in which share of the looks a layer is looked at; 0 where no pattern fits."""
        return next((share for pattern, share in self.shares if fnmatchcase(name, pattern)), 0.0)

    def at(self, name: str, step: int) -> bool:
        """Tell whether to look at a layer in this step: by a hash of both, so the same in every run."""
        share = self.share(name)
        drawn = blake2b(f"{name}:{step}".encode(), digest_size=6).digest()
        return share >= 1 or int.from_bytes(drawn, "big") < share * 2**48


def choice_of(layers: Any) -> Choice:
    """Read what a user named; raises OptionError for what are no patterns."""
    if layers is None:
        return Choice()
    if isinstance(layers, Mapping):
        fits = are_texts([*layers]) and all(is_number(p, 0) and p <= 1 for p in layers.values())
        expect("layers", layers, fits and bool(layers), _EXPECTED)
        return Choice(tuple((pattern, float(share)) for pattern, share in layers.items()))
    named = [layers] if isinstance(layers, str) else layers
    expect("layers", layers, bool(named) and are_texts(named), _EXPECTED)
    return Choice(tuple((pattern, 1.0) for pattern in named))
