"""torchvision is importable whatever build of torch it stands beside, and its nms works."""

from __future__ import annotations

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


def test_nms_of_no_boxes_is_empty() -> None:
    kept = vision.nms(torch.zeros(0, 4), torch.zeros(0), 0.5)
    assert kept.shape == (0,)
    assert kept.dtype == torch.int64


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


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        ("ModuleNotFoundError('x', name='torchvision')", "done"),
        ("ModuleNotFoundError('x', name='PIL')", "ModuleNotFoundError"),
        ("RuntimeError('compiled with different CUDA major versions')", "RuntimeError"),
    ],
)
def test_prepare_hides_no_other_failure(raised: str, expected: str) -> None:
    done = run(
        "import sys\n"
        "from reportgen.subject import vision\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == 'torchvision': raise {raised}\n"
        "sys.meta_path.insert(0, Finder())\n"
        "try:\n    vision.prepare(); print('done')\n"
        "except Exception as error:\n    print(type(error).__name__)\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == expected
