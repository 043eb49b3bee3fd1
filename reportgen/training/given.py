"""What a loop hands to its monitor: models, optimizers, settings, epochs and batches."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..arguments import expect
from ..errors import OptionError
from ..probe.layers import kind_of
from ..subject.handed import stepped_by
from .naming import labels_of
from .notebook import Notebook
from .observations import Setting
from .recorder import Axis, Recorder
from .run import Run

T = TypeVar("T")
Models = nn.Module | Sequence[nn.Module] | Mapping[str, nn.Module]
Optimizers = Optimizer | Sequence[Optimizer] | Mapping[str, Optimizer]


def models_of(model: Any) -> dict[str, nn.Module]:
    """Map prefixes of names to models: '' for one; 'generator.' for a dict; the class (and a number) for a list."""
    if isinstance(model, nn.Module):
        return {"": model}
    if isinstance(model, Mapping):
        found = {f"{name}.": m for name, m in model.items()}
    elif isinstance(model, Sequence):
        kinds = [kind_of(m) if isinstance(m, nn.Module) else "" for m in model]
        labels = [k if kinds.count(k) == 1 else f"{k}{kinds[:i].count(k)}" for i, k in enumerate(kinds)]
        found = {f"{label}.": m for label, m in zip(labels, model, strict=True)}
    else:
        found = {"": model}  # said below
    wrong = next((type(m).__name__ for m in found.values() if not isinstance(m, nn.Module)), None)
    if wrong is not None or not found:
        raise OptionError(
            f"Cannot watch a {wrong or 'list without models'}.",
            hint="Expected an nn.Module, or several in a list or dict.",
        )
    return found


def optimizers_of(optimizer: Optimizers | None, models: Mapping[str, nn.Module]) -> tuple[list[Optimizer], list[str]]:
    """Return the optimizers as a list, each out of what may be wrapped around it, and a word for each."""
    given: dict[Any, Any] = {}
    if isinstance(optimizer, Mapping):
        given = dict(optimizer)
    elif optimizer is not None:
        given = dict(enumerate(optimizer if isinstance(optimizer, (list, tuple)) else [optimizer]))
    found: list[Optimizer] = []
    labels: list[str] = []
    for name, one in given.items():
        within = stepped_by(one)
        if not within:
            raise OptionError(
                f"Cannot watch an optimizer of type {type(one).__name__}.",
                hint="Expected a torch.optim.Optimizer, made by way of its base class, or several in a list or dict.",
            )
        found += within
        labels += [f"{name} {i}" for i in range(1, len(within) + 1)] if len(within) > 1 else [str(name)]
    return found, labels if isinstance(optimizer, Mapping) else labels_of(models, found)


def plain(settings: Mapping[str, Any]) -> dict[str, Setting]:
    """Turn hyper-parameters into numbers, texts, flags and None."""
    return {
        str(name): value
        if value is None or isinstance(value, (bool, str)) or (isinstance(value, (int, float)) and abs(value) < 1e308)
        else str(value)
        for name, value in settings.items()
    }


def number_of(name: str, value: Any) -> float:
    """Return where on its axis a row stands. Raises OptionError for what is no finite number."""
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):
        number = math.nan
    expect(name, value, math.isfinite(number) and not isinstance(value, str), "a number")
    return number


def last_values(recorder: Recorder) -> dict[str, str]:
    """Return the last value of the first few scalars by epoch, for a progress bar."""
    names = [name for name in recorder.names("epoch") if not name.startswith("learning_rate")]
    shown = {name: recorder.recent(name, "epoch", 1)[0] for name in names[:4]}
    return {name: "not finite" if value is None else f"{value:.4g}" for name, value in shown.items()}


def timed(loader: Iterable[T], run: Run) -> Iterator[T]:
    """Yield the batches of a loader, and count the time that it makes the loop wait."""
    iterator, began, waited = iter(loader), time.perf_counter(), 0.0
    try:
        while True:
            asked = time.perf_counter()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            finally:
                waited += time.perf_counter() - asked
            yield batch
    finally:
        run.notebook.tally.waited += waited
        run.notebook.tally.looping += time.perf_counter() - began


def enter(notebook: Notebook, axis: Axis, x: float, values: Mapping[str, Any]) -> None:
    """Enter logged scalars; tensors on a device stay there until the next flush. Raises OptionError."""
    numbers: dict[str, float | None] = {}
    waiting: dict[str, Tensor] = {}
    for name, value in values.items():
        if isinstance(value, Tensor) and not value.is_cpu and value.numel() == 1:
            waiting[name] = value
            numbers[name] = None
            continue
        try:
            number = value.item() if isinstance(value, Tensor) else float(value)
            numbers[name] = number if number - number == 0 else None  # NaN for infinities and NaN
        except (TypeError, ValueError, RuntimeError):
            raise _no_scalar(name, value) from None
    if not waiting:
        notebook.row(axis, x, numbers)
        return

    def then(fetched: list[float]) -> None:
        numbers.update({name: n if n - n == 0 else None for name, n in zip(waiting, fetched, strict=True)})
        notebook.row(axis, x, numbers)

    notebook.fetch(torch.stack([t.detach().reshape(()).float() for t in waiting.values()]), then)


def _no_scalar(name: str, value: Any) -> OptionError:
    shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""
    return OptionError(
        f"Cannot log {name}: it is a {type(value).__name__}{shape}.",
        hint="Expected a number, or a tensor of one element; log text with log_text.",
    )
