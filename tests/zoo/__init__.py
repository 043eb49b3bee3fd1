"""Awkward models, one short class each, with what a report must say about it."""

from __future__ import annotations

from . import inputs, kinds, layers, numbers, outputs, sharing, state, structure, targets, training
from .case import Case

MODULES = (inputs, outputs, sharing, layers, numbers, kinds, structure, training, state, targets)
CASES: dict[str, Case] = {name: case for module in MODULES for name, case in module.CASES.items()}
