"""Targets lead to models and losses, and a wrong one to one clear line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from reportgen.errors import TargetError
from reportgen.subject.model import load_loss, load_model, resolve

MODELS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=3):
        super().__init__()
        self.fc = nn.Linear(2, width)
    def forward(self, x):
        return self.fc(x)
    @staticmethod
    def tiny():
        return nn.Linear(1, 1)

class Wide(nn.Module):
    def __init__(self, width, *, depth, bias=True, **rest):
        super().__init__()

def build():
    return Net(4)

def late():
    import blocks_beside
    return blocks_beside.block()

def broken():
    raise ValueError("no such\\nwidth")

def leaves():
    raise SystemExit(3)

def pair():
    return Net(), 1

def loss(output, target):
    return (output - target).abs().mean()

class Zoo:
    net = Net(5)

ready = Net(6)
number = 7
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current directory with user code; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    before = set(sys.modules)
    (tmp_path / "zoo_models.py").write_text(MODELS)
    (tmp_path / "blocks_beside.py").write_text("from torch import nn\ndef block(): return nn.Linear(2, 9)\n")
    package = tmp_path / "zoo_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "nets.py").write_text("from .parts import part\ndef build(): return part()\n")
    (package / "parts.py").write_text("from torch import nn\ndef part(): return nn.Linear(2, 8)\n")
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("target", "width"),
    [
        ("zoo_models:Net", 3),
        ("zoo_models:build", 4),
        ("zoo_models:Zoo.net", 5),
        ("zoo_models:ready", 6),
        ("zoo_models:Net.tiny", 1),
        ("zoo_models:late", 9),
        ("zoo_models.py:build", 4),
        ("./zoo_models.py:late", 9),
        ("zoo_package.nets:build", 8),
    ],
)
def test_a_target_becomes_a_model(folder: Path, target: str, width: int) -> None:
    assert [p.shape[0] for p in load_model(target).parameters()][-1] == width


def test_an_instance_is_taken_as_it_is(folder: Path) -> None:
    assert load_model("zoo_models:ready") is load_model("zoo_models.py:ready") is resolve("zoo_models:ready")


def test_a_file_elsewhere_imports_what_lies_beside_it(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert isinstance(load_model(f"{folder}/zoo_models.py:late"), torch.nn.Linear)


def test_a_file_that_bears_the_name_of_a_library_replaces_nothing(folder: Path) -> None:
    (folder / "json.py").write_text("from torch import nn\nnet = nn.Linear(1, 2)\n")
    before = sys.modules["json"]
    assert isinstance(load_model("json.py:net"), torch.nn.Linear)
    assert load_model("json.py:net") is load_model("json.py:net")
    assert sys.modules["json"] is before


def test_the_path_of_imports_only_grows_at_its_end(folder: Path) -> None:
    before = list(sys.path)
    load_model("zoo_models:build")
    load_model("zoo_models.py:build")
    assert sys.path == [*before, str(folder)]


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_torchvision_models_by_name(name: str) -> None:
    model = load_model(f"torchvision:{name}").eval()
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)


def test_torchvision_detectors_download_no_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    builder = resolve("torchvision:fasterrcnn_resnet50_fpn")
    assert builder.keywords == {"weights": None, "weights_backbone": None}  # type: ignore[attr-defined]


def test_losses(folder: Path) -> None:
    assert isinstance(load_loss("torch.nn:CrossEntropyLoss"), torch.nn.CrossEntropyLoss)
    assert load_loss("torch.nn.functional:mse_loss") is torch.nn.functional.mse_loss
    assert load_loss("zoo_models:loss")(torch.ones(2), torch.zeros(2)) == 1


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("zoo_models", ["'zoo_models' has no colon", "pkg.mod:name", "'zoo_models:build'"]),
        ("", ["'' has no colon"]),
        ("zoo_models:", ["lacks a name"]),
        (":build", ["lacks a module"]),
        ("zoo_models:a..b", ["lacks a name"]),
        ("zoo_model:build", ["no module 'zoo_model'", "zoo_models", "current directory"]),
        ("zoo_package.net:build", ["no module 'zoo_package.net'", "zoo_package.nets"]),
        ("zoo_models.deeper:build", ["no module 'zoo_models.deeper'"]),
        ("zoo_package/nets:build", ["no module", "'zoo_package/nets.py:build'"]),
        ("..nets:build", ["importing '..nets' raised TypeError"]),
        ("zoo_models:biuld", ["'zoo_models' has no 'biuld' (close: build"]),
        ("zoo_models:Net.tinny", ["'zoo_models.Net' has no 'tinny' (close: tiny"]),
        ("zoo_modles.py:build", ["'zoo_modles.py' does not exist (close: zoo_models.py"]),
        ("nowhere/x.py:build", ["'nowhere/x.py' does not exist; expected a Python file"]),
        ("zoo_package/nets.py:build", ["relative import", "'pkg.mod:name'"]),
        ("zoo_models:Wide", ["needs arguments (width, depth)", "function without arguments"]),
        ("zoo_models:broken", ["raised ValueError: no such width", "zoo_models.py, line"]),
        ("zoo_models:leaves", ["raised SystemExit: 3"]),
        ("zoo_models:pair", ["made a value of type tuple"]),
        ("zoo_models:number", ["is a value of type int", "torch.nn.Module"]),
        ("zoo_models:torch", ["is the module torch"]),
        ("torchvision:resnet19", ["torchvision has no model 'resnet19' (close: resnet1"]),
    ],
)
def test_a_wrong_target_is_told_in_one_line(folder: Path, target: str, said: list[str]) -> None:
    with pytest.raises(TargetError) as caught:
        load_model(target)
    text = str(caught.value)
    assert "\n" not in text
    for part in said:
        assert part in text


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def build(:\n    pass\n", ["invalid syntax", "bad.py, line 1"]),
        ("x = 1\n1 / 0\n", ["ZeroDivisionError", "bad.py, line 2"]),
        ("import no_such_library\n", ["No module named 'no_such_library'", "Install 'no_such_library'"]),
        ("raise SystemExit('usage: ...')\n", ["SystemExit", "__main__"]),
        ("raise ValueError\n", ["raised ValueError ("]),
    ],
)
@pytest.mark.parametrize("target", ["bad.py:build", "bad:build"])
def test_user_code_that_does_not_import(folder: Path, code: str, said: list[str], target: str) -> None:
    (folder / "bad.py").write_text(code)
    with pytest.raises(TargetError) as caught:
        load_model(target)
    for part in said:
        assert part in str(caught.value)
    assert "bad" not in sys.modules


def test_an_interrupt_is_no_bad_target(folder: Path) -> None:
    (folder / "slow.py").write_text("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_model("slow.py:build")


def test_a_loss_that_cannot_be_called(folder: Path) -> None:
    with pytest.raises(TargetError, match="expected a loss"):
        load_loss("zoo_models:number")
