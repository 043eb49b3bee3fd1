"""Deformable convolution in plain PyTorch, for where torchvision's compiled operator does not load."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def deform_conv2d(
    features: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor,
    bias: Tensor,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    groups: int,
    offset_groups: int,
    use_mask: bool,
) -> Tensor:
    """Convolve values that are sampled off the grid: (N, out, oh, ow). arXiv:1703.06211, with a mask arXiv:1811.11168.

    ``features`` (N, C, H, W); ``weight`` (out, C / groups, kh, kw); ``offset`` (N, 2 · offset_groups · kh · kw, oh,
    ow), for each tap of the kernel down, then across; ``mask`` (N, offset_groups · kh · kw, oh, ow). Between pixels
    values are bilinear, outside of the image they are zero.
    """
    n, channels, height, width = features.shape
    (kh, kw), (oh, ow) = weight.shape[-2:], offset.shape[-2:]
    taps, g = kh * kw, offset_groups
    moved = offset.reshape(n, g, taps, 2, oh, ow)
    down = _taps(kh, oh, stride_h, pad_h, dilation_h, offset)[:, None, :, None]  # (kh, 1, oh, 1)
    across = _taps(kw, ow, stride_w, pad_w, dilation_w, offset)[None, :, None, :]
    ys = down.expand(kh, kw, oh, ow).reshape(taps, oh, ow) + moved[:, :, :, 0]  # (N, g, taps, oh, ow)
    xs = across.expand(kh, kw, oh, ow).reshape(taps, oh, ow) + moved[:, :, :, 1]
    grid = torch.stack(((2 * xs + 1) / width - 1, (2 * ys + 1) / height - 1), dim=-1)
    sampled = F.grid_sample(
        features.reshape(n * g, channels // g, height, width),
        grid.reshape(n * g, taps * oh, ow, 2).to(features.dtype),
        padding_mode="zeros",
        align_corners=False,
    ).reshape(n, g, channels // g, taps, oh, ow)
    if use_mask:
        sampled = sampled * mask.reshape(n, g, 1, taps, oh, ow)
    columns = sampled.reshape(n, groups, channels // groups * taps, oh * ow)
    out = weight.reshape(1, groups, weight.shape[0] // groups, -1) @ columns  # (N, groups, out / groups, oh · ow)
    return out.reshape(n, -1, oh, ow) + bias.reshape(1, -1, 1, 1)


def _taps(kernel: int, size: int, stride: int, pad: int, dilation: int, like: Tensor) -> Tensor:
    """Return where the taps of a kernel lie along one dimension before they are moved: (kernel, size)."""
    tap = torch.arange(kernel, device=like.device, dtype=like.dtype) * dilation
    place = torch.arange(size, device=like.device, dtype=like.dtype) * stride - pad
    return tap[:, None] + place[None, :]
