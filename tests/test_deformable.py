"""Deformable convolution against one value at a time, against torch's own convolution, and inside a model."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import reportgen
from reportgen.subject import vision
from reportgen.subject.deformable import deform_conv2d


def at(image: Tensor, y: float, x: float) -> float:
    """Bilinear between the four pixels around, each zero where it lies outside."""
    top, left, total = math.floor(y), math.floor(x), 0.0
    for row, share_y in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, share_x in ((left, 1 - (x - left)), (left + 1, x - left)):
            if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
                total += share_y * share_x * float(image[row, column])
    return total


def by_hand(x: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None, bias: Tensor, **how: Any) -> Tensor:
    """One value at a time, in plain numbers."""
    n, channels = x.shape[:2]
    outs, per_group, kh, kw = weight.shape
    oh, ow = offset.shape[-2:]
    out = torch.zeros(n, outs, oh, ow, dtype=x.dtype)
    for b, o, i, j in product(*map(range, out.shape)):
        total = float(bias[o])
        first = o // (outs // how["groups"]) * per_group
        for c in range(first, first + per_group):
            group = c // (channels // how["offset_groups"])
            for p in range(kh):
                for q in range(kw):
                    tap = (group * kh + p) * kw + q
                    y = i * how["stride"][0] - how["pad"][0] + p * how["dilation"][0] + float(offset[b, 2 * tap, i, j])
                    z = (
                        j * how["stride"][1]
                        - how["pad"][1]
                        + q * how["dilation"][1]
                        + float(offset[b, 2 * tap + 1, i, j])
                    )
                    share = 1.0 if mask is None else float(mask[b, tap, i, j])
                    total += float(weight[o, c - first, p, q]) * share * at(x[b, c], y, z)
        out[b, o, i, j] = total
    return out


def called(x: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None, bias: Tensor, **how: Any) -> Tensor:
    steps = (*how["stride"], *how["pad"], *how["dilation"], how["groups"], how["offset_groups"])
    none = torch.zeros(len(x), 1, dtype=x.dtype)
    return deform_conv2d(x, weight, offset, none if mask is None else mask, bias, *steps, mask is not None)


def made(
    kernel: tuple[int, int], seed: int, *, groups: int, masked: bool, **how: Any
) -> tuple[list[Any], dict[str, Any]]:
    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    generator = torch.Generator().manual_seed(seed)
    height, width = 5, 4
    size = [
        (length + 2 * how["pad"][i] - how["dilation"][i] * (kernel[i] - 1) - 1) // how["stride"][i] + 1
        for i, length in enumerate((height, width))
    ]
    taps = how["offset_groups"] * kernel[0] * kernel[1]
    x, weight = draw(2, 4, height, width), draw(4, 4 // groups, *kernel)
    mask = draw(2, taps, *size) if masked else None
    return [x, weight, 2 * draw(2, 2 * taps, *size), mask, draw(4)], {"groups": groups, **how}


@given(
    kernel=st.sampled_from([(1, 1), (3, 3), (2, 3)]),
    stride=st.sampled_from([(1, 1), (2, 1)]),
    pad=st.sampled_from([(1, 1), (2, 1)]),
    dilation=st.sampled_from([(1, 1), (1, 2)]),
    groups=st.sampled_from([1, 2]),
    offset_groups=st.sampled_from([1, 2]),
    masked=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=15, deadline=None)
def test_it_agrees_with_one_value_at_a_time(kernel: tuple[int, int], seed: int, **how: Any) -> None:
    tensors, how = made(kernel, seed, **how)
    torch.testing.assert_close(called(*tensors, **how), by_hand(*tensors, **how), rtol=1e-9, atol=1e-9)


def test_without_offsets_it_is_a_convolution() -> None:
    how = {"stride": (2, 1), "pad": (1, 1), "dilation": (1, 1), "offset_groups": 1}
    (x, weight, offset, _, bias), how = made((3, 3), 0, groups=2, masked=False, **how)
    found = called(x, weight, torch.zeros_like(offset), None, bias, **how)
    torch.testing.assert_close(found, nn.functional.conv2d(x, weight, bias, (2, 1), 1, 1, 2))


def test_it_has_a_gradient() -> None:
    how = {"stride": (1, 1), "pad": (0, 0), "dilation": (1, 1), "offset_groups": 1}
    tensors, how = made((2, 2), 0, groups=1, masked=True, **how)
    tensors = [t.requires_grad_() for t in tensors]
    assert torch.autograd.gradcheck(lambda *t: called(*t, **how), tensors)


class Deformed(nn.Module):
    """torchvision's layer, its offsets from a convolution."""

    def __init__(self) -> None:
        super().__init__()
        vision.prepare()
        from torchvision.ops import DeformConv2d

        self.offsets, self.conv = nn.Conv2d(2, 18, 3, padding=1), DeformConv2d(2, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x, self.offsets(x)).relu().mean((2, 3)))


def test_a_model_with_it_is_measured_whatever_torchvision_was_built_for() -> None:
    pytest.importorskip("PIL")
    torch.manual_seed(0)
    data = [(torch.randn(6, 2, 5, 5), torch.arange(6) % 3) for _ in range(2)]
    report = reportgen.examine(
        Deformed(), data, loss=nn.functional.cross_entropy, options=reportgen.Options(trial_budget=1.0)
    )
    measured = {row.part for row in report.coverage if row.status == "measured"}
    assert {"architecture", "activations", "gradients", "evaluation"} <= measured
    assert report.architecture is not None
    assert report.architecture.flops == 2 * 6 * 25 * (18 + 4) * 2 * 9 + 2 * 6 * 4 * 3
    assert report.architecture.uncounted == []
