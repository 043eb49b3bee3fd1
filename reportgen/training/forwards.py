"""Forward passes, watched: in which mode modules run, and at looked-at steps what comes out of each layer."""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, is_grad_enabled, nn
from torch.compiler import is_compiling
from torch.nn.modules.batchnorm import _NormBase

from ..probe.layers import RECTIFIERS, channel_dim, kind_of, layers_of, main_tensor
from ..subject.data import tensors
from .movement import MAX_PORTRAITS, draw, spread
from .naming import modules_of
from .observations import NOTHING, LayerEntry, Layers, Outputs
from .run import Run
from .samples import entries, lifted

MAX_LAYERS = 512
MAX_ELEMENTS = 1 << 22  # of one output; of a larger one the first samples are taken
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def has_two_modes(module: nn.Module) -> bool:
    """Tell whether a module of torch computes one thing in train mode and another in eval mode."""
    if isinstance(module, _NormBase):
        return module.track_running_stats and not isinstance(module, nn.modules.instancenorm._InstanceNorm)
    if isinstance(module, _DROPOUTS):
        return module.p > 0
    if isinstance(module, (nn.RNNBase, nn.MultiheadAttention)):
        return module.dropout > 0
    return isinstance(module, nn.RReLU)


class Hook:
    """A forward hook that a copy of the module does not take along: copied or pickled, it does nothing.

    People copy and save models in the middle of training, and what they save must load without this package.
    """

    def __init__(self, watch: Any, module: nn.Module, call: Any) -> None:
        """``watch``: what is told of an error in ``call``, and then comes off."""
        self._watch, self._module, self._call = watch, module, call

    def __call__(self, module: nn.Module, *rest: Any) -> None:
        if module is not self._module or is_compiling() or self._watch.run.paused:
            return
        try:
            self._call(module, *rest)
        except Exception as error:
            self._watch.detach()
            self._watch.run.notebook.trouble("the forward pass is no longer watched", error)

    def __reduce__(self) -> tuple[Any, ...]:
        # of what every Python has, this takes any arguments, does nothing and returns None, as a hook should
        return functools.partial, (sys.audit, "forward")


class PassHook(Hook):
    """The hook on a whole model, in one call where it is a training pass: it runs in every step."""

    def __call__(self, module: nn.Module, *rest: Any) -> None:
        watch = self._watch
        if module is not self._module or is_compiling() or watch.run.paused:
            return
        watch.called = True
        if is_grad_enabled():
            watch.with_gradients = True
            watch.passes += 1
        else:
            super().__call__(module, *rest)


@dataclass
class _Layer:
    module: nn.Module
    two_modes: bool
    train: int = 0
    eval: int = 0
    rms: Tensor | None = None
    silent: Tensor | None = None
    highest: Tensor | None = None
    sample: Tensor | None = None

    def clear(self) -> None:
        self.train = self.eval = 0
        self.rms = self.silent = self.highest = self.sample = None


class ForwardWatch:
    """One light hook on each model all the time, and one on each layer while ``armed``."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.validated = False
        """A forward pass without gradients has run since the last step."""
        self.passes = 0
        """Forward passes with gradients since the last step."""
        self.size = 0
        """Samples in a batch, when it was last looked at."""
        self.called = False
        """A hook on a whole model has run."""
        self.with_gradients = False
        """That pass is one of training."""
        self._portrait = False
        self._layers: list[_Layer] = []
        self._entries: list[LayerEntry] = []
        self._roots: list[nn.Module] = []
        self._modal: list[nn.Module] = []
        self._handles: list[Any] = []
        self._armed: list[Any] = []

    def attach(self) -> None:
        models = self.run.models
        self._roots = [m for m in models.values() if not isinstance(m, torch.jit.ScriptModule)]
        self._modal = [m for model in models.values() for m in model.modules() if has_two_modes(m)]
        layers = {id(m) for model in models.values() for m in layers_of(model).values()}
        choice = self.run.choice
        found = [(n, m) for n, m in modules_of(models) if id(m) in layers and choice.share(n, "outputs") > 0]
        # dropouts are no layers of the reports, but they are what modes are about
        known = {id(m) for _, m in found}
        drops = [m for m in self._modal if id(m) not in known]
        self._entries = [
            LayerEntry(name=name, kind=kind_of(m), rectifier=isinstance(m, RECTIFIERS))
            for name, m in found[:MAX_LAYERS]
        ]
        self._layers = [_Layer(m, has_two_modes(m)) for _, m in found[:MAX_LAYERS]]
        self._layers += [_Layer(m, True) for m in drops]
        if self._entries:
            self.run.notebook.add(Layers(entries=self._entries))
        self._handles = [
            model.register_forward_pre_hook(PassHook(self, model, self._validates)) for model in self._roots
        ]

    def detach(self) -> None:
        self.disarm()
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def arm(self, *, portrait: bool) -> None:
        """Look at the layers in the training passes until ``collect``."""
        self._portrait = portrait
        if self._armed or not self._handles:
            return
        for model in self._roots:
            self._armed.append(model.register_forward_pre_hook(Hook(self, model, self._sized), with_kwargs=True))
        chosen = set(spread(list(range(len(self._entries))), MAX_PORTRAITS))
        step = self.run.notebook.tally.steps
        for place, layer in enumerate(self._layers):
            named = place < len(self._entries)
            if named and not self.run.choice.at(self._entries[place].name, step, "outputs"):
                continue
            what = functools.partial(self._output, layer, place in chosen, named)
            self._armed.append(layer.module.register_forward_hook(Hook(self, layer.module, what)))

    def disarm(self) -> None:
        for handle in self._armed:
            handle.remove()
        self._armed = []

    def _validates(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self.with_gradients = False
        self.validated = True
        if self._modal:
            tally = self.run.notebook.tally
            if on := [m for m in self._modal if m.training]:
                tally.train_validations += 1
                tally.dropped_validations += not module.training and all(isinstance(m, _DROPOUTS) for m in on)
            else:
                tally.eval_validations += 1

    def _sized(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Read the batch size off the arguments of the model."""
        first = next(tensors((args, kwargs)), None)
        if first is not None and first.dim() and is_grad_enabled():
            self.size = first.shape[0]
            tally = self.run.notebook.tally
            tally.batch_size = tally.batch_size or self.size

    def _output(self, layer: _Layer, chosen: bool, measured: bool, module: nn.Module, args: Any, output: Any) -> None:
        # under activation checkpointing layers run without gradients inside a pass that has them
        if not (self.with_gradients if self.called else is_grad_enabled()):
            return
        self.passes = max(self.passes, 1)
        layer.train += module.training
        layer.eval += not module.training
        x = main_tensor(output) if measured and layer.rms is None else None
        if x is None or x.is_meta or x.layout != torch.strided or not x.numel() or x.is_complex():
            return
        x = x.detach()
        dim = channel_dim(module, x, None)
        if x.numel() > MAX_ELEMENTS and x.dim() > 1 and dim != 0:
            x = x[: max(1, MAX_ELEMENTS * len(x) // x.numel())]
        if chosen and self._portrait:
            layer.sample = lifted(entries(x)).clone()
        layer.rms = torch.linalg.vector_norm(x, dtype=torch.promote_types(x.dtype, torch.float32)) / x.numel() ** 0.5
        others = [d for d in range(x.dim()) if d != dim]
        high = x.amax(others) if others else x
        layer.highest = high.amax()
        layer.silent = (high <= 0).float().mean()

    def collect(self, step: int) -> None:
        """Hand over what the layers did in the step that has ended, and take the hooks off."""
        self.disarm()
        layers = self._layers
        tally = self.run.notebook.tally
        modal = [layer for layer in layers if layer.two_modes and layer.train + layer.eval]
        if modal:
            if any(layer.train for layer in modal):
                tally.train_steps += 1
            else:
                tally.eval_steps += 1
        places = [i for i, layer in enumerate(layers[: len(self._entries)]) if layer.rms is not None]
        if places:
            values = [t for i in places for t in (layers[i].rms, layers[i].silent, layers[i].highest) if t is not None]
            stack = torch.stack([t.to(values[0].device, torch.float32) for t in values])
            modes = [layers[i].train for i in places], [layers[i].eval for i in places]
            self.run.notebook.fetch(stack, functools.partial(self._read, step, places, *modes))
            drawn = [(self._entries[i].name, "activation", s) for i in places if (s := layers[i].sample) is not None]
            if drawn:
                draw(self.run, step, drawn)
        for layer in layers:
            layer.clear()

    def _read(self, step: int, places: list[int], train: list[int], evaluated: list[int], numbers: list[float]) -> None:
        rms, silent, highest = numbers[::3], numbers[1::3], numbers[2::3]
        self.run.notebook.add(
            Outputs(
                step=step,
                at=places,
                rms=[_finite(v) for v in rms],
                silent=[NOTHING if v != v else v for v in silent],
                train=train,
                eval=evaluated,
            )
        )
        # minus infinity alone is how positions are masked
        bad = [place for place, high in zip(places, highest, strict=True) if high != high or high == float("inf")]
        if bad:
            self.run.notebook.nonfinite("activation", self._entries[bad[0]].name, step)


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None
