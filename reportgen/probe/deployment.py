"""Whether a copy of the model can be handed on as a program of its own, and gives the same answers there."""

from __future__ import annotations

import copy
import importlib.util
import math
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..document.deployment import DeploymentFacts, Export
from ..errors import one_line
from ..subject.data import Batch, call, tensors
from .steps import NotMeasuredError
from .trials.sample import first_samples, is_by_sample, rows

SAMPLES = 3
_AGREE = 1e-3  # of the largest output; float32 in another order of adding stays far below
_LATE = "the time given was up"


def measure(model: nn.Module, batches: list[Batch], budget: float) -> DeploymentFacts:
    """Export a copy and compare outputs on three samples.

    ``budget``: seconds after which no further way is begun; one that was begun is finished, as torch cannot be
    interrupted in it. Raises NotMeasuredError where the model cannot be copied.
    """
    until = time.perf_counter() + budget
    batch = first_samples(batches, SAMPLES)
    if batch is None:
        raise NotMeasuredError("there is no batch to run")
    try:
        twin = copy.deepcopy(model).eval()
    except Exception as error:  # what the caller's classes do when they are copied
        raise NotMeasuredError(f"the model cannot be copied: {one_line(error)}") from error
    for parameter in twin.parameters():
        parameter.requires_grad_(False)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = call(twin, batch)
        program, exported = _exported(twin, batch, wanted)
        late = time.perf_counter() >= until
        onnx = Export(kind="ONNX", status="not tried", reason=_LATE) if late else _onnx(program, batch, wanted)
    return DeploymentFacts(exports=[exported, onnx], n_samples=batch.n_samples)


def _exported(model: nn.Module, batch: Batch, wanted: Any) -> tuple[Any, Export]:
    args, kwargs = batch.arguments()
    free = is_by_sample(batch, with_target=False) and batch.n_samples > 1
    try:
        program = torch.export.export(model, args, kwargs, dynamic_shapes=_free(args, kwargs) if free else None)
    except Exception as error:
        try:
            program = torch.export.export(model, args, kwargs)
        except Exception:  # the first refusal says why
            return None, Export(kind="torch.export", status="failed", reason=one_line(error))
    try:
        module = program.module()
        difference = apart(module(*args, **kwargs), wanted)
    except Exception as error:
        return program, Export(kind="torch.export", status="failed", reason=f"it does not run: {one_line(error)}")
    other = _takes_another(lambda b: _run(module, b), model, batch) if free else None
    return program, _compared("torch.export", difference, other)


def _free(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | tuple[Any, ...] | None:
    """Ask for a batch dimension of any size, where the model allows one."""
    auto = torch.export.Dim.AUTO

    def dims(value: Any) -> Any:
        return pytree.tree_map(lambda x: {0: auto} if isinstance(x, Tensor) else None, value)

    return None if not args and not kwargs else dims(args) if not kwargs else {"args": dims(args), **dims(kwargs)}


def _run(module: Any, batch: Batch) -> Any:
    args, kwargs = batch.arguments()
    return module(*args, **kwargs)


def _takes_another(run: Callable[[Batch], Any], model: nn.Module, batch: Batch) -> bool:
    """Tell whether two of the samples go through, with the model's own answers."""
    fewer = rows(batch, torch.arange(2))
    try:
        difference = apart(run(fewer), call(model, fewer))
    except Exception:  # a fixed size refuses, in as many ways as there are formats
        return False
    return difference is not None and difference <= _AGREE


def apart(found: Any, wanted: Any) -> float | None:
    """Return the largest |difference| over the largest |output|; None where outputs cannot be compared."""
    ours = [t for t in tensors(wanted) if t.is_floating_point()]
    theirs = [t for t in tensors(found) if t.is_floating_point()]
    if not ours or len(ours) != len(theirs) or any(a.shape != b.shape for a, b in zip(ours, theirs, strict=True)):
        return None
    gaps, sizes = [0.0], [0.0]
    for a, b in zip(ours, theirs, strict=True):
        a, b = a.double().cpu(), b.double().cpu()
        if not torch.equal(a.isfinite(), b.isfinite()):
            return math.inf
        finite = a.isfinite()
        if bool(finite.any()):
            gaps.append(float((a - b)[finite].abs().max()))
            sizes.append(float(a[finite].abs().max()))
    return max(gaps) / max(sizes) if max(sizes) else max(gaps)


def _compared(kind: Any, difference: float | None, any_batch: bool | None) -> Export:
    if difference is None:
        return Export(kind=kind, status="differs", reason="outputs have another form", any_batch=any_batch)
    if not math.isfinite(difference):
        return Export(kind=kind, status="differs", reason="other outputs are not finite", any_batch=any_batch)
    status: Any = "works" if difference <= _AGREE else "differs"
    return Export(kind=kind, status=status, difference=difference, any_batch=any_batch)


def _onnx(program: Any, batch: Batch, wanted: Any) -> Export:
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        return Export(kind="ONNX", status="not tried", reason=f"not installed: {', '.join(missing)}")
    if program is None:
        return Export(kind="ONNX", status="not tried", reason="it starts from torch.export, which failed")
    try:
        made = torch.onnx.export(program, dynamo=True, verbose=False)
    except Exception as error:
        return Export(kind="ONNX", status="failed", reason=one_line(error))
    if importlib.util.find_spec("onnxruntime") is None:
        return Export(kind="ONNX", status="works", reason="outputs not compared: onnxruntime is not installed")
    try:
        args, kwargs = batch.arguments()
        with torch.no_grad():
            found = made(*args, **kwargs)  # type: ignore[misc]
        outputs = [torch.as_tensor(x) for x in found]
        return _compared("ONNX", apart(outputs, wanted), None)
    except Exception as error:
        return Export(kind="ONNX", status="failed", reason=f"it does not run: {one_line(error)}")
