"""Outputs of every layer, streamed over all batches: fixed-size accumulators, nothing kept of a tensor."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..document.facts import ActivationFacts, ActivationRow, ChannelFacts, NormRow
from ..document.stats import TensorStats, merge_all
from .layers import RECTIFIERS, bypassed, channel_dim, kind_of, layers_of, main_tensor, samples_first, unhookable
from .reduce import ChannelAccumulator, as_real, as_rows, tensor_stats

MAX_CALLS = 8  # calls of one module in one forward that keep channels of their own; later ones share the last
MAX_CHANNELS = 1 << 17
CONSTANT_RANGE = 1e-3  # of the layer's standard deviation: below it a channel says the same to every sample
_EXAMPLES = 16
EXACT = ["count", "mean", "std", "min", "max", "norm", "zeros", "non-finite", "silent", "constant"]


@dataclass
class _Layer:
    """What is known of one layer while batches stream by."""

    module: nn.Module
    order: int | None = None
    calls: int = 0
    calls_in_batch: int = 0
    shape: str = ""
    accumulators: dict[int, ChannelAccumulator] = field(default_factory=dict)
    trouble: str = ""


@dataclass
class _NormInput:
    """Sums over the input of one batch norm: (C,) float64, on the device."""

    rows: int = 0
    samples: int = 0
    sums: Tensor | float = 0.0
    squares: Tensor | float = 0.0


class ActivationProbe:
    """Hooks on every layer while ``attached``; ``facts`` when all batches have passed.

    The hooks only read: the model's outputs are the same to the bit. What goes wrong inside a hook costs that layer its
    row and is told in ``reasons``; it never reaches the model.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._layers = {name: _Layer(module) for name, module in layers_of(model).items()}
        self._norms: dict[str, _NormInput] = {}
        self._dims: dict[int, tuple[weakref.ref[Tensor], int]] = {}
        self._executed = 0
        self._first_input = TensorStats()
        self._n_batches = 0
        self._n_samples = 0

    @contextmanager
    def attached(self) -> Iterator[ActivationProbe]:
        """Install the hooks and take them off again, whatever happens."""
        handles = []
        try:
            for name, layer in self._layers.items():
                handles.append(layer.module.register_forward_hook(self._output_hook(layer)))
                if isinstance(layer.module, _BatchNorm) and layer.module.running_mean is not None:
                    self._norms[name] = _NormInput()
                    handles.append(layer.module.register_forward_pre_hook(_norm_hook(layer, self._norms[name])))
            yield self
        finally:
            for handle in handles:
                handle.remove()

    def next_batch(self, n_samples: int) -> None:
        """Begin a new batch: calls are counted from zero again."""
        self._n_batches += 1
        self._n_samples += n_samples
        self._dims.clear()
        for layer in self._layers.values():
            layer.calls_in_batch = 0

    def _output_hook(self, layer: _Layer) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if layer.order is None:
                layer.order = self._executed
                self._executed += 1
            call = min(layer.calls_in_batch, MAX_CALLS - 1)
            layer.calls += 1
            layer.calls_in_batch += 1
            if layer.trouble:
                return
            try:
                self._measure(layer, call, args, output)
            except Exception as error:
                layer.trouble = f"{type(error).__name__}: {error}"

        return hook

    def _measure(self, layer: _Layer, call: int, args: tuple[Any, ...], output: Any) -> None:
        if layer.order == 0 and layer.calls_in_batch == 1:
            first = as_real(args[0]) if args and isinstance(args[0], Tensor) else None
            stats = None if first is None else tensor_stats(first, histogram=False)
            self._first_input = self._first_input if stats is None else self._first_input.merge(stats)
        tensor = main_tensor(output)
        if tensor is None:
            layer.trouble = "its output holds no floating-point tensor"
            return
        dim = channel_dim(layer.module, tensor, self._inherited(args, tensor))
        self._dims[id(tensor)] = (weakref.ref(tensor), dim)
        x = as_real(samples_first(layer.module, tensor))
        if x is None:
            layer.trouble = "its output holds no dense real numbers"
            return
        layer.shape = layer.shape or " × ".join(map(str, tensor.shape))
        n_channels = x.shape[dim] if x.dim() else 1
        if n_channels > MAX_CHANNELS or (x.dim() and dim == 0):
            x, dim, n_channels = x.reshape(1, 1, -1), 1, 1
        accumulator = layer.accumulators.get(call)
        if accumulator is None:
            accumulator = layer.accumulators[call] = ChannelAccumulator(n_channels, x.device)
        if accumulator.n_channels != n_channels:
            layer.trouble = f"its number of channels changed from {accumulator.n_channels} to {n_channels}"
            return
        accumulator.update(x, dim)

    def _inherited(self, args: tuple[Any, ...], output: Tensor) -> int | None:
        """Return the channel dimension of the tensor that a layer read, if a hook saw that very tensor made."""
        first = args[0] if args else None
        if not isinstance(first, Tensor) or first.dim() != output.dim():
            return None
        known = self._dims.get(id(first))
        return known[1] if known is not None and known[0]() is first else None

    def order(self) -> dict[str, int]:
        """Return the place of each executed layer in the order of first execution."""
        return {name: layer.order for name, layer in self._layers.items() if layer.order is not None}

    def facts(self) -> ActivationFacts:
        """Fetch the accumulators and return what was measured."""
        executed = [(n, layer) for n, layer in self._layers.items() if layer.order is not None]
        executed.sort(key=lambda item: item[1].order or 0)
        return ActivationFacts(
            mode="eval",
            n_batches=self._n_batches,
            n_samples=self._n_samples,
            rows=[_row(name, layer, self._model) for name, layer in executed if layer.accumulators],
            norms=[row for name in self._norms if (row := self._norm_row(name)) is not None],
            not_executed=[name for name, layer in self._layers.items() if layer.order is None],
            exact=EXACT,
            first_input=self._first_input if self._first_input.count else None,
            reasons=self._reasons(executed),
        )

    def _reasons(self, executed: list[tuple[str, _Layer]]) -> list[str]:
        closed = unhookable(self._model)
        told = [f"{closed} TorchScript modules take no hooks"] if closed else []
        return told + [f"{name}: {layer.trouble}" for name, layer in executed if layer.trouble]

    def _norm_row(self, name: str) -> NormRow | None:
        seen, module = self._norms[name], self._layers[name].module
        if not seen.rows or not isinstance(module, _BatchNorm) or module.running_mean is None:
            return None
        mean = torch.as_tensor(seen.sums, dtype=torch.float64) / seen.rows
        var = (torch.as_tensor(seen.squares, dtype=torch.float64) / seen.rows - mean.square()).clamp_(min=0.0)
        assert module.running_var is not None  # set together with running_mean
        running_var = module.running_var.double() + module.eps
        mean_gap = ((mean - module.running_mean.double()).abs() / running_var.sqrt()).median()
        log_gap = ((var + module.eps) / running_var).log().abs().median()
        if not bool(torch.isfinite(mean_gap) & torch.isfinite(log_gap)):
            return None
        tracked = module.num_batches_tracked
        return NormRow(
            name=name,
            n_channels=module.num_features,
            n_samples=seen.samples,
            batches_tracked=None if tracked is None else int(tracked),
            at_default=bool((module.running_mean == 0).all() & (module.running_var == 1).all()),
            mean_gap=float(mean_gap),
            log_var_gap=float(log_gap),
        )


def _norm_hook(layer: _Layer, seen: _NormInput) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
        x = as_real(args[0]) if args and isinstance(args[0], Tensor) else None
        if x is None or not x.numel() or x.dim() < 2:
            return
        rows = as_rows(x, 1)
        seen.rows += x.numel() // x.shape[1]
        seen.samples += x.shape[0]
        seen.sums = seen.sums + rows.sum((1, 3)).double().sum(0)
        seen.squares = seen.squares + torch.linalg.vector_norm(rows, dim=(1, 3)).double().square().sum(0)

    return hook


def _row(name: str, layer: _Layer, model: nn.Module) -> ActivationRow:
    parts = {call: accumulator.stats() for call, accumulator in layer.accumulators.items()}
    return ActivationRow(
        name=name,
        kind=kind_of(layer.module),
        order=layer.order or 0,
        calls=layer.calls,
        shape=layer.shape,
        stats=merge_all(parts.values()),
        channels=[
            _channels(call, accumulator, parts[call].std) for call, accumulator in sorted(layer.accumulators.items())
        ],
        rectifier=isinstance(layer.module, RECTIFIERS),
        bypassed=bypassed(name, model),
    )


def _channels(call: int, seen: ChannelAccumulator, std: float | None) -> ChannelFacts:
    """Fold channel vectors to counts. A silent channel was never above zero; a constant one hardly moves."""
    silent = seen.high <= 0
    constant = (seen.high - seen.low <= CONSTANT_RANGE * (std or 0.0)) & ~silent
    enough = seen.n_samples > 1
    return ChannelFacts(
        call=call,
        n_channels=seen.n_channels,
        n_samples=seen.n_samples,
        n_batches=seen.n_batches,
        silent=int(silent.sum()),
        silent_examples=silent.nonzero().flatten()[:_EXAMPLES].tolist(),
        constant=int(constant.sum()) if enough else 0,
        constant_examples=constant.nonzero().flatten()[:_EXAMPLES].tolist() if enough else [],
        fired_share=float(seen.fired.double().mean()) / seen.n_samples if seen.n_samples else None,
    )
