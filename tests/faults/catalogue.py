"""All cases of the bench, and which of them serve for what."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

from . import (  # noqa: F401 (each registers its cases)
    fresh2_healthy_made,
    fresh2_healthy_pictures,
    fresh2_healthy_signals,
    fresh2_healthy_tables,
    fresh2_sick_data,
    fresh2_sick_fit,
    fresh2_sick_graph,
    fresh2_sick_harder,
    fresh2_sick_loss,
    fresh2_sick_numbers,
    fresh2_sick_steps,
    fresh2_sick_structure,
    fresh3_healthy_made,
    fresh3_healthy_nets,
    fresh3_healthy_signals,
    fresh3_healthy_tables,
    fresh3_sick_data,
    fresh3_sick_fit,
    fresh3_sick_graph,
    fresh3_sick_loss,
    fresh3_sick_numbers,
    fresh3_sick_steps,
    fresh3_sick_structure,
    fresh_healthy_made,
    fresh_healthy_signals,
    fresh_healthy_tables,
    fresh_healthy_training,
    fresh_sick_data,
    fresh_sick_fit,
    fresh_sick_graph,
    fresh_sick_loss,
    fresh_sick_numbers,
    healthy_signals,
    healthy_special,
    healthy_tables,
    sick_beside,
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
    """Return the split that a case belongs to, by its file (the fresh ones) or by its name alone."""
    for name, rule in SPLITS.items():
        if case.module.startswith(rule.get("modules", "/")):
            return name
    parity = hashlib.sha256(f"{SALT} {case.name}".encode()).digest()[0] % 2
    return next(name for name, rule in SPLITS.items() if rule.get("parity") == parity)


def seeds_of(split: str, n: int) -> list[int]:
    """Return the first n seeds of a split."""
    return list(SPLITS[split]["seeds"][:n])


def chosen(split: str = "all", only: str = "", *, short: bool = False) -> list[Case]:
    """Return the cases of a split whose name has the given part, in order; 'all' is all but the fresh ones."""
    splits = ("tune", "report") if split == "all" else (split,)
    return [
        case
        for case in CASES.values()
        if split_of(case) in splits and only in case.name and (not short or case.name in SHORT)
    ]
