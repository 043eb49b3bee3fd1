"""Places of files in a document: told from the current folder, or by their end, for the document is handed on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import reportgen
from reportgen.document.codec import encode
from reportgen.document.places import command, near


def test_what_lies_in_the_current_folder_is_told_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = Path.cwd()
    assert near(str(here / "runs" / "w.pt")) == "runs/w.pt"
    assert near(f"{here}/net.py:build(width=6)") == "net.py:build(width=6)"
    assert near(f"--out={here}/a.html") == "--out=a.html"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/home/ada/secret/w.pt", "…/w.pt"),
        ("/home/ada/my models/w.pt", "…/w.pt"),
        ('/srv/net.py:build(root="/home/ada/data", n=3)', '…/net.py:build(root="…/data", n=3)'),
        ("--root=/data", "--root=…/data"),
        ("C:\\Users\\ada\\w.pt", "…/w.pt"),
    ],
)
def test_of_what_lies_elsewhere_the_end_is_told(text: str, told: str) -> None:
    assert near(text) == told


@pytest.mark.parametrize(
    "text",
    [
        "w.pt",
        "../w.pt",
        "pkg.mod:fn",
        "resnet18(weights=None)",
        "s3://bucket/a/b",
        "https://a.b/c/d",
        "1/2",
        "3,224,224",
    ],
)
def test_what_is_no_absolute_path_stays(text: str) -> None:
    assert near(text) == text


def test_a_program_is_told_by_its_name() -> None:
    assert (
        command(["/usr/lib/python3/reportgen/__main__.py", "render", "/home/ada/r.json"]) == "reportgen render …/r.json"
    )
    assert command(["/usr/local/bin/reportgen", "demo"]) == "reportgen demo"
    assert command(["/home/ada/project/train.py", "--lr", "0.1"]) == "…/train.py --lr 0.1"
    assert command(["train.py"]) == "train.py"
    assert command([]) == ""


def test_no_folder_of_the_machine_is_in_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script, a file of weights and a history that lie elsewhere: nothing in it tells where."""
    torch.save(nn.Linear(3, 2).state_dict(), tmp_path / "w.pt")
    (tmp_path / "run.json").write_text('{"loss": [1.0, 0.5], "val_loss": [1.1, 0.6]}')
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "train.py"), f"--data={tmp_path}/pictures"])
    options = reportgen.Options(earlier=[str(tmp_path / "w.pt")])
    report = reportgen.examine(tmp_path / "w.pt", history=tmp_path / "run.json", options=options)
    assert str(tmp_path).encode() not in encode(report)
    assert report.meta.command == "…/train.py --data=…/pictures"
    assert report.meta.sources == {"checkpoint": "…/w.pt", "history": "…/run.json"}
    assert report.meta.options["earlier"] == "…/w.pt"
