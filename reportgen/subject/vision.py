"""Make torchvision importable beside a build of torch that its compiled operators were not made for.

The torchvision that package indexes hand out is compiled against CUDA. Beside a CPU build of torch its operators do not
load, and then the import itself fails, because the package describes ``torchvision::nms`` without anybody having
declared it. torchmetrics imports torchvision and fails with it. Declaring the two schemas first is all that is missing.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import torch
from torch import Tensor

_MISSING = "operator torchvision::nms does not exist"
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
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
        # torchvision.ops.nms asks whether the compiled operators are there before it calls the one that now is
        boxes: Any = importlib.import_module("torchvision.ops.boxes")
        boxes._assert_has_ops = lambda: None


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


def _declare() -> None:
    """Declare the schemas and give ``nms`` an implementation for every device."""
    if _libraries:
        return
    library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        library.define(schema)
    library.impl("nms", nms, "CompositeExplicitAutograd")
    _libraries.append(library)


def _forget() -> None:
    """Drop the modules that a failed import of torchvision left half-made."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
