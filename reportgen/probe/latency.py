"""How long a forward pass takes, by batch size: on request, for a stated number of seconds."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from ..document.deployment import GroupTime, InferenceTimes, Latency
from ..subject.data import Batch, call, device_of, tensors
from .memory import LiveBytes
from .scoring.slices import values_of
from .trials.sample import first_samples, is_by_sample, rows

_RUNS, _LEAST, _WARM = 100, 5, 2
_GROUPS, _OF_GROUP, _ROUNDS = 40, 3, 3
_FOR_GROUPS = 0.3  # of the time, where batches carry groups
ALONE = 1.0  # seconds for groups where no time was given to anything
LARGEST = 64


def measure(model: nn.Module, batches: list[Batch], budget: float | None) -> InferenceTimes | None:
    """Time batches of 1, 2, 4, ... samples of the data, then single samples by group; at most ``budget`` seconds.

    The caller holds the guard. Each size has its share of the time, and is run five times at least if that was begun.
    Without a budget groups alone are timed, for at most a second; None where the batches carry none.
    """
    device = device_of(model)
    grouped = any(batch.carried for batch in batches)
    if budget is None and not grouped:
        return None
    model.eval()
    started = time.perf_counter()
    with torch.no_grad():
        found: list[Latency] = []
        late = False
        if budget is not None:
            found, late = _by_size(model, batches, started + budget * (1 - _FOR_GROUPS * grouped), device)
        end = started + (ALONE if budget is None else budget)
        groups = list(_by_group(model, batches, end, device)) if grouped else []
    return InferenceTimes(
        machine=machine(device),
        threads=torch.get_num_threads(),
        rows=found,
        groups=sorted(groups, key=lambda g: -g.seconds),
        out_of_time=late,
    )


def _by_size(model: nn.Module, batches: list[Batch], until: float, device: torch.device) -> tuple[list[Latency], bool]:
    """Return a row for each batch size, and whether larger ones were left out."""
    found: list[Latency] = []
    sized = list(_sized(batches))
    for i, (n, batch) in enumerate(sized):
        now = time.perf_counter()
        if now >= until and found:
            return found, True
        found.append(_row(model, batch, n, now + (until - now) / (len(sized) - i), device))
    return found, False


def machine(device: torch.device) -> str:
    """Name the processor or the accelerator that the model runs on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name} ({device.type})"


def _sized(batches: list[Batch]) -> Iterator[tuple[int, Batch]]:
    if not batches:
        return
    if not is_by_sample(batches[0], with_target=False):  # it cannot be cut
        yield batches[0].n_samples, batches[0]
        return
    n = 1
    while n <= LARGEST:
        batch = first_samples(batches, n)
        if batch is None or batch.n_samples < n:
            break
        yield n, batch
        n *= 2


def _row(model: nn.Module, batch: Batch, n: int, until: float, device: torch.device) -> Latency:
    for _ in range(_WARM):
        _timed(model, batch, device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    taken: list[float] = []
    while len(taken) < _LEAST or (len(taken) < _RUNS and time.perf_counter() < until):
        taken.append(_timed(model, batch, device))
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _weighed(model, batch)
    p95 = quantiles(taken, n=20, method="inclusive")[-1]
    return Latency(batch_size=n, runs=len(taken), p50=median(taken), p95=p95, peak_bytes=peak)


class _Weighing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Weigh what operators return."""

    def __init__(self, live: LiveBytes) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._live = live

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self._live.see((args, kwargs), out, "")
        return out


def _weighed(model: nn.Module, batch: Batch) -> int | None:
    """Return the most that tensors made in a pass took at one time, as no allocator counts it; None if it fails."""
    live = LiveBytes(chain(model.parameters(), model.buffers(), tensors((batch.args, batch.kwargs))))
    try:
        with _Weighing(live):
            call(model, batch)
    except Exception:  # programs that cannot be watched run without
        return None
    finally:
        live.close()
    return live.peak or None  # a script runs as one operator, of which nothing is seen


def _timed(model: nn.Module, batch: Batch, device: torch.device) -> float:
    _finished(device)
    started = time.perf_counter()
    call(model, batch)
    _finished(device)
    return time.perf_counter() - started


def _finished(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _by_group(model: nn.Module, batches: list[Batch], until: float, device: torch.device) -> Iterator[GroupTime]:
    """Time single samples of each group, in turns, so that what else the machine does falls on all of them alike.

    The fastest of three runs of a sample counts; when the time is up, every group has been run as often, or once more.
    Groups that the time did not suffice for are left out.
    """
    groups = _members(batches)
    fastest: list[dict[int, float]] = [{} for _ in groups]
    turns = [(i, at) for _ in range(_ROUNDS) for at in range(_OF_GROUP) for i in range(len(groups))]
    cold = True
    for i, at in turns:
        samples = groups[i][1]
        if time.perf_counter() >= until:
            break
        if at >= len(samples):
            continue
        batch, row = samples[at]
        one = rows(batch, torch.tensor([row]))
        for _ in range(_WARM if cold else 0):
            _timed(model, one, device)
        cold = False
        fastest[i][at] = min(_timed(model, one, device), fastest[i].get(at, math.inf))
    for ((key, value), _samples), taken in zip(groups, fastest, strict=True):
        if taken:
            yield GroupTime(key=key, value=value, n=len(taken), seconds=median(taken.values()))


def _members(batches: list[Batch]) -> list[tuple[tuple[str, str], list[tuple[Batch, int]]]]:
    """Find a few samples of each group, as batch and row in it."""
    members: dict[tuple[str, str], list[tuple[Batch, int]]] = {}
    for batch in batches:
        if not is_by_sample(batch):
            continue
        for key, column in batch.carried.items():
            for i, value in enumerate(values_of(column, batch.n_samples) or []):
                held = members.setdefault((key, value), []) if value is not None else []
                if len(held) < _OF_GROUP:
                    held.append((batch, i))
    return list(members.items())[:_GROUPS]
