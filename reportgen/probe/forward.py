"""One forward pass over one batch that tells shapes, calls, work and memory of every module.

Hooks give shapes and calls, a dispatch mode sees every operator, and torchinfo runs in the same pass for the figures
that its readers know. Where torchinfo or the dispatch mode cannot follow a model, the pass is run again without.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ..document.flow import FlowFacts
from ..errors import one_line
from ..subject.data import Batch, call, tensors
from ..subject.shapes import shape_of
from ..subject.signature import loss_in
from .attention_maps import AttentionWatch
from .attributes import is_lazy, same
from .flops import flops_of, operator_name
from .flow import Flow, in_definition_order
from .guard import modules_kept
from .layers import kind_of
from .memory import LiveBytes, nbytes, storage_of
from .tasks import named_tensors

_SHOWN = 4  # tensors of one argument list whose shapes are written out


@dataclass
class ModulePass:
    """What the pass told of one module."""

    input_shape: str | None = None
    output_shape: str | None = None
    """Of the first call."""
    calls: int = 0
    output_bytes: int = 0
    """Of all calls."""
    flops: int = 0
    mult_adds: int | None = None


@dataclass
class ForwardPass:
    """What one forward pass over a batch told, by the module's name."""

    modules: dict[str, ModulePass] = field(default_factory=dict)
    n_samples: int = 0
    flops: int | None = None
    mult_adds: int | None = None
    peak_bytes: int | None = None
    peak_at: str = ""
    uncounted: list[str] = field(default_factory=list)
    read: set[int] = field(default_factory=set)
    """Ids of the parameters that an operator read, in whichever module."""
    writes: bool = False
    """The model wrote into its input, or asked it for a gradient."""
    recorded: bool = False
    """It ran only while a graph was recorded."""
    own_loss: bool = False
    """The output holds a loss that the model computed itself."""
    outputs: tuple[str, ...] = ()
    """Names of the tensors that the model returns, where it names them."""
    flow: FlowFacts | None = None
    attention: AttentionWatch | None = None
    seconds: float = 0.0
    limits: list[str] = field(default_factory=list)
    """What this pass could not tell, and why."""

    def of(self, name: str) -> ModulePass:
        return self.modules.setdefault(name, ModulePass())


def observe(model: nn.Module, batch: Batch, *, attention: bool = True) -> ForwardPass:
    """Run the model once in eval mode and return what was seen; the caller holds the guard.

    Weights of ``attention`` cost about as much as the attention itself, and are kept for a report that shows them.

    Raises what the model raises when it does not run without any of our instruments either.
    """
    model.eval()
    if any(is_lazy(t) for t in chain(model.parameters(), model.buffers())):
        with torch.no_grad():
            call(model, batch.fresh())  # lazy parameters come into being here, and are no work of the pass
    started = time.perf_counter()
    try:
        seen = _best_pass(model, batch, attention)
    except RuntimeError as error:
        if batch.recorded or "does not require grad" not in str(error):
            raise
        seen = _best_pass(model, replace(batch, recorded=True), attention)  # forces from an energy, say
        seen.recorded = True
    seen.seconds = time.perf_counter() - started
    return seen


def _best_pass(model: nn.Module, batch: Batch, attention: bool) -> ForwardPass:
    """Take off one instrument after the other until the model runs; torchinfo reads fewer kinds of inputs than we.

    A try that fails leaves no buffers half written to the next.
    """
    if hookable(model):
        with suppress(Exception), modules_kept(model):  # of the model or of torchinfo: the next try will tell
            return _pass(model, batch, operators=True, torchinfo=True, attention=attention)
    try:
        with modules_kept(model):
            return _pass(model, batch, operators=True, torchinfo=False, attention=attention)
    except Exception as error:
        seen = _pass(model, batch, operators=False, torchinfo=False)
        seen.limits.append(f"operators could not be watched, so FLOPs and memory are unknown: {one_line(error)}")
        return seen


def hookable(module: nn.Module) -> bool:
    """Tell whether hooks can be put on a module; TorchScript takes none."""
    return not isinstance(module, torch.jit.ScriptModule)


def _pass(model: nn.Module, batch: Batch, *, operators: bool, torchinfo: bool, attention: bool = False) -> ForwardPass:
    given, batch = batch, batch.fresh()
    seen = ForwardPass(n_samples=batch.n_samples)
    seen.attention = AttentionWatch(model, batch.n_samples) if attention else None
    flow = Flow(model, operators=operators)
    where = _Where(flow)
    watch = _Operators(model, batch, seen, where) if operators else None
    with warnings.catch_warnings(), torch.no_grad(), _hooks(model, seen, where), watch or nullcontext():
        warnings.simplefilter("ignore")
        if torchinfo:
            _run_by_torchinfo(model, batch, seen)
        else:
            output = call(model, batch)
            if not hookable(model):
                _record(seen.of(""), batch.args, batch.kwargs, output)
                seen.own_loss = loss_in(output) is not None
    seen.writes = _written(given, batch)
    if watch is not None:
        watch.finish(seen)
    seen.flow = flow.facts() if hookable(model) else in_definition_order(model, "TorchScript takes no hooks")
    flow.close()
    return seen


def _written(given: Batch, handed: Batch) -> bool:
    """Tell whether a pass changed the copy that it was handed: its values, or what a dict or a list holds."""
    before, after = (list(tensors((batch.args, batch.kwargs))) for batch in (given, handed))
    return len(before) != len(after) or any(
        _is_plain(a) and not (same(a.detach(), b.detach()) and a.requires_grad == b.requires_grad)
        for a, b in zip(before, after, strict=True)
    )


def _is_plain(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and not (tensor.is_nested or tensor.is_meta or tensor.is_quantized)


class _Where:
    """The modules that are running, outermost first."""

    def __init__(self, flow: Flow) -> None:
        self.names: list[str] = []
        self.flow = flow

    def enter(self, name: str, args: Any, kwargs: Any) -> None:
        self.names.append(name)
        self.flow.enter(name, args, kwargs)

    def leave(self, name: str, output: Any) -> None:
        """End a module; called too when its forward raised, since the model may catch that and go on."""
        while self.names and self.names.pop() != name:
            pass
        self.flow.leave(name, output)

    @property
    def innermost(self) -> str:
        return self.names[-1] if self.names else ""


def _hookable_modules(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, module) for name, module in model.named_modules() if hookable(module)]


@contextmanager
def _hooks(model: nn.Module, seen: ForwardPass, where: _Where) -> Iterator[None]:
    """Record calls, shapes and sizes, and which modules are running."""

    def enter(name: str) -> Any:
        return lambda module, args, kwargs: where.enter(name, args, kwargs)

    def record(name: str) -> Any:
        return lambda module, args, kwargs, output: _record(seen.of(name), args, kwargs, output)

    def look(module: nn.Module, args: Any, output: Any) -> None:
        seen.own_loss = loss_in(output) is not None
        seen.outputs = tuple(named_tensors(output))

    def leave(name: str) -> Any:
        return lambda module, args, output: where.leave(name, output)

    handles = []
    try:
        for name, module in _hookable_modules(model):
            handles.append(module.register_forward_pre_hook(enter(name), with_kwargs=True))
            handles.append(module.register_forward_hook(record(name), with_kwargs=True))
            handles.append(module.register_forward_hook(leave(name), always_call=True))
            if module is model:
                handles.append(module.register_forward_hook(look))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _record(seen: ModulePass, args: Any, kwargs: Any, output: Any) -> None:
    seen.calls += 1
    with suppress(Exception):  # tensors of an odd kind; no trouble of ours may reach the model
        seen.output_bytes += sum(nbytes(t) for t in tensors(output))
        if seen.output_shape is None:
            seen.input_shape, seen.output_shape = _shapes((args, kwargs)), _shapes(output)


def _shapes(value: Any) -> str:
    """Write the shapes of the tensors in a value: '2 × 3, 2 × 4'."""
    found = list(tensors(value))
    shown = [shape_of(t) or "scalar" for t in found[:_SHOWN]]
    more = [f"… {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    return ", ".join(shown + more) or "no tensor"


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count work, weigh memory, and note which parameters are read, operator by operator."""

    def __init__(self, model: nn.Module, batch: Batch, seen: ForwardPass, where: _Where) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._where = where
        self._modules: dict[str, int] = {}
        self._total = 0
        self._missing: dict[str, int] = {}
        own = [*model.parameters(), *model.buffers()]
        own = [t for t in own if not is_lazy(t)]
        self._memory = LiveBytes(chain(own, tensors((batch.args, batch.kwargs))))
        self._owners: dict[int, set[int]] = {}
        for parameter in own:
            if (storage := storage_of(parameter)) is not None:
                self._owners.setdefault(storage._cdata, set()).add(id(parameter))
        self._read = seen.read
        self._attention = seen.attention

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten.detach.default or not isinstance(func, torch._ops.OpOverload):
            return func(*args, **kwargs)
        if torch.is_inference_mode_enabled() and func._can_decompose():
            # composite operators arrive whole only in inference mode: count what they are made of
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        out = func(*args, **kwargs)
        self._memory.see((args, kwargs), out, self._where.innermost)
        self._where.flow.see(func, args, kwargs, out)
        if self._attention is not None:
            self._attention.see(func, args, kwargs, out, self._where.innermost)
        self._note_reads(args)
        n = flops_of(func, args, kwargs, out)
        if n is None:
            name = operator_name(func)
            self._missing[name] = self._missing.get(name, 0) + 1
        elif n:
            self._total += n
            for name in set(self._where.names):
                self._modules[name] = self._modules.get(name, 0) + n
        return out

    def _note_reads(self, args: Any) -> None:
        for tensor in tensors(args):
            if (storage := storage_of(tensor)) is not None and storage._cdata in self._owners:
                self._read.update(self._owners[storage._cdata])

    def finish(self, seen: ForwardPass) -> None:
        """Hand over the sums."""
        seen.flops = self._total
        seen.peak_bytes, seen.peak_at = self._memory.peak, self._memory.at
        self._memory.close()
        if self._attention is not None:
            self._attention.close()
        seen.of("").flops = self._total
        for name, n in self._modules.items():
            seen.of(name).flops = n
        seen.uncounted = [f"{name} ({n} call{'s' * (n > 1)})" for name, n in sorted(self._missing.items())]


def _run_by_torchinfo(model: nn.Module, batch: Batch, seen: ForwardPass) -> None:
    """Run the model under torchinfo's hooks, and keep their mult-adds.

    Its hooks alone: the summary that it makes of them takes time exponential in the depth of nesting, and to bring them
    in order takes time quadratic in the number of layers, where those of two lists are called in turn.
    """
    from torchinfo import torchinfo

    layers, _, hooks = torchinfo.apply_hooks(kind_of(model), model, [], None)
    try:
        call(model, batch)
    finally:
        for handle in (handle for pair in hooks.values() for handle in pair):
            handle.remove()
    names = {id(module): name for name, module in model.named_modules()}
    seen.mult_adds = 0
    for layer in layers:
        if layer.is_leaf_layer:
            seen.mult_adds += int(layer.macs)
            if layer.executed and (name := names.get(layer.layer_id)) is not None:
                seen.of(name).mult_adds = (seen.of(name).mult_adds or 0) + int(layer.macs)
