"""Checkpoints of a fit: the best weights, and everything that a broken-off run needs to go on as if nothing had been.

``model.pt`` holds the weights of the best epoch, ``model.last.pt`` the state after the last one. Both hold plain values
and tensors alone, and load with ``weights_only=True``.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from ..errors import CheckpointError, OutputError, one_line

FORMAT = 1


@dataclass
class Progress:
    """How far a fit has come."""

    epoch: int = 0
    best: float | None = None
    """Lowest loss so far: of validation where there is one."""
    best_epoch: int = 0
    steps: int | None = None
    """Optimizer steps that the watch of the run had counted."""

    def improve(self, loss: float, steps: int) -> bool:
        """Take the loss of the epoch that has ended, and all steps; tell whether it is the best, which NaN never is."""
        self.steps = steps
        if not loss < (float("inf") if self.best is None else self.best):
            return False
        self.best, self.best_epoch = loss, self.epoch
        return True


@dataclass(frozen=True)
class Trained:
    """What changes while a fit runs, and what draws random numbers for it."""

    model: nn.Module
    optimizer: Optimizer
    scheduler: Any
    sources: tuple[Iterable[Any] | None, ...]


def last_of(path: Path) -> Path:
    """Return where the state after the last epoch is kept, beside the best weights."""
    return path.with_name(f"{path.stem}.last{path.suffix}")


def save(path: Path, trained: Trained, progress: Progress, *, is_best: bool) -> None:
    """Keep the state after an epoch, and the weights if it was the best so far. Raises OutputError."""
    if is_best:
        weights = trained.model.state_dict()
        _write(path, {"state_dict": weights, "epoch": progress.epoch, "loss": progress.best})
    scheduler = trained.scheduler
    state = {
        "format": FORMAT,
        "state_dict": trained.model.state_dict(),
        "optimizer": trained.optimizer.state_dict(),
        "scheduler": None if scheduler is None else scheduler.state_dict(),
        "progress": asdict(progress),
        "random": _random_state(trained.sources),
    }
    _write(last_of(path), state)


def load_last(path: Path, trained: Trained) -> Progress:
    """Put everything back as it was after the last epoch; a new Progress when there is nothing to go on from.

    Raises CheckpointError when the file is damaged, or of another model, optimizer or scheduler.
    """
    file = last_of(path)
    if not file.exists():
        return Progress()
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise ValueError("it is no checkpoint of reportgen.fit")
        trained.model.load_state_dict(state["state_dict"])
        trained.optimizer.load_state_dict(state["optimizer"])
        if trained.scheduler is not None and state["scheduler"] is not None:
            trained.scheduler.load_state_dict(state["scheduler"])
        _restore_random(state["random"], trained.sources)
        return Progress(**state["progress"])
    except Exception as error:
        raise CheckpointError(
            f"Cannot go on from {file}: {one_line(error)}.",
            hint="Delete it to begin anew, or give the model, optimizer and scheduler that it was saved with.",
        ) from error


def _write(path: Path, state: dict[str, Any]) -> None:
    """Write beside, then rename, so that a crash leaves the older file whole."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, beside)
        beside.replace(path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        raise OutputError(
            f"Cannot write the checkpoint {path}: {one_line(error)}.", hint="Give another path as checkpoint=."
        ) from error
    finally:
        beside.unlink(missing_ok=True)


def seed_all(seed: int | None) -> None:
    """Seed the generators of torch, Python and numpy; None leaves them as they are."""
    if seed is None:
        return
    torch.manual_seed(seed)
    random.seed(seed)
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed(seed % (1 << 32))


def _generators(sources: tuple[Iterable[Any] | None, ...]) -> list[torch.Generator]:
    """Return the generators that loaders and their samplers draw from, each once."""
    holders = [h for s in sources for h in (s, getattr(s, "sampler", None))]
    found = [g for h in holders if isinstance(g := getattr(h, "generator", None), torch.Generator)]
    return list({id(g): g for g in found}.values())


def _random_state(sources: tuple[Iterable[Any] | None, ...]) -> dict[str, Any]:
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],  # type: ignore[no-untyped-call]
        "python": random.getstate(),
        "loaders": [g.get_state() for g in _generators(sources)],
    }
    if (numpy := sys.modules.get("numpy")) is not None:
        name, keys, *rest = numpy.random.get_state()
        state["numpy"] = [name, keys.tolist(), *rest]
    return state


def _restore_random(state: dict[str, Any], sources: tuple[Iterable[Any] | None, ...]) -> None:
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    version, inner, gauss = state["python"]
    random.setstate((version, tuple(inner), gauss))
    for generator, kept in zip(_generators(sources), state["loaders"], strict=False):
        generator.set_state(kept)
    if "numpy" in state and (numpy := sys.modules.get("numpy")) is not None:
        name, keys, *rest = state["numpy"]
        numpy.random.set_state((name, keys, *rest))
