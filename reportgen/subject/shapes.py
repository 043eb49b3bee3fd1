"""Sizes and parts of tensors, also of nested ones, whose rows differ in length and which have no shape to ask for."""

from __future__ import annotations

import torch
from torch import Tensor, nn

RAGGED = "ragged"
PACKED = getattr(torch, "float4_e2m1fn_x2", None)
"""Two numbers a byte, which torch stores and does not compute with."""


def n_rows(tensor: Tensor) -> int:
    """Return the length of the first dimension; 1 for a scalar."""
    return int(tensor.size(0)) if tensor.dim() else 1


def sizes(tensor: Tensor) -> tuple[int | str, ...]:
    """Return the size of each dimension, 'ragged' where rows differ."""
    return tuple(_size(tensor, dim) for dim in range(tensor.dim())) if tensor.is_nested else tuple(tensor.shape)


def _size(tensor: Tensor, dim: int) -> int | str:
    try:
        size = tensor.size(dim)
    except RuntimeError:  # torch refuses to tell that of a dimension that varies
        return RAGGED
    return size if type(size) is int else RAGGED


def shape_of(tensor: Tensor) -> str:
    """Write a shape as a reader expects it: '8 × 3 × 224 × 224'; '' for a scalar."""
    return " × ".join(map(str, sizes(tensor)))


def is_plain(tensor: Tensor) -> bool:
    """Tell whether a tensor is dense, real, floating and holds its values: nearly every one, and quickly told."""
    usual = type(tensor) is Tensor or type(tensor) is nn.Parameter  # others may hold a part, or hold it otherwise
    return (
        usual
        and tensor.layout is torch.strided
        and tensor.is_floating_point()
        and tensor.dtype is not PACKED
        and not (tensor.is_meta or tensor.is_nested or tensor.is_neg() or is_transformed(tensor))
    )


def is_transformed(tensor: Tensor) -> bool:
    """Tell whether a tensor stands for those of a transform of functions, such as vmap: it ends with the transform."""
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(tensor))


def dense_rows(tensor: Tensor) -> Tensor:
    """Return what a nested tensor holds as (rows of all samples, features); any other tensor as it is."""
    if not tensor.is_nested:
        return tensor
    parts = [part.reshape(-1, part.shape[-1]) if part.dim() else part.reshape(1, 1) for part in tensor.unbind()]
    widths = {part.shape[1] for part in parts}
    if len(widths) > 1:  # the last dimension is the one that varies
        parts = [part.reshape(-1, 1) for part in parts]
    return torch.cat(parts) if parts else torch.zeros(0, 1, dtype=tensor.dtype, device=tensor.device)


def stored_parts(tensor: Tensor) -> tuple[Tensor, ...]:
    """Return the dense tensors that a tensor is made of."""
    with torch.no_grad():
        if tensor.is_nested:
            return (tensor.values(),)
        if tensor.layout == torch.sparse_coo:
            return tensor._indices(), tensor._values()
        if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
            return tensor.crow_indices(), tensor.col_indices(), tensor.values()
        if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
            return tensor.ccol_indices(), tensor.row_indices(), tensor.values()
    return (tensor,)


def whole(tensor: Tensor) -> Tensor:
    """Return all of a tensor of which this process has a part (a DTensor); every process of its mesh must ask."""
    gather = getattr(tensor, "full_tensor", None)
    if gather is None:
        return tensor
    with torch.no_grad():
        full: Tensor = gather()
    return full


def own_part(tensor: Tensor) -> Tensor:
    """Return what this process has of a tensor: a DTensor's part, any other as it is."""
    local = getattr(tensor, "to_local", None)  # its module takes seconds to import, so it is told by what it can do
    if local is None:
        return tensor
    with torch.no_grad():
        part: Tensor = local()
    return part
