"""Structure and size: torchinfo's table, parameters, buffers, bytes, and FLOPs by torch's own counter."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from ..document.facts import ArchitectureFacts, LayerRow
from ..errors import one_line
from ..subject.data import Batch
from .layers import kind_of

# operators that multiply matrices, or stand for something that does; without a formula they must be named
_HEAVY = ("attention", "mm", "conv", "rnn", "lstm", "gru", "fft", "bilinear", "cdist", "einsum", "linear")


@dataclass
class Pass:
    """What one forward pass over a batch told of each module, keyed by the module's name."""

    input_shapes: dict[str, str] = field(default_factory=dict)
    output_shapes: dict[str, str] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    mult_adds: dict[str, int] = field(default_factory=dict)
    flops: dict[str, int] = field(default_factory=dict)
    total_flops: int = 0
    total_mult_adds: int = 0
    activation_bytes: int = 0
    uncounted: list[str] = field(default_factory=list)


def measure(model: nn.Module, batch: Batch | None) -> tuple[ArchitectureFacts, str]:
    """Measure structure and size; the caller holds the guard.

    Returns the facts and, when the pass for shapes and FLOPs failed, the reason: the static part stands without it.
    """
    seen, reason = Pass(), "" if batch is not None else "no data and no input size were given"
    if batch is not None:
        try:
            seen = _forward(model, batch)
        except Exception as error:
            cause = error.__cause__ or error
            reason = f"torchinfo could not run the model: {one_line(cause)}"
    ran = batch is not None and not reason
    tensors = {id(p): p for p in model.parameters() if not isinstance(p, nn.UninitializedParameter)}.values()
    buffers = [b for b in model.buffers() if not isinstance(b, nn.UninitializedBuffer)]
    facts = ArchitectureFacts(
        rows=_rows(model, seen, ran),
        parameters=sum(p.numel() for p in tensors),
        trainable=sum(p.numel() for p in tensors if p.requires_grad),
        buffers=sum(b.numel() for b in buffers),
        parameter_bytes=sum(p.numel() * p.element_size() for p in tensors),
        buffer_bytes=sum(b.numel() * b.element_size() for b in buffers),
        dtypes=_dtypes(list(tensors)),
        tied=_tied(model),
        batch_size=batch.n_samples if batch is not None and ran else None,
        flops=seen.total_flops if ran else None,
        mult_adds=seen.total_mult_adds if ran else None,
        activation_bytes=seen.activation_bytes if ran else None,
        uncounted=seen.uncounted,
    )
    return facts, reason


def of_tensors(tensors: Iterable[Tensor]) -> ArchitectureFacts:
    """Count the tensors of a bare file; it has no modules. They are looked at one at a time."""
    n = n_bytes = 0
    dtypes: dict[str, int] = {}
    for tensor in tensors:
        n += tensor.numel()
        n_bytes += tensor.numel() * tensor.element_size()
        key = str(tensor.dtype).removeprefix("torch.")
        dtypes[key] = dtypes.get(key, 0) + tensor.numel()
    return ArchitectureFacts(
        rows=[],
        parameters=n,
        trainable=0,
        buffers=0,
        parameter_bytes=n_bytes,
        buffer_bytes=0,
        dtypes=dtypes,
    )


def _forward(model: nn.Module, batch: Batch) -> Pass:
    """Run torchinfo once, under the FLOP counter, so that one pass serves both."""
    import torchinfo
    from torchinfo import torchinfo as internals

    operators = _Operators()
    counter = FlopCounterMode(display=False)
    device = batch.first.device if batch.first is not None else None
    try:
        with warnings.catch_warnings(), torch.no_grad(), counter, operators:
            warnings.simplefilter("ignore")
            statistics = torchinfo.summary(
                model,
                input_data=list(batch.args) if batch.args else batch.kwargs,
                device=device,
                mode="eval",
                verbose=0,
                col_names=("input_size", "output_size", "num_params", "mult_adds"),
                depth=1000,
                **(batch.kwargs if batch.args else {}),
            )
    finally:
        # torchinfo keeps the layers of every model it saw, by class name, and with them the model
        internals._cached_forward_pass.clear()
    seen = _collect(model, statistics.summary_list)
    seen.total_mult_adds = int(statistics.total_mult_adds)
    seen.activation_bytes = int(statistics.total_output_bytes)
    seen.total_flops = counter.get_total_flops()
    root = type(model).__name__
    for key, by_operator in counter.get_flop_counts().items():
        name = "" if key in (root, "Global") else key.removeprefix(f"{root}.")
        seen.flops[name] = int(sum(by_operator.values()))
    seen.uncounted = operators.uncounted()
    return seen


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Remember which heavy operators ran that the FLOP counter has no formula for."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._missing: dict[str, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = func._overloadpacket
        if packet not in flop_registry:
            name = str(packet).removeprefix("aten.")
            if any(word in name for word in _HEAVY) and "backward" not in name:
                self._missing[name] = self._missing.get(name, 0) + 1
        return func(*args, **(kwargs or {}))

    def uncounted(self) -> list[str]:
        """Return 'operator (n calls)' for each."""
        return [f"{name} ({n} call{'s' * (n > 1)})" for name, n in sorted(self._missing.items())]


def _collect(model: nn.Module, layers: list[Any]) -> Pass:
    names = {id(module): name for name, module in model.named_modules()}
    seen = Pass()
    for layer in layers:
        name = names.get(layer.layer_id)
        if name is None or not layer.executed:
            continue
        seen.calls[name] = seen.calls.get(name, 0) + 1
        seen.input_shapes.setdefault(name, _shape(layer.input_size))
        seen.output_shapes.setdefault(name, _shape(layer.output_size))
        if layer.is_leaf_layer:
            seen.mult_adds[name] = seen.mult_adds.get(name, 0) + int(layer.macs)
    return seen


def _shape(size: Any) -> str:
    """Write a shape as torchinfo found it; nested ones (several tensors) keep their nesting."""
    if isinstance(size, (list, tuple, torch.Size)):
        if all(isinstance(n, int) for n in size):
            return " × ".join(map(str, size))
        return ", ".join(_shape(part) for part in size)
    return str(size)


def _rows(model: nn.Module, seen: Pass, ran: bool) -> list[LayerRow]:
    counted: set[int] = set()
    rows = []
    for name, module in model.named_modules():
        own = [p for p in module._parameters.values() if p is not None and id(p) not in counted]
        own = [p for p in {id(p): p for p in own}.values() if not isinstance(p, nn.UninitializedParameter)]
        counted.update(id(p) for p in own)
        executed = seen.calls.get(name, 0)
        rows.append(
            LayerRow(
                name=name,
                kind=kind_of(module),
                depth=name.count(".") + 1 if name else 0,
                is_leaf=not any(True for _ in module.children()),
                parameters=sum(p.numel() for p in own),
                trainable=sum(p.numel() for p in own if p.requires_grad),
                input_shape=seen.input_shapes.get(name),
                output_shape=seen.output_shapes.get(name),
                calls=executed if ran else None,
                flops=seen.flops.get(name, 0) if ran else None,
                mult_adds=seen.mult_adds.get(name) if ran else None,
            )
        )
    return rows


def _dtypes(tensors: list[Tensor]) -> dict[str, int]:
    table: dict[str, int] = {}
    for tensor in tensors:
        key = str(tensor.dtype).removeprefix("torch.")
        table[key] = table.get(key, 0) + tensor.numel()
    return table


def _tied(model: nn.Module) -> list[list[str]]:
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [group for group in names.values() if len(group) > 1]
