"""torchvision is importable whatever build of torch it stands beside, and its nms works."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reportgen.subject import vision


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def brute_force(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> list[int]:
    """Greedy suppression, one pair at a time, in plain numbers."""

    def overlap(a: list[float], b: list[float]) -> float:
        width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
        height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
        shared = width * height
        union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
        return shared / union if union else 0.0

    rows, kept = boxes.tolist(), []
    for i in sorted(range(len(rows)), key=lambda i: -float(scores[i])):
        if all(overlap(rows[i], rows[j]) <= iou_threshold for j in kept):
            kept.append(i)
    return kept


@given(
    st.lists(st.tuples(*[st.integers(0, 12)] * 4, st.integers(0, 20)), max_size=25),
    st.sampled_from([0.0, 0.3, 0.5, 0.9]),
)
@settings(max_examples=60, deadline=None)
def test_nms_agrees_with_a_brute_force_one(rows: list[tuple[int, ...]], threshold: float) -> None:
    corners = torch.tensor([[x, y, x + w, y + h] for x, y, w, h, _ in rows], dtype=torch.float64).reshape(-1, 4)
    scores = torch.tensor([row[4] for row in rows], dtype=torch.float64)
    assert vision.nms(corners, scores, threshold).tolist() == brute_force(corners, scores, threshold)


def pooled_by_hand(
    features: torch.Tensor, roi: list[float], scale: float, size: tuple[int, int], ratio: int, aligned: bool
) -> torch.Tensor:
    """One region, one point at a time, in plain numbers."""
    _, height, width = features.shape
    shift = 0.5 if aligned else 0.0
    x1, y1, x2, y2 = (v * scale - shift for v in roi)
    w, h = x2 - x1, y2 - y1
    if not aligned:
        w, h = max(w, 1.0), max(h, 1.0)
    nx = ratio if ratio > 0 else math.ceil(w / size[1])
    ny = ratio if ratio > 0 else math.ceil(h / size[0])
    out = torch.zeros(len(features), *size, dtype=features.dtype)

    def at(y: float, x: float) -> torch.Tensor:
        if y < -1 or y > height or x < -1 or x > width:
            return torch.zeros(len(features), dtype=features.dtype)
        y, x = min(max(y, 0.0), height - 1), min(max(x, 0.0), width - 1)
        top, left = int(y), int(x)
        bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
        dy, dx = y - top, x - left
        upper = features[:, top, left] * (1 - dx) + features[:, top, right] * dx
        lower = features[:, bottom, left] * (1 - dx) + features[:, bottom, right] * dx
        return upper * (1 - dy) + lower * dy

    for i in range(size[0]):
        for j in range(size[1]):
            for iy in range(ny):
                for ix in range(nx):
                    y = y1 + h / size[0] * (i + (iy + 0.5) / ny)
                    x = x1 + w / size[1] * (j + (ix + 0.5) / nx)
                    out[:, i, j] += at(y, x) / (ny * nx)
    return out


@given(
    st.lists(st.tuples(st.integers(0, 1), *[st.integers(-6, 40)] * 2, *[st.integers(0, 24)] * 2), max_size=5),
    st.sampled_from([0.25, 0.5, 1.0]),
    st.sampled_from([(1, 1), (2, 3), (7, 7)]),
    st.sampled_from([-1, 1, 2]),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_roi_align_agrees_with_one_point_at_a_time(
    regions: list[tuple[int, ...]], scale: float, size: tuple[int, int], ratio: int, aligned: bool
) -> None:
    features = torch.randn(2, 3, 9, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rois = torch.tensor([[n, x, y, x + w, y + h] for n, x, y, w, h in regions], dtype=torch.float64).reshape(-1, 5)
    found = vision.roi_align(features, rois, scale, *size, ratio, aligned)
    assert found.shape == (len(rois), 3, *size)
    for roi, pooled in zip(rois.tolist(), found, strict=True):
        expected = pooled_by_hand(features[int(roi[0])], roi[1:], scale, size, ratio, aligned)
        torch.testing.assert_close(pooled, expected, rtol=1e-9, atol=1e-9)


def test_roi_align_has_a_gradient() -> None:
    rois = torch.tensor([[0, 1.0, 1.0, 6.0, 5.0]], dtype=torch.float64)
    features = torch.randn(1, 2, 6, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: vision.roi_align(f, rois, 1.0, 2, 2, 2, False), features)


def test_nms_of_no_boxes_is_empty() -> None:
    kept = vision.nms(torch.zeros(0, 4), torch.zeros(0), 0.5)
    assert kept.shape == (0,)
    assert kept.dtype == torch.int64


@pytest.mark.slow
def test_prepare_makes_the_import_work_and_may_be_repeated() -> None:
    done = run(
        "from reportgen.subject import vision\n"
        "vision.prepare(); vision.prepare()\n"
        "import torch, torchvision, torchmetrics\n"
        "boxes = torch.tensor([[0, 0, 4, 4], [0, 0, 4, 3], [9, 9, 10, 10]], dtype=torch.float32)\n"
        "scores = torch.tensor([.5, .9, .1])\n"
        "print(torchvision.ops.nms(boxes, scores, .5).tolist())\n"
        "print(torch.ops.torchvision.nms(boxes, scores, .5).tolist())\n"
        "print(torchvision.models.resnet18().eval()(torch.zeros(1, 3, 32, 32)).shape[1])\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:3] == ["[1, 2]", "[1, 2]", "1000"]


@pytest.mark.slow
def test_prepare_recovers_from_an_import_that_failed_before() -> None:
    done = run(
        "try:\n    import torchvision\nexcept RuntimeError:\n    pass\n"
        "from reportgen.subject import vision\n"
        "vision.prepare()\n"
        "from torchvision import models, transforms\n"
        "import torchvision, sys\n"
        "print(sys.modules['torchvision'] is torchvision)\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "True"


@pytest.mark.slow
def test_prepare_leaves_a_working_torchvision_alone() -> None:
    """Where the compiled operators load nothing is declared; played here by a torchvision that imports."""
    done = run(
        "import sys, types\n"
        "from reportgen.subject import vision\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torchvision':\n"
        "            from importlib.machinery import ModuleSpec\n"
        "            return ModuleSpec(name, self)\n"
        "    def create_module(self, spec): return types.ModuleType(spec.name)\n"
        "    def exec_module(self, module): module.ours = True\n"
        "sys.meta_path.insert(0, Finder())\n"
        "vision.prepare()\n"
        "print(sys.modules['torchvision'].ours, len(vision._libraries))\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "True 0"


@pytest.mark.slow
def test_prepare_hides_no_other_failure() -> None:
    expected = {
        "ModuleNotFoundError('x', name='torchvision')": "done",
        "ModuleNotFoundError('x', name='PIL')": "ModuleNotFoundError",
        "RuntimeError('compiled with different CUDA major versions')": "RuntimeError",
    }
    done = run(
        "import sys\n"
        "from reportgen.subject import vision\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torchvision': raise raised\n"
        "sys.meta_path.insert(0, Finder())\n"
        f"for raised in ({', '.join(expected)}):\n"
        "    try:\n        vision.prepare(); print('done')\n"
        "    except Exception as error:\n        print(type(error).__name__)\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(expected.values())
