"""Several checkpoints after one option: which of them are meant, and in which order."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

import reportgen
from reportgen.cli import main
from reportgen.cli.values import spread


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("examine --checkpoint a.pt b.ckpt c.safetensors -o x.html", "a.pt b.ckpt c.safetensors"),
        ("examine --checkpoint a.pt --checkpoint b.pt", "a.pt b.pt"),
        ("examine --checkpoint a.pt b.pt --checkpoint c.pt", "a.pt b.pt c.pt"),
        ("examine --checkpoint=a.pt b.pt", "=a.pt b.pt"),
        ("examine --checkpoint a.pt mine:build", "a.pt"),
        ("examine mine:build --checkpoint a.pt", "a.pt"),
        ("examine --checkpoint a.pt -o b.pt", "a.pt"),
        ("examine --checkpoint a.pt -- b.pt", "a.pt"),
        ("examine --checkpoint a.pt mine:build b.pt", "a.pt"),
        ("examine a.pt --earlier b.pt", ""),
    ],
)
def test_weights_that_follow_are_values_of_the_option(given: str, meant: str) -> None:
    out = spread(given.split())
    values = [value for option, value in pairwise(out) if option == "--checkpoint"]
    values = [one.removeprefix("--checkpoint") for one in out if one.startswith("--checkpoint=")] + values
    assert values == meant.split()
    assert [one for one in out if one != "--checkpoint"] == [one for one in given.split() if one != "--checkpoint"]


@pytest.fixture
def epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    torch.manual_seed(0)
    model = nn.Linear(40, 40)
    for epoch in (1, 5, 10):
        torch.save(model.state_dict(), tmp_path / f"e{epoch}.pt")
        with torch.no_grad():
            model.weight.mul_(2)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, *args: str) -> int:
    monkeypatch.setattr(sys, "argv", ["reportgen", "examine", *args])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


@pytest.mark.parametrize(
    "args",
    [
        ["--checkpoint", "e1.pt", "e5.pt", "e10.pt"],
        ["--checkpoint", "e1.pt", "--checkpoint", "e5.pt", "--checkpoint", "e10.pt"],
        ["--earlier", "e1.pt", "--checkpoint", "e5.pt", "e10.pt"],
        ["e10.pt", "--earlier", "e1.pt", "--earlier", "e5.pt"],
    ],
)
def test_the_last_is_examined_and_the_others_lead_to_it(
    epochs: Path, monkeypatch: pytest.MonkeyPatch, args: list[str]
) -> None:
    assert call(monkeypatch, *args, "-o", "out.json") == 0
    report = reportgen.read(epochs / "out.json")
    assert report.subject.name == "e10.pt"
    assert report.weights is not None
    assert report.weights.course is not None
    assert report.weights.course.checkpoints == ["e1.pt", "e5.pt", "e10.pt"]
    (row,) = (row for row in report.weights.course.rows if row.name == "weight")
    assert row.moved == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["torch.nn:Linear(40,40)", "--checkpoint", "e1.pt", "e5.pt"], "2 checkpoints are given for one model"),
        (["--checkpoint", "absent.pt", "e5.pt"], "absent.pt does not exist"),
    ],
)
def test_what_cannot_be_meant_is_told(
    epochs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], args: list[str], words: str
) -> None:
    assert call(monkeypatch, *args, "-o", "out.json") == 2
    assert words in capsys.readouterr().err
    assert not (epochs / "out.json").exists()
