"""How far a block moves what passes it: rms(output − input) / rms(input), where both have the same shape."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from ..document.facts import BlockRow
from .layers import kind_of, main_tensor
from .norms import first_tensor
from .reduce import as_real

SAMPLE = 128  # values of each sample
MAX_HELD = 1 << 17  # values that wait to be compared


class _Change:
    def __init__(self) -> None:
        self.moved: Tensor | float = 0.0
        self.before: Tensor | float = 0.0
        self.order: int | None = None


class BlockProbe:
    """Hooks on every module that holds others, the model itself and plain sequences left out."""

    def __init__(self, model: nn.Module) -> None:
        self._blocks = {
            name: module
            for name, module in model.named_modules()
            if name
            and any(True for _ in module.children())
            and not isinstance(module, (nn.Sequential, nn.ModuleList, nn.ModuleDict, torch.jit.ScriptModule))
        }
        self._seen: dict[str, _Change] = {}
        self._held: list[tuple[str, Tensor, Tensor]] = []
        """Values of what blocks read and made, to be compared when the batch has passed."""
        self._n_held = 0

    def attach(self) -> list[Any]:
        """Install the hooks; the caller removes them."""
        return [module.register_forward_hook(self._hook(name)) for name, module in self._blocks.items()]

    def _hook(self, name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            with suppress(Exception):  # tensors of an odd kind; no trouble of ours may reach the model
                compare(args, output)

        def compare(args: tuple[Any, ...], output: Any) -> None:
            given, made = first_tensor(args), main_tensor(output)
            if given is None or made is None or given is made or given.shape != made.shape or not made.numel():
                return
            x, y = as_real(given), as_real(made)
            if x is None or y is None or x.dim() < 2 or x.dtype != y.dtype:
                return
            n = x.shape[0]
            stride = max(1, x.numel() // n // SAMPLE) | 1
            few, now = (t.reshape(n, -1)[:, ::stride].clone() for t in (x, y))
            self._held.append((name, few, now))
            self._n_held += few.numel()
            if self._n_held > MAX_HELD:
                self.add_held()

        return hook

    def add_held(self) -> None:
        """Add what was seen since the last time."""
        held, self._held, self._n_held = self._held, [], 0
        for name, few, now in held:
            seen, before = self._seen.setdefault(name, _Change()), few.double()
            seen.moved = seen.moved + (now.double() - before).square_().sum()
            seen.before = seen.before + before.square().sum()

    def rows(self, order: dict[str, int]) -> list[BlockRow]:
        """Return the blocks in the order of execution: ``order`` gives the places of the layers inside."""
        self.add_held()
        rows = []
        for name, seen in self._seen.items():
            moved, before = float(seen.moved), float(seen.before)
            inside = [place for layer, place in order.items() if layer.startswith(name + ".")]
            if before > 0 and moved < float("inf") and inside:
                kind = kind_of(self._blocks[name])
                rows.append(BlockRow(name=name, kind=kind, order=max(inside), change=(moved / before) ** 0.5))
        return sorted(rows, key=lambda row: row.order)
