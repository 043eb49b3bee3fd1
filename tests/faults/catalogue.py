"""All cases of the bench, and which of them serve for what."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

from . import (  # noqa: F401 (each registers its cases)
    healthy_signals,
    healthy_special,
    healthy_tables,
    sick_data,
    sick_fit,
    sick_graph,
    sick_handover,
    sick_loss,
    sick_numbers,
    sick_steps,
    sick_structure,
)
from .case import CASES, Case

_FILE = tomllib.loads(Path(__file__).with_name("split.toml").read_text(encoding="utf-8"))
SALT = _FILE.pop("salt")
SPLITS = _FILE

# half of them sick; fast, of different families, and of both splits
SHORT = (
    "gradients-never-cleared",
    "step-is-never-called",
    "sgd-with-a-rate-of-eight",
    "missing-values-left-in-a-table",
    "only-the-head-in-the-optimizer",
    "softmax-in-a-language-model",
    "mlp-on-clusters",
    "cosine-to-zero",
    "dropout-half",
    "lstm-on-waves",
    "curve-regression",
    "cnn-with-batch-norm",
)


def split_of(case: Case) -> str:
    """Return the split that a case belongs to, by its name alone."""
    parity = hashlib.sha256(f"{SALT} {case.name}".encode()).digest()[0] % 2
    return next(name for name, rule in SPLITS.items() if rule["parity"] == parity)


def seeds_of(split: str, n: int) -> list[int]:
    """Return the first n seeds of a split."""
    return list(SPLITS[split]["seeds"][:n])


def chosen(split: str = "all", only: str = "", *, short: bool = False) -> list[Case]:
    """Return the cases of a split ('tune', 'report' or 'all') whose name has the given part, in order."""
    return [
        case
        for case in CASES.values()
        if split in ("all", split_of(case)) and only in case.name and (not short or case.name in SHORT)
    ]
