"""Targets with arguments, as strings and as tables, for everything that a training is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from reportgen.errors import TargetError
from reportgen.subject import specs
from reportgen.subject.specs import Spec, spec_of

MINE = """
import torch
from torch import nn

def build(width=4, deep=False):
    return nn.Sequential(nn.Linear(4, width), nn.Linear(width, 3))

def scaled(output, target, scale=1.0):
    return scale * (output - target).square().mean()

def groups(model, lr=0.1):
    return torch.optim.SGD([{"params": model.parameters()}], lr=lr)

def loader(n=2):
    return [(torch.zeros(5, 4), torch.zeros(5, 3))] * n

VALUE = 3
"""


@pytest.fixture
def mine(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(MINE)
    return f"{tmp_path}/mine.py"


@pytest.mark.parametrize(
    ("value", "home", "wanted"),
    [
        ("pkg.mod:fn", "", Spec("pkg.mod:fn")),
        (" pkg.mod:fn ( 3 , width=4 ) ", "", Spec("pkg.mod:fn", (3,), {"width": 4})),
        (
            "torch.optim.AdamW(lr=1e-3, betas=(0.9, 0.5))",
            "",
            Spec("torch.optim:AdamW", (), {"lr": 1e-3, "betas": (0.9, 0.5)}),
        ),
        ("AdamW", "torch.optim", Spec("torch.optim:AdamW")),
        ("AdamW", "", Spec("AdamW")),
        ("f.py:fn(name='a)b(', flag=None)", "", Spec("f.py:fn", (), {"name": "a)b(", "flag": None})),
        (
            {"target": "SGD", "lr": 0.5, "nesterov": True},
            "torch.optim",
            Spec("torch.optim:SGD", (), {"lr": 0.5, "nesterov": True}),
        ),
        ({"target": "a:b(1, x=2)", "x": 3}, "", Spec("a:b", (1,), {"x": 3})),
        ("torchvision:resnet18(num_classes=10)", "", Spec("torchvision:resnet18", (), {"num_classes": 10})),
    ],
)
def test_reading(value: Any, home: str, wanted: Spec) -> None:
    assert spec_of(value, home) == wanted


@pytest.mark.parametrize(
    "value",
    [
        "a:b(",
        "a:b(x)",
        "a:b(__import__('os').system('true'))",
        "a:b(1)(2)",
        "a:b(**{})",
        "a:b(1",
        "a:b(1) + f(2)",
        {},
        {"target": 3},
    ],
)
def test_nothing_in_the_brackets_is_run_and_what_is_no_value_is_refused(value: Any) -> None:
    with pytest.raises(TargetError):
        spec_of(value)


def test_what_a_training_is_made_of(mine: str) -> None:
    model = specs.model_of(spec_of(f"{mine}:build(width=7)"))
    assert isinstance(model[0], nn.Linear)
    assert model[0].out_features == 7
    assert isinstance(specs.model_of(spec_of(f"{mine}:build")), nn.Sequential)
    model[0].requires_grad_(requires_grad=False)
    optimizer = specs.optimizer_of(spec_of("torch.optim.SGD(lr=0.25, momentum=0.5)"), model)
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.defaults["lr"] == 0.25
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(p) for p in model[1].parameters()]
    own = specs.optimizer_of(spec_of(f"{mine}:groups(lr=0.5)"), model)
    assert own.param_groups[0]["lr"] == 0.5
    scheduler = specs.scheduler_of(spec_of("StepLR(step_size=2)", "torch.optim.lr_scheduler"), own)
    assert isinstance(scheduler, torch.optim.lr_scheduler.StepLR)
    assert len(list(specs.data_of(spec_of(f"{mine}:loader(n=5)")))) == 5


def test_losses(mine: str) -> None:
    smooth = specs.loss_of(spec_of("CrossEntropyLoss(label_smoothing=0.5)", "torch.nn"))
    assert isinstance(smooth, nn.CrossEntropyLoss)
    assert smooth.label_smoothing == 0.5
    one = torch.ones(2)
    assert specs.loss_of(spec_of(f"{mine}:scaled(scale=3.0)"))(one, one * 2) == 3.0
    assert specs.loss_of(spec_of(f"{mine}:scaled"))(one, one * 2) == 1.0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: specs.model_of(spec_of(f"{m}:build(with_=3)")), "unexpected keyword"),
        (lambda m: specs.model_of(spec_of(f"{m}:loader(n=3)")), "made list; expected a torch.nn.Module"),
        (lambda m: specs.model_of(spec_of(f"{m}:VALUE(1)")), "takes no arguments"),
        (lambda m: specs.data_of(spec_of("torch.nn.Linear(2, 2)")), "made Linear; expected an iterable"),
        (lambda m: specs.loss_of(spec_of("torch.optim.Adamm(lr=1)")), "close: Adam"),
        (lambda m: specs.optimizer_of(spec_of("torch.optim.SGD(lr=-1)"), nn.Linear(2, 2)), "Invalid learning rate"),
        (lambda m: specs.optimizer_of(spec_of("torch.optim.SGD"), nn.ReLU()), "nothing to train"),
        (lambda m: specs.optimizer_of(spec_of("torch.nn.ReLU"), nn.Linear(2, 2)), "expected an optimizer"),
    ],
)
def test_what_cannot_be_made_is_one_line(mine: str, call: Any, words: str) -> None:
    with pytest.raises(TargetError, match=words) as caught:
        call(mine)
    assert "\n" not in str(caught.value)
