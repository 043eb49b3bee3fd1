"""How long a forward pass takes, by batch size, for a stated number of seconds; a little unasked."""

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
from torch import distributed, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ..document.deployment import GroupTime, InferenceTimes, Latency
from ..subject.data import Batch, call, device_of, tensors
from ..subject.shapes import own_part
from .memory import LiveBytes
from .scoring.slices import values_of
from .steps import NotMeasuredError
from .trials.sample import first_samples, is_by_sample, rows

_RUNS, _LEAST, _WARM = 100, 5, 2
_UNASKED = range(3, 21)  # runs of a size, the one that says how long it takes not counted
_FEW = (1, 4, 16, 64)
SHARE, USUAL = 0.1, 2.0  # of what was measured before, and seconds: what timing may take unasked
# whoever runs more passes than the others waits for them for ever
TOGETHER = "processes that work together on one model run as many passes each, which a clock does not give"
UNCOUNTED = "the batches hold no tensor, so samples cannot be counted"
SLOW = "passes take longer than timing may unasked; inference_budget gives it time"
_GROUPS, _OF_GROUP, _ROUNDS = 40, 3, 3
_FOR_GROUPS = 0.3  # of the time, where batches carry groups
ALONE = 1.0  # seconds for groups where no time was given to anything
LARGEST = 64


def measure(model: nn.Module, batches: list[Batch], budget: float | None, spent: float = 0.0) -> InferenceTimes:
    """Time batches of 1, 2, 4, ... samples of the data, then single samples by group; at most ``budget`` seconds.

    The caller holds the guard. Each size has its share of the time, and is run five times at least if that was begun.
    Without a budget it is a tenth of the ``spent`` seconds that measuring took before, two seconds at most: for 1, 4,
    16 and 64 samples of one batch, as far as three runs fit in; groups then have another second, if the batches carry
    any. Raises NotMeasuredError where that is too little, and for processes that must keep in step.
    """
    if _in_step(model, asked=budget is not None):
        raise NotMeasuredError(TOGETHER)
    if not all(batch.n_samples for batch in batches[:1]):
        raise NotMeasuredError(UNCOUNTED)
    device = device_of(model)
    grouped = any(batch.carried for batch in batches)
    model.eval()
    started = time.perf_counter()
    with torch.no_grad():
        if budget is None:
            found, late = _unasked(model, batches[0], started + min(SHARE * spent, USUAL), device)
            end = time.perf_counter() + ALONE
        else:
            found, late = _by_size(model, batches, started + budget * (1 - _FOR_GROUPS * grouped), device)
            end = started + budget
        groups = list(_by_group(model, batches, end, device)) if grouped else []
    if not found and not groups:
        raise NotMeasuredError(SLOW)
    return InferenceTimes(
        machine=machine(device),
        threads=torch.get_num_threads(),
        rows=found,
        groups=sorted(groups, key=lambda g: -g.seconds),
        out_of_time=late,
        weighed="allocator" if budget is not None and device.type == "cuda" else "tensors",
    )


def _in_step(model: nn.Module, *, asked: bool) -> bool:
    """Tell whether passes may wait for those of other processes: they do where the model is in shards."""
    several = distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
    return several and (not asked or any(own_part(p) is not p for p in model.parameters()))


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


def _unasked(model: nn.Module, batch: Batch, until: float, device: torch.device) -> tuple[list[Latency], bool]:
    """Return rows of a few sizes, and whether larger ones were left out.

    A size that takes too long is known by its first run; one that the model refuses is passed over, as nobody asked:
    the batch as it came is left, which it takes.
    """
    found: list[Latency] = []
    by_sample = is_by_sample(batch, with_target=False)
    sizes = [n for n in _FEW if n <= batch.n_samples and by_sample]
    for i, n in enumerate([*sizes, batch.n_samples]):
        if i == len(sizes) and found:
            break
        if found and time.perf_counter() + found[-1].p50 * (_UNASKED.start + 1) > until:
            return found, True
        few = rows(batch, torch.arange(n)) if n < batch.n_samples else batch
        try:
            taken = _timed(model, few, device)
        except Exception:
            continue
        now = time.perf_counter()
        if now + taken * (_UNASKED.start + 1) > until:  # one more, to be weighed
            return found, True
        share = (until - now) * n / sum(sizes[i:] or [n])
        found.append(_row(model, few, n, now + share, device, asked=False))
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


def _row(model: nn.Module, batch: Batch, n: int, until: float, device: torch.device, *, asked: bool = True) -> Latency:
    for _ in range(_WARM * asked):
        _timed(model, batch, device)
    counted = asked and device.type == "cuda"
    if counted:  # the caller's count of the most begins anew by this: only on request
        torch.cuda.reset_peak_memory_stats(device)
    runs = range(_LEAST, _RUNS + 1) if asked else _UNASKED
    taken: list[float] = []
    while len(taken) < runs.start or (len(taken) < runs[-1] and time.perf_counter() < until):
        taken.append(_timed(model, batch, device))
    peak = torch.cuda.max_memory_allocated(device) if counted else _weighed(model, batch)
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
