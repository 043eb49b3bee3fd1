"""Parameters and buffers, tensor by tensor, in one pass over each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from msgspec.structs import replace
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ..document.facts import BrokenTie, BufferRow, WeightFacts, WeightRow
from ..document.matrices import MatrixFacts
from ..subject import hub_config
from ..subject.hub_config import Heads
from ..subject.shapes import is_plain, whole
from . import recurrent
from .initial import default_bound, default_init, testable
from .kinds import Role, Shape, is_packed, is_transposed, kind_by_name, norm_after, role_of, shapes_of
from .layers import NORMS, kind_of
from .matrices import Rows, distribution, embedding, filters, gains, quantisation, rows_at, rows_of
from .reduce import as_real, tensor_stats
from .spectra import Method, spectrum
from .stacks import Experts, Part, experts_of, gates_of, stack_of, told_whole
from .sweep import Sweep, joined, sweep


def of_model(model: nn.Module, owned: set[int] | None = None, spectra: Method = "off") -> WeightFacts:
    """Measure every parameter once (a tied one under its first name) and the statistics buffers of norms.

    Of other layers' buffers, in which an infinity may be meant (a mask), only those that hold NaN are given.
    ``owned``: ids of the parameters that an optimizer holds; None when no optimizer is known.
    """
    owners = dict(model.named_modules(remove_duplicate=False))
    followed = _before_norm(model)
    parameters = list(model.named_parameters(remove_duplicate=False))
    held_by_name: dict[str, Tensor] = dict(parameters)
    shapes = {name: () if _unshaped(p) else tuple(p.shape) for name, p in parameters}
    beside = Shape(shapes, hub_config.of_model(model))
    first_name: dict[int, str] = {}
    rows = []
    for name, parameter in parameters:
        owner_name = name.rpartition(".")[0]
        owner = owners[owner_name]
        tied_to = first_name.setdefault(id(parameter), name)
        about = _about(name, parameter, owner, followed.get(owner_name), beside)
        row = _blank(name, parameter, about)
        if tied_to == name:
            row = _through_time(_measured(row, parameter, about, spectra), parameter, about.stack, held_by_name.get)
        else:
            row = replace(row, tied_to=tied_to)
        held = None if owned is None else id(parameter) in owned
        rows.append(replace(row, module=kind_of(owner), in_optimizer=held))
    buffers = [
        BufferRow(name=name, shape=list(buffer.shape), dtype=_dtype(buffer), stats=tensor_stats(buffer))
        for name, buffer in model.named_buffers()
        if buffer.is_floating_point() and _ought_to_be_finite(buffer, owners[name.rpartition(".")[0]])
    ]
    return WeightFacts(rows=rows, buffers=buffers, ties_broken=_broken_ties(model, first_name), flags=_flags(model))


def _ought_to_be_finite(buffer: Tensor, owner: nn.Module) -> bool:
    return isinstance(owner, _NormBase) or (not _unshaped(buffer) and bool(torch.isnan(buffer).any()))


def _flags(model: nn.Module) -> dict[str, bool]:
    """Return modules on which ``requires_grad`` was set as an attribute, which no module has, and which says otherwise
    than all of their parameters."""
    found = {}
    for name, module in model.named_modules():
        said = vars(module).get("requires_grad")
        are = {p.requires_grad for p in module.parameters() if p.is_floating_point()}
        if isinstance(said, bool) and are == {not said}:
            found[name] = said
    return found


_ALL_EXPERTS, _SOME_EXPERTS = 16, 8
_MAX_KERNELS = 1 << 21  # weights of kernels that are compared with their neighbours; first layers are small
_TOO_LARGE = torch.finfo(torch.float32).max
"""Nothing is derived of values beyond it, which float64 alone has: matrices are compared in float32."""


class Reading(NamedTuple):
    """What was read of a file; ``read`` is below ``tensors`` when the user broke off."""

    facts: WeightFacts
    read: int
    tensors: int
    packed: tuple[str, ...] = ()
    """Tensors that seem to be weights and hold whole or packed numbers, which mean nothing without their scales."""


def of_tensors(
    tensors: Mapping[str, Tensor],
    release: Callable[[Tensor], None] = lambda part: None,
    tick: Callable[[int], object] = lambda n_bytes: None,
    spectra: Method = "off",
    outlines: Mapping[str, Tensor] | None = None,
    heads: Heads | None = None,
) -> Reading:
    """Measure the tensors of a bare file, one at a time; what they are is told from names and shapes.

    ``release`` is told of each part that is done with, ``tick`` of the bytes that were read. Ctrl-C ends the reading.
    ``outlines``: the same names with tensors that may be asked for their shapes, where reading one is work. ``heads``:
    how attention is cut into heads, where a configuration says so.
    """
    beside = shapes_of(tensors if outlines is None else outlines, heads)
    rows: list[WeightRow] = []
    buffers: list[BufferRow] = []
    packed: list[str] = []
    first_name: dict[tuple[object, ...], str] = {}
    read = 0
    try:
        for name in tensors:
            tensor = tensors[name]
            if is_packed(name, tensor):
                packed.append(name)
            place = _place_of(tensor) if isinstance(tensors, dict) else None  # of others, memory is used again
            tied_to = name if place is None else first_name.setdefault(place, name)
            if tied_to == name:
                _add_tensor(name, tensor, tensors, beside, (rows, buffers), release, spectra)
            else:
                role = role_of(name, tensor.shape, beside)
                about = _About(role, kind_by_name(name, tensor.shape, role))
                rows.append(replace(_blank(name, tensor, about), tied_to=tied_to))
            read += 1
            tick(tensor.numel() * tensor.element_size())
    except KeyboardInterrupt:
        pass
    return Reading(WeightFacts(rows=rows, buffers=buffers), read, len(tensors), tuple(packed))


def _place_of(tensor: Tensor) -> tuple[object, ...] | None:
    """Return where a tensor lies and how, which two names of one tensor have in common; None where that is not told."""
    if not is_plain(tensor) or not tensor.numel():
        return None
    return (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())


def _add_tensor(
    name: str,
    tensor: Tensor,
    tensors: Mapping[str, Tensor],
    beside: Shape,
    out: tuple[list[WeightRow], list[BufferRow]],
    release: Callable[[Tensor], None],
    spectra: Method,
) -> None:
    rows, buffers = out
    leaf = name.rpartition(".")[2]
    if leaf in ("running_mean", "running_var"):
        stats = tensor_stats(tensor)
        buffers.append(BufferRow(name=name, shape=list(tensor.shape), dtype=_dtype(tensor), stats=stats))
    elif tensor.is_floating_point() or tensor.is_complex() or tensor.is_quantized:
        experts = experts_of(name, tensor.shape, beside)
        role = "weight" if experts is not None else role_of(name, tensor.shape, beside)
        turned = role == "weight" and is_transposed(name, tensor.shape, beside)
        channels = tensor.shape[1 if turned else 0] if tensor.dim() > 1 else 0
        norm = norm_after(name, channels, beside) if role == "weight" else None
        kind = _without_groups(name, kind_by_name(name, tensor.shape, role), beside)
        stack = stack_of(kind, name, _as_channels(tensor.shape, turned), beside) or gates_of(name, beside)
        kind = told_whole(kind, stack)
        about = _About(role, kind, norm is not None, turned, stack, _folding(norm, tensors) if norm else None, experts)
        row = _measured(_blank(name, tensor, about), tensor, about, spectra, release)
        rows.append(_through_time(row, tensor, stack, tensors.get))


def _without_groups(name: str, kind: str, beside: Shape) -> str:
    """Tell a first convolution, of one channel, from one of as many groups as channels: those it would have to read."""
    if kind == "depthwise convolution" and name == next((n for n, s in beside.of.items() if len(s) >= 3), None):
        return "convolution"
    return kind


def _folding(norm: str, tensors: Mapping[str, Tensor]) -> Tensor | None:
    """Return what a batch norm multiplies its channels with, (C,); its eps is not in a file: the default is taken."""
    variance, gain = tensors[f"{norm}.running_var"].double(), tensors.get(f"{norm}.weight")
    factors = (variance + 1e-5).rsqrt()
    if gain is not None:
        factors = factors * gain.double().abs()
    return factors if bool(torch.isfinite(factors).all()) else None


class _About(NamedTuple):
    """What is known of a tensor before it is read."""

    role: Role
    kind: str = ""
    before_norm: bool = False
    turned: bool = False
    """Dimension 1 is the channels."""
    stack: tuple[Part, ...] = ()
    folding: Tensor | None = None
    experts: Experts | None = None


def _about(name: str, parameter: Tensor, owner: nn.Module, norm: nn.Module | None, beside: Shape) -> _About:
    """Tell from the modules what can be told from them, and the rest from names and shapes."""
    shape = beside.of[name]
    experts = experts_of(name, shape, beside)
    role = "weight" if experts is not None else _role(name, parameter, owner)
    kind = kind_by_name(name, shape, role)
    if kind == "depthwise convolution" and getattr(owner, "groups", 2) == 1:  # of an input of one channel
        kind = "convolution"
    turned = bool(getattr(owner, "transposed", False)) and len(shape) > 1
    turned = turned or (type(owner).__name__ == "Conv1D" and len(shape) == 2)  # of GPT-2
    stack = stack_of(kind, name, _as_channels(shape, turned), beside) or gates_of(name, beside)
    folding = None
    if (
        isinstance(norm, _NormBase)
        and norm.running_var is not None
        and role == "weight"
        and not norm.running_var.is_meta
    ):
        folding = (whole(norm.running_var.detach()).double() + norm.eps).rsqrt()
        folding = folding if norm.weight is None else folding * whole(norm.weight.detach()).double().abs()
        channels = shape[1 if turned else 0] if len(shape) > 1 else 0
        folding = folding if len(folding) == channels and bool(torch.isfinite(folding).all()) else None
    return _About(role, told_whole(kind, stack), norm is not None, turned, stack, folding, experts)


def _blank(name: str, tensor: Tensor, about: _About) -> WeightRow:
    """Begin a row with what needs no reading."""
    shape = [] if _unshaped(tensor) else list(tensor.shape)
    fan_in = math.prod(shape) // max(shape[1 if about.turned else 0], 1) if len(shape) >= 2 else None
    if about.experts is not None:
        rows = math.prod(shape[:-1]) // about.experts.number
        fan_in = rows if about.experts.turned else shape[-1]
    return WeightRow(
        name=name,
        module="",
        shape=shape,
        dtype=_dtype(tensor),
        role=about.role,
        kind=about.kind,
        trainable=tensor.requires_grad if isinstance(tensor, nn.Parameter) else None,
        fan_in=fan_in if about.role == "weight" else None,
        before_norm=about.before_norm and about.role == "weight",
    )


def _measured(
    row: WeightRow,
    tensor: Tensor,
    about: _About,
    spectra: Method,
    release: Callable[[Tensor], None] = lambda part: None,
) -> WeightRow:
    """Add what was measured. Beside NaN and infinity nothing is derived: it would be about the rest."""
    real = None if _unshaped(tensor) or tensor.is_meta else as_real(tensor)
    if real is None:
        return row
    x = _with_channels_first(real, about)
    found = joined([sweep(one, release) for one in x]) if about.experts is not None else sweep(x, release)
    row = replace(row, stats=found.stats)
    if not found.stats.finite or found.stats.nonfinite:
        return replace(row, at_default_init=False if row.fan_in and testable(row.shape) else None)
    if max(abs(found.stats.min or 0.0), abs(found.stats.max or 0.0)) > _TOO_LARGE:
        return row
    if about.role == "norm":
        return row if row.name.endswith("bias") else replace(row, gains=gains(real))
    if about.experts is not None:
        row = replace(row, matrices=_of_experts(found, x, about.experts, spectra))
        return replace(row, distribution=distribution(found, real.dtype))
    length = x.numel() // max(x.shape[0], 1) if x.dim() > 1 else x.numel()
    if about.role == "embedding" and x.dim() == 2:
        row = replace(row, embedding=embedding(rows_of(found, length), x))
    if row.fan_in:
        fresh = default_init(found, default_bound(row.name, row.shape))
        row = replace(row, at_default_init=fresh, matrices=_matrices(found, x, about, spectra))
        row = _smoothed(row, real)
        release(real)
    return replace(row, distribution=distribution(found, real.dtype))


def _smoothed(row: WeightRow, x: Tensor) -> WeightRow:
    """Add how alike neighbouring weights of kernels are, (channels, inputs, k, k); small kernels have few of them."""
    if x.dim() != 4 or min(x.shape[2:]) < 5 or not 0 < x.numel() <= _MAX_KERNELS:
        return row
    w = x.detach().double()
    pairs = (w[..., 1:] * w[..., :-1], w[..., 1:, :] * w[..., :-1, :])
    n, energy = sum(p.numel() for p in pairs), float(w.square().mean())
    if not energy > 0:
        return row
    return replace(row, smoothness=float(sum(p.sum() for p in pairs)) / n / energy, smoothness_null=n**-0.5)


def _broken_ties(model: nn.Module, names: Mapping[int, str]) -> list[BrokenTie]:
    """Return the head that the model's own configuration ties to the embedding, where it is another parameter."""
    config = getattr(model, "config", None)
    if getattr(config, "tie_word_embeddings", None) is not True:
        return []
    ends = [getattr(model, f"get_{end}_embeddings", None) for end in ("input", "output")]
    if not all(callable(end) for end in ends):
        return []
    found = [getattr(end(), "weight", None) for end in ends if end is not None]
    embedding, head = (w if isinstance(w, nn.Parameter) and is_plain(w) and not w.is_meta else None for w in found)
    if embedding is None or head is None or embedding is head or embedding.shape != head.shape:
        return []
    if id(embedding) not in names or id(head) not in names:
        return []
    size = float(embedding.detach().double().norm())
    difference = float((embedding.detach().double() - head.detach().double()).norm()) / max(size, 1e-300)
    if not difference > 0:
        return []
    return [BrokenTie(embedding=names[id(embedding)], head=names[id(head)], difference=difference)]


def _through_time(row: WeightRow, tensor: Tensor, stack: tuple[Part, ...], fetch: recurrent.Fetch) -> WeightRow:
    """Add to a recurrent weight what its gates are held at; to one without gates, how far it stretches a state."""
    broken = row.stats is None or not row.stats.finite or row.stats.nonfinite
    if row.kind != "recurrent" or "weight_hh" not in row.name or broken or not is_plain(tensor):
        return row
    if stack:
        return replace(row, gates=recurrent.gates(row.name, stack, fetch))
    return replace(row, radius=recurrent.radius(tensor.detach()))


def _with_channels_first(x: Tensor, about: _About) -> Tensor:
    """Return (channels, ...), of experts (experts, channels, values)."""
    if about.experts is None:
        return x.transpose(0, 1) if about.turned else x
    each = x.reshape(about.experts.number, -1, x.shape[-1])
    return each.transpose(1, 2) if about.experts.turned else each


def _matrices(found: Sweep, x: Tensor, about: _About, spectra: Method) -> list[MatrixFacts]:
    """Measure the matrix of a weight, or each of those that are stacked in it."""
    parts, length = about.stack or (Part("", x.shape[0]),), x.numel() // max(x.shape[0], 1)
    largest = max(abs(found.stats.min or 0.0), abs(found.stats.max or 0.0))
    folding = None if about.stack else about.folding
    out = []
    for part, places in _places(parts, x.shape[0]):
        if len(parts) == 1 or not part.period:
            rows = rows_of(found, length, int(places[0]), int(places[-1]) + 1)
        else:
            rows = rows_at(found, length, places)
        own = _own(x, part, places) if spectra != "off" else None
        out.append(_matrix(part.name, rows, x, (largest, folding), own, spectra))
    return out


def _of_experts(found: Sweep, x: Tensor, experts: Experts, spectra: Method) -> list[MatrixFacts]:
    """Measure the matrices of experts (E, C, d) one by one; of very many, of some that are evenly spaced."""
    count, channels, length = x.shape
    largest = max(abs(found.stats.min or 0.0), abs(found.stats.max or 0.0))
    parts = experts.parts or (Part("", channels),)
    chosen = range(count) if count <= _ALL_EXPERTS else [i * count // _SOME_EXPERTS for i in range(_SOME_EXPERTS)]
    out = []
    for i in chosen:
        for part, places in _places(parts, channels):
            rows = rows_at(found, length, places + i * channels)._replace(places=places)
            own = _own(x[i], part, places) if spectra != "off" else None
            name = f"expert {i + 1} of {count}" + (f": {part.name}" if part.name else "")
            out.append(_matrix(name, rows, x[i], (largest, None), own, spectra))
    return out


def _places(parts: Sequence[Part], channels: int) -> Iterator[tuple[Part, NDArray[np.intp]]]:
    """Yield which channels each part has."""
    first = 0
    for part in parts:
        if part.period:
            turn = np.arange(channels) % part.period - part.start
            yield part, np.flatnonzero((turn >= 0) & (turn < part.channels * part.period // channels))
        else:
            yield part, np.arange(first, first + part.channels)
        first += part.channels


def _matrix(
    name: str, rows: Rows, x: Tensor, beside: tuple[float, Tensor | None], own: Tensor | None, spectra: Method
) -> MatrixFacts:
    """Measure one; ``beside``: the largest magnitude of the tensor, and what a batch norm multiplies channels with."""
    return MatrixFacts(
        part=name,
        channels=len(rows.squares),
        fan_in=rows.length,
        rms=rows.rms,
        filters=filters(rows, x, beside[1]),
        quantisation=quantisation(rows.slab, beside[0]),
        spectrum=None if own is None else spectrum(own.flatten(1), spectra, beside[0]),
    )


def _own(x: Tensor, part: Part, places: NDArray[np.intp]) -> Tensor:
    """Return the channels of a part: a view, or a copy of those that lie in turn with others."""
    if not part.period:
        return x[int(places[0]) : int(places[-1]) + 1]
    return x[torch.from_numpy(places).to(x.device)]


def _as_channels(shape: Sequence[int], turned: bool) -> Sequence[int]:
    return (shape[1], shape[0], *shape[2:]) if turned else shape


def _unshaped(tensor: Tensor) -> bool:
    return isinstance(tensor, nn.UninitializedParameter)


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _role(name: str, parameter: Tensor, owner: nn.Module) -> Role:
    if isinstance(owner, NORMS):
        return "norm"
    if isinstance(owner, (nn.Embedding, nn.EmbeddingBag)):
        return "embedding"
    if not isinstance(parameter, nn.UninitializedParameter):
        leaf = name.rpartition(".")[2]
        if "bias" in leaf and parameter.dim() <= 1:
            return "bias"
        if parameter.dim() >= 2 and "weight" in leaf:
            return "weight"
    return "other"


def _before_norm(model: nn.Module) -> dict[str, nn.Module]:
    """Map layers to the norm over their outputs that is the next owner of parameters in order of registration."""
    owners = [(name, module) for name, module in model.named_modules() if module._parameters]
    followed: dict[str, nn.Module] = {}
    for (name, module), (_, following) in pairwise(owners):
        weight = getattr(module, "weight", None)
        if isinstance(following, NORMS) and isinstance(weight, Tensor) and weight.dim() >= 2:
            gain = getattr(following, "weight", None)
            outputs = weight.shape[1] if getattr(module, "transposed", False) else weight.shape[0]
            if gain is None or outputs in (gain.numel(), getattr(module, "out_channels", None)):
                followed[name] = following
    return followed
