"""Writing: the suffix chooses, a file is whole or absent, bytes do not depend on the run, torch stays out."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from reportgen.document.codec import decode
from reportgen.errors import OptionError, OutputError
from reportgen.render.write import FORMATS, check_suffix, render, write

from . import builders

ROOT = Path(__file__).parents[1]
BEGINNINGS = {
    ".html": b"<!DOCTYPE html>",
    ".htm": b"<!DOCTYPE html>",
    ".pdf": b"%PDF-",
    ".md": b"### ",
    ".json": b"{",
    ".xml": b"<?xml",
}


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_suffix_chooses(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"report{suffix.upper()}"
    assert write(builders.smallest(), path) == path
    assert path.read_bytes().startswith(BEGINNINGS[suffix])
    assert os.listdir(tmp_path) == [path.name]


def test_json_comes_back() -> None:
    report = builders.classifier()
    assert decode(render(report, ".json")) == report


@pytest.mark.parametrize("path", ["report.docx", "report", ".html"])
def test_an_unknown_suffix_lists_the_choices(path: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"\.html, \.htm, \.pdf, \.md, \.json, \.xml"):
        write(builders.smallest(), tmp_path / path)
    with pytest.raises(OptionError):
        check_suffix(path)
    with pytest.raises(OptionError):
        render(builders.smallest(), Path(path).suffix)


def test_a_missing_folder_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist: create it first") as caught:
        write(builders.smallest(), tmp_path / "nowhere" / "r.html")
    assert "\n" not in str(caught.value)


def test_a_folder_in_the_way_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "r.html").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        write(builders.smallest(), tmp_path / "r.html")
    assert os.listdir(tmp_path) == ["r.html"]


def test_a_failure_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.json"
    path.write_text("old")

    def fail(source: object, target: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OutputError, match="Permission denied"):
        write(builders.smallest(), path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["r.json"]


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("old")
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    write(builders.smallest(), tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").read_text() != "old"


def test_pdf_without_its_libraries_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == "weasyprint":
                raise OSError("cannot load library 'libgobject-2.0-0'")

    monkeypatch.delitem(sys.modules, "weasyprint", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    with pytest.raises(OutputError, match="libpango"):
        render(builders.smallest(), ".pdf")


SCRIPT = """
import hashlib, sys
sys.path.insert(0, {root!r})
from tests import builders
from reportgen.render.write import render
for suffix in {suffixes}:
    print(suffix, hashlib.sha256(render(builders.{name}(), suffix)).hexdigest())
assert "torch" not in sys.modules, "torch was imported"
assert "matplotlib.pyplot" not in sys.modules, "pyplot was imported"
"""


def run(seed: int, name: str, suffixes: Sequence[str]) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": str(seed), "TZ": "Asia/Tokyo" if seed else "UTC"}
    made = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(root=str(ROOT), name=name, suffixes=tuple(suffixes))],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return made.stdout


def test_what_is_no_regular_file_is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "out.md").symlink_to(tmp_path / "fifo")
    with pytest.raises(OutputError, match="no regular file"):
        write(builders.smallest(), tmp_path / "out.md")
    assert (tmp_path / "fifo").is_fifo()


@pytest.mark.slow
def test_the_same_bytes_in_another_process_and_no_torch() -> None:
    suffixes = [suffix for suffix in FORMATS if suffix != ".pdf"]  # seconds; for the slow test
    report = builders.classifier()
    here = {suffix: hashlib.sha256(render(report, suffix)).hexdigest() for suffix in suffixes}
    assert dict(line.split() for line in run(1, "classifier", suffixes).splitlines()) == here


@pytest.mark.slow
@pytest.mark.parametrize("name", ["smallest", "classifier"])
def test_the_same_bytes_in_every_process_and_no_torch(name: str) -> None:
    assert run(0, name, list(FORMATS)) == run(1, name, list(FORMATS))
