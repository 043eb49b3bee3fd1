"""Make torchvision importable beside a build of torch that its compiled operators were not made for.

The torchvision that package indexes hand out is compiled against CUDA. Beside a CPU build of torch its operators do not
load, and then the import itself fails, because the package describes ``torchvision::nms`` without anybody having
declared it. torchmetrics imports torchvision and fails with it. Declaring the schemas first is all that is missing.
Detection models need two of the operators: they are implemented here in plain PyTorch, and deformable convolution is
beside.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .deformable import deform_conv2d

_MISSING = "operator torchvision::nms does not exist"
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
    "int sampling_ratio, bool aligned) -> Tensor",
    "deform_conv2d(Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, SymInt stride_h, "
    "SymInt stride_w, SymInt pad_h, SymInt pad_w, SymInt dilation_h, SymInt dilation_w, SymInt groups, "
    "SymInt offset_groups, bool use_mask) -> Tensor",
)
_CHUNK = 1 << 24  # elements sampled at a time by roi_align
_libraries: list[torch.library.Library] = []
"""What was declared; a Library that is collected takes its operators with it."""


def prepare() -> None:
    """Import torchvision, declaring its operators where the compiled ones do not load; without torchvision do nothing.

    May be called any number of times. Call it before anything that imports torchvision or torchmetrics. The compiled
    operators are tried first, as declaring the schemas before they load would make them fail.
    """
    if "torchvision" in sys.modules:
        return
    _forget()  # an import that failed before leaves its submodules behind
    try:
        importlib.import_module("torchvision")
    except ModuleNotFoundError as error:
        if error.name != "torchvision":
            raise
    except RuntimeError as error:
        if _MISSING not in str(error):
            raise
        _forget()
        _declare()
        importlib.import_module("torchvision")
        # torchvision asks whether the compiled operators are there before it calls the ones that now are; for
        # roi_align it would else call a compiler
        boxes: Any = importlib.import_module("torchvision.ops.boxes")
        regions: Any = importlib.import_module("torchvision.ops.roi_align")
        deformed: Any = importlib.import_module("torchvision.ops.deform_conv")
        boxes._assert_has_ops = regions._assert_has_ops = deformed._assert_has_ops = lambda: None
        regions._has_ops = lambda: True


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Return the indices of the boxes that no better box overlaps by more than ``iou_threshold``, best first.

    Boxes are rows (x1, y1, x2, y2). Boxes of no area overlap nothing. Memory is linear in the number of boxes.
    """
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    left = scores.argsort(descending=True, stable=True)
    kept: list[Tensor] = []
    while left.numel():
        best, left = left[:1], left[1:]
        kept.append(best)
        top_left = torch.maximum(boxes[left, :2], boxes[best, :2])  # (n, 2)
        bottom_right = torch.minimum(boxes[left, 2:], boxes[best, 2:])
        shared = (bottom_right - top_left).clamp(min=0).prod(dim=1)
        overlap = shared / (area[left] + area[best] - shared)
        left = left[~(overlap > iou_threshold)]  # so written, 0/0 keeps the box
    return torch.cat(kept) if kept else left


def roi_align(
    features: Tensor,
    rois: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Average bilinear samples in each bin of each region: (K, C, pooled_height, pooled_width).

    ``features`` (N, C, H, W); ``rois`` (K, 5): index of the image and corners in image pixels. Points further than one
    pixel outside count as zero, as in Mask R-CNN (arXiv:1703.06870). ``sampling_ratio`` points a side and bin; with 0
    or less as many as the bin has pixels.
    """
    corners = rois[:, 1:] * spatial_scale - (0.5 if aligned else 0.0)
    size = corners[:, 2:] - corners[:, :2]  # (K, 2): width, height
    size = size if aligned else size.clamp(min=1.0)
    bins = size.new_tensor((pooled_width, pooled_height))
    points = torch.full_like(size, sampling_ratio) if sampling_ratio > 0 else (size / bins).ceil()
    out = features.new_zeros(len(rois), features.shape[1], pooled_height, pooled_width)
    kinds = torch.cat((rois[:, :1], points), dim=1).long()  # regions that one call can sample together
    for image, nx, ny in torch.unique(kinds, dim=0).tolist():
        if nx < 1 or ny < 1:
            continue  # an aligned region of no size has no points
        group = (kinds == kinds.new_tensor((image, nx, ny))).all(1).nonzero().flatten()
        step = max(1, _CHUNK // (features.shape[1] * pooled_height * ny * pooled_width * nx))
        for part in torch.split(group, step):
            xs = _places(corners[part, 0], size[part, 0] / pooled_width, pooled_width, nx)
            ys = _places(corners[part, 1], size[part, 1] / pooled_height, pooled_height, ny)
            sampled = _sample(features[image], ys, xs)  # (K, C, pooled_height ny, pooled_width nx)
            out = out.index_copy(0, part, F.avg_pool2d(sampled, (ny, nx)).to(out.dtype))
    return out


def _places(start: Tensor, width: Tensor, n_bins: int, n_points: int) -> Tensor:
    """Return the middles of ``n_points`` equal parts of each bin: (K, n_bins n_points)."""
    steps = (torch.arange(n_bins * n_points, device=start.device, dtype=start.dtype) + 0.5) / n_points
    return start[:, None] + width[:, None] * steps


def _sample(image: Tensor, ys: Tensor, xs: Tensor) -> Tensor:
    """Interpolate (C, H, W) at the grids ys (K, Y) by xs (K, X): (K, C, Y, X)."""
    height, width = image.shape[-2:]
    inside = ((ys >= -1) & (ys <= height))[:, :, None] & ((xs >= -1) & (xs <= width))[:, None, :]  # (K, Y, X)
    across = xs.clamp(0, width - 1) * (2 / max(width - 1, 1)) - 1
    down = ys.clamp(0, height - 1) * (2 / max(height - 1, 1)) - 1
    n, n_y, n_x = len(ys), ys.shape[1], xs.shape[1]
    grid = torch.stack((across[:, None, :].expand(n, n_y, n_x), down[:, :, None].expand(n, n_y, n_x)), dim=-1)
    flat = grid.reshape(1, n * n_y, n_x, 2).to(image.dtype)
    sampled = F.grid_sample(image[None], flat, padding_mode="border", align_corners=True)
    return sampled[0].reshape(-1, n, n_y, n_x).transpose(0, 1) * inside[:, None]


def _declare() -> None:
    """Declare the schemas and give all but one of the operators an implementation for every device."""
    if _libraries:
        return
    library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        library.define(schema)
    library.impl("nms", nms, "CompositeExplicitAutograd")
    # made of operators that have gradients
    library.impl("roi_align", roi_align, "CompositeImplicitAutograd")
    library.impl("deform_conv2d", deform_conv2d, "CompositeImplicitAutograd")
    _libraries.append(library)


def _forget() -> None:
    """Drop the modules that a failed import of torchvision left half-made."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
