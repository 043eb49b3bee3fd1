"""Which modules are layers, what they are called, and along which dimension their channels lie."""

from __future__ import annotations

from types import TracebackType

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from ..subject.data import tensors
from ..subject.shapes import dense_rows, is_plain

# they hand their input on: a row of their own would repeat the one before
_TRANSPARENT = (nn.Identity, nn.Flatten, nn.Unflatten, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_TRANSPARENT_NAMES = frozenset(kind.__name__ for kind in _TRANSPARENT)
_HOLDERS = frozenset(("LinearPackedParams", "PackedParameter", "GuardsFn"))  # of weights or checks; nothing flows there
_CHANNELS_FIRST = (_ConvNd, _NormBase, nn.GroupNorm, nn.LocalResponseNorm, nn.PReLU)
_CHANNELS_LAST = (nn.Linear, nn.Bilinear, nn.LayerNorm, nn.RMSNorm, nn.Embedding, nn.RNNBase, nn.MultiheadAttention)
_SEQUENCES = (
    nn.Transformer,
    nn.TransformerEncoder,
    nn.TransformerDecoder,
    nn.TransformerEncoderLayer,
    nn.TransformerDecoderLayer,
    nn.MultiheadAttention,
)
NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
RECTIFIERS = (nn.ReLU, nn.ReLU6)
# |y| at the place on the flat side from which the slope stays below 1e-3 (GELU: z < -3.9, SiLU: z < -9)
FLAT_END: dict[type[nn.Module], float] = {
    nn.GELU: 2e-4,
    nn.SiLU: 1.1e-3,
    nn.Mish: 1.1e-3,
    nn.Hardswish: 1e-6,
    nn.Softplus: 1e-3,
}
ACTIVATIONS: tuple[type[nn.Module], ...] = (
    *RECTIFIERS,
    *FLAT_END,
    nn.LeakyReLU,
    nn.ELU,
    nn.SELU,
    nn.PReLU,
    nn.Tanh,
    nn.Sigmoid,
)
AFFINE = (nn.Linear, _ConvNd)
# values below the first or above the second are near an end
BOUNDED: dict[type[nn.Module], tuple[float, float]] = {
    nn.Tanh: (-0.97, 0.97),
    nn.Hardtanh: (-0.97, 0.97),
    nn.Softsign: (-0.97, 0.97),
    nn.Sigmoid: (0.03, 0.97),
    nn.Hardsigmoid: (0.03, 0.97),
}


def layers_of(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules that compute something themselves, by name: leaves, and owners of parameters.

    A module registered under several names appears under the first. Parametrizations are left out, whose outputs are
    weights. TorchScript modules take no hooks: they are left out too, and ``unhookable`` counts them.
    """
    return {name: module for name, module in model.named_modules() if _is_layer(name, module)}


def _is_layer(name: str, module: nn.Module) -> bool:
    if isinstance(module, (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict, torch.jit.ScriptModule)):
        return False
    if not module._parameters and any(True for _ in module.children()):
        return all(map(holds_weights, module.children()))  # a quantised module with its weights packed in a child
    return not (
        passes_on(module)
        or holds_weights(module)
        or type(module).__module__.startswith("torch.ao.quantization")  # observers hand their input on
        or "parametrizations" in name.split(".")
    )


def passes_on(module: nn.Module) -> bool:
    """Tell whether a module hands its input on in eval mode, perhaps in another shape."""
    return isinstance(module, _TRANSPARENT) or kind_of(module) in _TRANSPARENT_NAMES


def holds_weights(module: nn.Module) -> bool:
    """Tell whether a module only holds the packed weights of a quantised one."""
    return type(module).__name__ in _HOLDERS or (
        isinstance(module, nn.ModuleList) and len(module) > 0 and all(map(holds_weights, module))
    )


def unhookable(model: nn.Module) -> int:
    """Count the leaves that no hook can be put on."""
    return sum(isinstance(m, torch.jit.ScriptModule) and not any(True for _ in m.children()) for m in model.modules())


def kind_of(module: nn.Module) -> str:
    """Return the class name that a reader knows; that of the original for a scripted or exported module."""
    exported = vars(module).get("_ty")
    if isinstance(exported, str):
        return exported.rpartition(".")[2]
    if type(module) is NonDynamicallyQuantizableLinear:  # torch's own name for the output projection of attention
        return "Linear"
    return str(getattr(module, "original_name", _class_of(module).__name__))


def _class_of(module: nn.Module) -> type:
    """Return the class of a module; ``fully_shard`` puts one of its own before it."""
    bases = type(module).__bases__
    return bases[1] if len(bases) == 2 and bases[0].__name__ == "FSDPModule" else type(module)


def type_of(module: nn.Module) -> type:
    """Return the class of a module; for an exported one the class of torch.nn that it was."""
    exported = vars(module).get("_ty")
    if isinstance(exported, str) and exported.startswith("torch.nn."):
        found = getattr(nn, kind_of(module), None)
        return found if isinstance(found, type) else type(module)
    return _class_of(module)


def channel_dim(module: nn.Module, output: Tensor, inherited: int | None) -> int:
    """Return the dimension of the channels (units, features) of a layer's output.

    ``inherited``: that of the tensor the layer read, when both have the same shape. Without it four and more dimensions
    are taken as images with channels at 1, fewer as rows with features at the end.
    """
    n, kind = output.dim(), type_of(module)
    if issubclass(kind, _ConvNd):
        return max(n - 1 - len(module.kernel_size), 0) if isinstance(module, _ConvNd) else min(1, n - 1)
    if issubclass(kind, _CHANNELS_FIRST):
        return 1 if n > 1 else 0
    if issubclass(kind, _CHANNELS_LAST):
        return max(n - 1, 0)
    if inherited is not None:
        return inherited
    return 1 if n >= 4 else max(n - 1, 0)


def has_own_channels(module: nn.Module) -> bool:
    """Tell whether the kind of a layer alone says where its channels lie."""
    return issubclass(type_of(module), (_ConvNd, *_CHANNELS_FIRST, *_CHANNELS_LAST))


def main_tensor(output: object) -> Tensor | None:
    """Return the first real or complex floating tensor of a layer's output.

    A single number beside tensors is a loss or a penalty, and passed over. A quantised tensor comes as the numbers it
    means, a nested one as the rows that it holds.
    """
    if isinstance(output, Tensor) and is_plain(output):
        return output
    found = None
    for tensor in tensors(output):
        if tensor.is_floating_point() or tensor.is_complex() or tensor.is_quantized:
            found = tensor if found is None or tensor.dim() else found
            if found.dim():
                break
    if found is None:
        return None
    return found.dequantize() if found.is_quantized else dense_rows(found)


def time_first(model: nn.Module) -> frozenset[str]:
    """Return the names of modules whose sequences lie (time, samples, features), as is torch's habit."""
    found: set[str] = set()
    for name, module in model.named_modules():
        if isinstance(module, nn.RNNBase):
            found |= set() if module.batch_first else {name}
        elif isinstance(module, _SEQUENCES):
            heads = [part for part in module.modules() if isinstance(part, nn.MultiheadAttention)]
            if heads and not any(head.batch_first for head in heads):
                found |= {inner for inner, _ in module.named_modules(prefix=name)}
    return frozenset(found)


def samples_first(sequences: Tensor) -> Tensor:
    """Bring the samples of sequences that begin with time to dimension 0."""
    return sequences.transpose(0, 1) if sequences.dim() == 3 else sequences


def bypassed(name: str, model: nn.Module) -> bool:
    """Tell whether a skip connection may run past a layer.

    Structure does not show additions; a layer inside a block class (not the model itself, no plain container) counts as
    possibly bypassed, so that what is said of it stays on the careful side.
    """
    parts = name.split(".")[:-1]
    module, inside = model, False
    for part in parts:
        inner = module._modules.get(part)
        module = module if inner is None else inner  # some have a length, and it may be zero
        inside |= not isinstance(module, (nn.Sequential, nn.ModuleList, nn.ModuleDict))
    return inside


def where_it_failed(trace: TracebackType | None, model: nn.Module) -> str | None:
    """Return the name of the innermost module of the model whose code was running when an exception was raised."""
    names = {id(module): name for name, module in model.named_modules()}
    found = None
    while trace is not None:
        found = names.get(id(trace.tb_frame.f_locals.get("self")), found)
        trace = trace.tb_next
    return found
