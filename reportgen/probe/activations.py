"""Outputs of every layer, streamed over all batches: fixed-size accumulators, nothing kept of a tensor."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..document.facts import ActivationFacts
from ..subject.data import Batch, tensors
from ..subject.shapes import is_transformed, shape_of
from .attention import AttentionProbe, Watched
from .blocks import BlockProbe
from .channels import ChannelAccumulator, Range, Seen, add_all
from .derived import CUTS, rectified_range, tells_its_input
from .layers import (
    ACTIVATIONS,
    AFFINE,
    NORMS,
    RECTIFIERS,
    channel_dim,
    has_own_channels,
    layers_of,
    main_tensor,
    samples_first,
    time_first,
    unhookable,
)
from .norms import LayerNormInput, first_tensor
from .outputs import Channels, Layer, add_told_by_norm, is_rectified, new_part, norm_row_of, row_of
from .reduce import as_real

MAX_CALLS = 8  # calls of one module in one forward that keep channels of their own; later ones share the last
MAX_CHANNELS = 1 << 17
MAX_HELD = 1 << 21  # values that wait to be added, of all layers and some batches together
MAX_OUTPUTS = 1 << 12  # outputs that they come from
TRANSFORMED = "it runs inside a transform of functions (vmap, grad), where values cannot be read"
EXACT = ["count", "mean", "min", "max", "non-finite", "silent"]


class _Made(NamedTuple):
    """A tensor that a hook saw made, in the state it was left in."""

    tensor: weakref.ref[Tensor]
    version: int
    dim: int
    range: Range | None = None


class _Waiting(NamedTuple):
    """An output that the batch norm which reads it will tell about; it waits until the next layer is called."""

    layer: Layer
    tensor: Tensor
    version: int
    dim: int
    norm: nn.Module


class _Held(NamedTuple):
    """What was seen of one output, to be added with that of other layers."""

    layer: Layer
    part: Channels
    seen: Seen
    few: Tensor | None


class ActivationProbe:
    """Hooks on every layer while ``attached``; ``facts`` when all batches have passed.

    The hooks only read: the model's outputs are the same to the bit. What goes wrong inside a hook costs that layer its
    row and is told in ``reasons``; it never reaches the model.
    """

    def __init__(self, model: nn.Module, attention: Watched | None = None) -> None:
        self._model = model
        self._layers = {name: Layer(name, m, isinstance(m, RECTIFIERS)) for name, m in layers_of(model).items()}
        sequences = time_first(model)
        for layer in self._layers.values():
            layer.time_first = layer.name in sequences
            layer.is_norm, layer.own_channels = isinstance(layer.module, NORMS), has_own_channels(layer.module)
        for layer, following in pairwise(self._layers.values()):
            norm = following.module
            if isinstance(layer.module, AFFINE) and isinstance(norm, _BatchNorm) and tells_its_input(norm):
                layer.norm = following
            layer.activated = isinstance(following.module, ACTIVATIONS)
            layer.glance = layer.activated and layer.is_norm
        self._read: dict[str, Layer] = {}
        """What affine layers read where no hook saw it made."""
        self._layer_norms: dict[str, LayerNormInput] = {}
        self._attention = AttentionProbe(model, attention)
        self._blocks = BlockProbe(model)
        self._made: dict[int, _Made] = {}
        self._waiting: _Waiting | None = None
        self._held: list[_Held] = []
        self._n_held = 0
        self._reads: Range | None = None
        """Extremes of what a rectifier is about to read."""
        self._range: Range | None = None
        """Extremes of the tensor measured last, if all of it was finite."""
        self._given: set[int] = set()
        self._maps = 0
        self._executed = 0
        self._first: ChannelAccumulator | None = None
        self._n_batches = 0
        self._n_samples = 0

    @contextmanager
    def attached(self) -> Iterator[ActivationProbe]:
        """Install the hooks and take them off again, whatever happens."""
        handles: list[Any] = []
        try:
            for name, layer in self._layers.items():
                if isinstance(layer.module, nn.LayerNorm):
                    self._layer_norms[name] = LayerNormInput(layer.module)
                handles.append(layer.module.register_forward_pre_hook(self._input_hook(layer)))
                handles.append(layer.module.register_forward_hook(self._output_hook(layer)))
            handles += self._attention.attach()
            handles += self._blocks.attach()
            yield self
        finally:
            for handle in handles:
                handle.remove()
            self._add_held()
            self._blocks.add_held()

    def next_batch(self, batch: Batch) -> None:
        """Begin a new batch: calls are counted from zero again."""
        self._n_batches += 1
        self._n_samples += batch.n_samples
        self._settle()
        self._made.clear()
        self._maps = 0
        self._attention.next_batch()
        self._given = {_address(t) for t in tensors((batch.args, batch.kwargs))}
        for layer in (*self._layers.values(), *self._read.values()):
            layer.calls_in_batch = 0

    def _input_hook(self, layer: Layer) -> Any:
        """Watch what a layer reads. Only some kinds are looked at closely, so most calls return at once."""
        module, name = layer.module, layer.name
        affine, rectifier = isinstance(module, AFFINE), isinstance(module, RECTIFIERS)

        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            x = first_tensor(args)
            try:
                if self._waiting is not None and (self._waiting.norm is not module or self._waiting.tensor is not x):
                    self._settle()
                if x is None or layer.trouble or is_transformed(x):
                    return
                if self._executed == 0:
                    self._read_first(x)
                if name in self._layer_norms:
                    self._layer_norms[name].see(x)
                elif affine:
                    self._read_function(layer, x)
                elif rectifier:
                    known = self._known(x)
                    self._reads = None if known is None or known.tensor() is not x else known.range
            except Exception as error:
                layer.trouble = f"{type(error).__name__}: {error}"

        return hook

    def _settle(self) -> None:
        """Measure the output that waits by itself: what was called next is not the norm that would have told of it."""
        waiting, self._waiting = self._waiting, None
        if waiting is None or waiting.layer.trouble:
            return
        if _version(waiting.tensor) != waiting.version:
            waiting.layer.trouble = "its output was changed in place before it could be measured"
            return
        try:
            self._measure(waiting.layer, 0, waiting.tensor, waiting.dim)
            self._remember(waiting.tensor, waiting.dim)
        except Exception as error:
            waiting.layer.trouble = f"{type(error).__name__}: {error}"

    def _settle_by_norm(self, norm: Layer, x: Tensor | None, *, calm: bool) -> None:
        """Let the norm that was just measured tell about the output it read.

        Where the norm's output is not finite, the layer's own is looked at, to tell which of the two began it.
        """
        waiting = self._waiting
        if waiting is None or waiting.tensor is not x:
            return
        if norm.calls_in_batch > 1:  # its figures by call are those of another layer's output
            self._settle()
            return
        self._waiting = None
        waiting.layer.linked = True
        if not calm and (real := as_real(waiting.tensor)) is not None:
            seen = waiting.layer.broken or ChannelAccumulator(real.shape[1], real.device)
            waiting.layer.broken = seen
            seen.update(real, 1)

    def _read_first(self, x: Tensor) -> None:
        """Measure what the first executed layer reads: the input after whatever forward does to it before."""
        real = as_real(x)
        if real is None or not real.numel():
            return
        # channels of the first layer's own are of no interest here
        flat = real.reshape(real.shape[0] if real.dim() else 1, -1, 1)
        self._first = self._first or ChannelAccumulator(1, real.device)
        self._first.update(flat, 2)

    def _read_function(self, layer: Layer, x: Tensor) -> None:
        """Measure what an affine layer reads when it looks like the output of ``F.relu``: zeros, and nothing below.

        It is looked at where no hook saw it made and it is not part of the model's input.
        """
        name = f"{layer.name} (input)"
        if self._known(x) is not None or _address(x) in self._given or self._executed == 0:
            # zeros that a state begins with, before the outputs of a layer take its place
            if self._read and name in self._read:
                self._read[name].ignored = True
            return
        read = self._read.get(name)
        if read is None:
            told = Layer(name, layer.module, rectified=True, functional=True, time_first=layer.time_first)
            read = self._read[name] = told
        if read.ignored or not x.is_floating_point():
            return
        x, dim = self._as_maps(layer.module, x)
        if x.device.type == "cpu" and not read.parts and not _looks_rectified(x):
            read.ignored = True
            return
        self._count_call(read)
        self._measure(read, min(read.calls_in_batch, MAX_CALLS) - 1, samples_first(x) if read.time_first else x, dim)

    def _as_maps(self, module: nn.Module, x: Tensor) -> tuple[Tensor, int]:
        """Undo a flattening before a dense layer: the channels of the maps are the units, not each of their places."""
        if isinstance(module, nn.Linear):
            base = x._base
            if base is not None and base.dim() >= 4 and base.numel() == x.numel() and len(base) == len(x):
                return base, 1
            if x.dim() == 2 and self._maps > 1 and x.shape[1] > self._maps and x.shape[1] % self._maps == 0:
                return x.reshape(len(x), self._maps, -1), 1
            return x, max(x.dim() - 1, 0)
        return x, max(x.dim() - 1 - len(module.kernel_size), 0)  # type: ignore[arg-type]

    def _known(self, x: Tensor) -> _Made | None:
        """Return what is known of a tensor, or of the one it is a view of, if it is still as a hook left it."""
        for tensor in (x, x._base):
            made = self._made.get(id(tensor)) if tensor is not None else None
            if made is not None and made.tensor() is tensor and made.version == _version(tensor):
                return made
        return None

    def _count_call(self, layer: Layer) -> None:
        if layer.order is None:
            layer.order = self._executed
            self._executed += 1
        layer.calls += 1
        layer.calls_in_batch += 1

    def _output_hook(self, layer: Layer) -> Any:
        is_norm, cuts = isinstance(layer.module, _BatchNorm), isinstance(layer.module, CUTS)
        affine = isinstance(layer.module, AFFINE)

        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            self._count_call(layer)
            if layer.trouble:
                return
            try:
                tensor = main_tensor(output)
                if tensor is None:
                    layer.trouble = "its output holds no floating-point tensor"
                    return
                dim = layer.dims.get(tensor.dim())
                if dim is None:
                    dim = self._channel_dim(layer, args, tensor)
                if dim == 1 and tensor.dim() >= 4:
                    self._maps = tensor.shape[1]
                elif affine:
                    self._maps = 0  # what a dense layer made are units, not places of maps
                if layer.norm is not None and dim == 1 and layer.calls_in_batch == 1:
                    self._waiting = _Waiting(layer, tensor, _version(tensor), dim, layer.norm.module)
                    return
                known, self._reads = (rectified_range(module, self._reads) if cuts else None), None
                call = min(layer.calls_in_batch, MAX_CALLS) - 1
                layer.shape = layer.shape or shape_of(tensor)
                calm = self._measure(layer, call, samples_first(tensor) if layer.time_first else tensor, dim, known)
                self._remember(tensor, dim)
                if is_norm:
                    self._settle_by_norm(layer, first_tensor(args), calm=calm)
            except Exception as error:
                layer.trouble = f"{type(error).__name__}: {error}"

        return hook

    def _remember(self, tensor: Tensor, dim: int) -> None:
        self._made[id(tensor)] = _Made(weakref.ref(tensor), _version(tensor), dim, self._range)

    def _measure(self, layer: Layer, call: int, tensor: Tensor, dim: int, known: Range | None = None) -> bool:
        """Add one output to its layer; tell whether all of it is known to be finite."""
        self._range = None
        x = as_real(tensor)
        if x is None:
            layer.trouble = TRANSFORMED if is_transformed(tensor) else "its output holds no dense real numbers"
            return False
        layer.shape = layer.shape or shape_of(tensor)
        n_channels = x.shape[dim] if x.dim() else 1
        if n_channels > MAX_CHANNELS or (x.dim() and dim == 0):
            x, dim, n_channels, known = x.reshape(1, -1, 1), 2, 1, None
        part = layer.parts.get(call)
        if part is None:
            part = layer.parts[call] = new_part(layer, n_channels, x)
        if part.exact.n_channels != n_channels:
            layer.trouble = f"its number of channels changed from {part.exact.n_channels} to {n_channels}"
            return False
        # a glance is enough at a norm whose activation is measured in full: the first touch of a tensor is what costs
        seen = part.exact.look(x, dim, known, glance=layer.glance, later=not layer.is_norm)
        if seen is None:
            return True
        low, high = seen.reduced.low, seen.reduced.high
        if seen.calm and low is not None and high is not None:
            self._range = Range(low, high)
        few = None if part.concentration is None else part.concentration.pick(seen)
        self._n_held += seen.n_kept
        self._held.append(_Held(layer, part, seen.let_go(), few))
        if self._n_held > MAX_HELD or len(self._held) >= MAX_OUTPUTS:
            self._add_held()
        return seen.calm

    def _add_held(self) -> None:
        """Add what was seen since the last time to its layers."""
        held, self._held, self._n_held = self._held, [], 0
        add_all([(one.part.exact, one.seen) for one in held])
        for layer, part, seen, few in held:
            try:
                if part.spread is not None:
                    part.spread.update(seen.sums, seen.layout.before * seen.layout.behind)
                if part.saturation is not None:
                    part.saturation.update(seen.taken)
                if part.concentration is not None and few is not None:
                    part.concentration.add(few)
            except Exception as error:
                layer.trouble = f"{type(error).__name__}: {error}"

    def _channel_dim(self, layer: Layer, args: tuple[Any, ...], tensor: Tensor) -> int:
        """Return where the channels of an output lie; where the layer's kind alone tells, it is asked once."""
        if not layer.own_channels:
            return channel_dim(layer.module, tensor, self._inherited(args, tensor))
        return layer.dims.setdefault(tensor.dim(), channel_dim(layer.module, tensor, None))

    def _inherited(self, args: tuple[Any, ...], output: Tensor) -> int | None:
        """Return the channel dimension of the tensor that a layer read, if a hook saw that very tensor made."""
        first = first_tensor(args)
        if first is None or first.dim() != output.dim():
            return None
        known = self._made.get(id(first))
        return known.dim if known is not None and known.tensor() is first else None

    def order(self) -> dict[str, int]:
        """Return the place of each executed layer in the order of first execution."""
        return {name: layer.order for name, layer in self._layers.items() if layer.order is not None}

    def facts(self) -> ActivationFacts:
        """Fetch the accumulators and return what was measured."""
        self._settle()
        self._add_held()
        executed = [
            layer
            for layer in (*self._layers.values(), *self._read.values())
            if layer.order is not None and not layer.ignored
        ]
        executed.sort(key=lambda layer: layer.order or 0)
        for layer in executed:
            add_told_by_norm(layer)
        rows = [row_of(layer, self._model) for layer in executed if layer.parts]
        return ActivationFacts(
            mode="eval",
            n_batches=self._n_batches,
            n_samples=self._n_samples,
            rows=[row for row in rows if not row.functional or is_rectified(row)],
            norms=[norm for layer in executed if (norm := norm_row_of(layer)) is not None],
            layer_norms=[row for n, seen in self._layer_norms.items() if (row := seen.row(n)) is not None],
            blocks=self._blocks.rows(self.order()),
            attention=self._attention.rows(),
            not_executed=[name for name, layer in self._layers.items() if layer.order is None],
            exact=EXACT,
            first_input=self._first.stats() if self._first is not None and self._first.count else None,
            reasons=self._reasons(executed),
            remarks=self._attention.reasons,
        )

    def _reasons(self, executed: list[Layer]) -> list[str]:
        closed = unhookable(self._model)
        told = [f"{closed} TorchScript modules take no hooks"] if closed else []
        return told + [f"{layer.name}: {layer.trouble}" for layer in executed if layer.trouble]


def _address(x: Tensor) -> int:
    try:
        return x.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):  # sparse and other tensors without a storage
        return id(x)


def _version(x: Tensor | None) -> int:
    # tensors of inference mode keep no count of their changes
    return -1 if x is None or x.is_inference() else x._version


def _looks_rectified(x: Tensor) -> bool:
    """Tell from 4096 values whether x may be the output of a rectifier; whole numbers are counts or codes."""
    flat = x.detach().reshape(-1)
    few = flat[:: max(1, flat.numel() // 4096)]
    counted = (few == few.round()).all() & (few > 0).any()
    return bool((few >= 0).all() & (few == 0).any() & ~counted)
