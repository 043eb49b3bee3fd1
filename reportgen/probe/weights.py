"""Parameters and buffers, tensor by tensor, in one pass over each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Literal

import msgspec
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ..document.facts import BufferRow, WeightFacts, WeightRow
from .layers import NORMS, kind_of
from .reduce import tensor_stats

Role = Literal["weight", "bias", "norm", "embedding", "other"]

_KS_LINE = 1.63  # 1 % point of sqrt(N)·D for a fully specified distribution (Kolmogorov)
_ENERGY_LINE = 4.5  # standard deviations of row and column energies
_KS_SAMPLE = 100_000


def of_model(model: nn.Module, owned: set[int] | None = None) -> WeightFacts:
    """Measure every parameter once (a tied one under its first name) and the statistics buffers of norms.

    ``owned``: ids of the parameters that an optimizer holds; None when no optimizer is known.
    """
    owners = dict(model.named_modules(remove_duplicate=False))
    followed = _before_norm(model)
    first_name: dict[int, str] = {}
    rows = []
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owner_name = name.rpartition(".")[0]
        owner = owners[owner_name]
        tied_to = first_name.setdefault(id(parameter), name)
        row = _row(name, parameter, _role(name, parameter, owner), before_norm=owner_name in followed)
        rows.append(
            msgspec.structs.replace(
                row,
                module=kind_of(owner),
                in_optimizer=None if owned is None else id(parameter) in owned,
                **({} if tied_to == name else {"tied_to": tied_to, "stats": None, "at_default_init": None}),
            )
        )
    buffers = [
        BufferRow(name=name, shape=list(buffer.shape), dtype=_dtype(buffer), stats=tensor_stats(buffer))
        for name, buffer in model.named_buffers()
        if isinstance(owners[name.rpartition(".")[0]], _NormBase) and buffer.is_floating_point()
    ]
    return WeightFacts(rows=rows, buffers=buffers)


def of_tensors(tensors: Mapping[str, Tensor]) -> WeightFacts:
    """Measure the tensors of a bare file, one at a time; what they are is told from names and shapes."""
    norms = {name.rpartition(".")[0] for name in tensors if name.endswith("running_mean")}
    followed = _before_norm_by_name(tensors, norms)
    rows, buffers = [], []
    for name in tensors:
        tensor = tensors[name]
        owner, _, leaf = name.rpartition(".")
        if leaf in ("running_mean", "running_var"):
            stats = tensor_stats(tensor)
            buffers.append(BufferRow(name=name, shape=list(tensor.shape), dtype=_dtype(tensor), stats=stats))
        elif tensor.is_floating_point() or tensor.is_complex():
            role = _role_by_name(leaf, owner, tensor, norms)
            rows.append(_row(name, tensor, role, before_norm=owner in followed))
    return WeightFacts(rows=rows, buffers=buffers)


def _row(name: str, tensor: Tensor, role: Role, *, before_norm: bool) -> WeightRow:
    fan_in = math.prod(tensor.shape[1:]) if role == "weight" and tensor.dim() >= 2 else None
    measured = not isinstance(tensor, nn.UninitializedParameter) and not tensor.is_meta
    return WeightRow(
        name=name,
        module="",
        shape=[] if isinstance(tensor, nn.UninitializedParameter) else list(tensor.shape),
        dtype=_dtype(tensor),
        role=role,
        trainable=tensor.requires_grad if isinstance(tensor, nn.Parameter) else None,
        fan_in=fan_in,
        before_norm=before_norm and role == "weight",
        at_default_init=at_default_init(tensor) if measured and fan_in else None,
        stats=tensor_stats(tensor) if measured else None,
    )


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


def _role_by_name(leaf: str, owner: str, tensor: Tensor, norms: set[str]) -> Role:
    last = owner.rpartition(".")[2].lower()
    if owner in norms or (tensor.dim() == 1 and any(word in last for word in ("norm", "bn", "ln_"))):
        return "norm"
    if tensor.dim() == 2 and ("emb" in last or last in ("wte", "wpe")):
        return "embedding"
    if "bias" in leaf and tensor.dim() <= 1:
        return "bias"
    return "weight" if tensor.dim() >= 2 and "weight" in leaf else "other"


def _before_norm(model: nn.Module) -> set[str]:
    """Return the layers whose next owner of parameters, in order of registration, is a norm over their outputs."""
    owners = [(name, module) for name, module in model.named_modules() if module._parameters]
    followed = set()
    for (name, module), (_, following) in pairwise(owners):
        weight = getattr(module, "weight", None)
        if isinstance(following, NORMS) and isinstance(weight, Tensor) and weight.dim() >= 2:
            gain = getattr(following, "weight", None)
            outputs = weight.shape[1] if getattr(module, "transposed", False) else weight.shape[0]
            if gain is None or outputs in (gain.numel(), getattr(module, "out_channels", None)):
                followed.add(name)
    return followed


def _before_norm_by_name(tensors: Iterable[str], norms: set[str]) -> set[str]:
    """Return the owners that are followed by an owner with running statistics."""
    owners = list(dict.fromkeys(name.rpartition(".")[0] for name in tensors))
    return {a for a, b in pairwise(owners) if b in norms}


def at_default_init(weight: Tensor) -> bool | None:
    """Tell whether a weight cannot be told from PyTorch's default initialisation, U(±1/sqrt(fan_in)).

    Three tests, each of which a trained layer fails: no value beyond the bound; Kolmogorov-Smirnov against the uniform
    distribution at 1 %; energies of rows and columns spread as independent entries would. None below 2,000 entries or
    32 rows or columns, where the tests have no power. (``kaiming_uniform_`` with a = sqrt(5), pytorch#15314.)
    """
    if weight.dim() < 2 or not weight.is_floating_point():
        return None
    w = weight.detach().flatten(1)
    rows, columns = w.shape
    bound = columns**-0.5 if columns else 0.0
    if w.numel() < 2000 or min(rows, columns) < 32:
        return None
    if not float(w.abs().max()) <= bound * (1 + 1e-3):
        return False
    sample = w.reshape(-1)[:: max(1, w.numel() // _KS_SAMPLE)].double().sort().values
    n = sample.numel()
    cdf = (sample + bound) / (2 * bound)
    steps = torch.arange(n + 1, dtype=torch.float64, device=w.device) / n
    distance = float(torch.maximum((cdf - steps[:-1]).abs().max(), (steps[1:] - cdf).abs().max()))
    if distance * math.sqrt(n) > _KS_LINE:
        return False
    squares = w.double().square()
    s2 = float(squares.mean())
    kurtosis = float(squares.square().mean()) / (s2 * s2)

    def spread(energies: Tensor, length: int) -> float:
        expected = length * s2 * s2 * (kurtosis - 1)
        return abs(float(energies.var()) / expected - 1) * math.sqrt((energies.numel() - 1) / 2)

    return max(spread(squares.sum(1), columns), spread(squares.sum(0), rows)) < _ENERGY_LINE
