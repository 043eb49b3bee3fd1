"""Every builder of torchvision, with random weights and small inputs, yields a full report.

A few of them, small ones of different kinds, are examined in the quick suite; all others in the slow one.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import reportgen
from reportgen.page.build import build
from reportgen.render.html import to_html
from reportgen.subject import vision
from reportgen.subject.model import load_model

vision.prepare()
models = pytest.importorskip("torchvision.models")

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch and torchvision, about how they make their models

PARTS = ("architecture", "weights", "activations", "dataset")
DETECTION = set(models.list_models(models.detection))
VIDEO = set(models.list_models(models.video))
FLOW = set(models.list_models(models.optical_flow))
QUICK = ("resnet18", "raft_small", "quantized_resnet18")
SIDES = {"vit_h_14": 224, "vit": 224, "maxvit": 224, "inception": 96, "quantized_inception": 96, "swin": 64}


def batch(name: str) -> Any:
    """One small batch of what the model reads, and nothing to compare with."""
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    if name in DETECTION:
        return ([noise(3, 64, 64)], None)
    if name in FLOW:
        return (noise(1, 3, 128, 128), noise(1, 3, 128, 128), None)
    if name in VIDEO:
        side = 224 if name.startswith(("mvit", "s3d")) else 32  # these two are built for one size
        return noise(1, 3, 16, side, side)
    side = next((n for start, n in SIDES.items() if name.startswith(start)), 64)
    return noise(2 if side == 64 else 1, 3, side, side)


def check(name: str) -> None:
    torch.manual_seed(0)
    model = load_model(f"torchvision:{name}")
    modes = [module.training for module in model.modules()]
    total = sum(p.numel() for p in model.parameters())
    report = reportgen.examine(model, [batch(name)], options=reportgen.Options(trial_budget=0))
    status = {row.part: (row.status, row.reason) for row in report.coverage}
    assert {part: status[part] for part in PARTS} == dict.fromkeys(PARTS, ("measured", ""))
    facts = report.architecture
    assert facts is not None
    assert facts.parameters == total == sum(row.parameters for row in facts.rows)
    assert facts.flops is not None
    assert facts.flops > 2 * 10**6
    assert facts.uncounted == []
    assert facts.mult_adds is not None
    assert report.activations is not None
    assert len(report.activations.rows) > 10
    assert len(to_html(build(report))) < 2_000_000
    assert [module.training for module in model.modules()] == modes


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_one_of_each_kind(name: str) -> None:
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in models.list_models() if name not in QUICK])
def test_all_of_them(name: str) -> None:
    check(name)


def test_there_are_as_many_as_are_claimed() -> None:
    assert len(models.list_models()) >= 121


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "shufflenet_v2_x0_5"])
def test_converted_to_integers(name: str) -> None:
    builder = models.get_model_builder(f"quantized_{name}")
    model = builder(weights=None, quantize=True)
    plain = sum(p.numel() for p in models.get_model_builder(name)(weights=None).parameters())
    report = reportgen.examine(model, [torch.rand(2, 3, 64, 64)], options=reportgen.Options(trial_budget=0))
    facts = report.architecture
    assert facts is not None
    assert facts.uncounted == []
    # norms are folded into convolutions: fewer numbers than before, and one byte each
    assert 0.9 * plain < facts.packed <= plain
    assert facts.packed_bytes < 1.3 * plain
    status = {row.part: row.status for row in report.coverage}
    assert {part: status[part] for part in PARTS} == dict.fromkeys(PARTS, "measured")
