"""Programs in files: TorchScript and exported ones, named as what they are."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from reportgen.cli import main
from reportgen.errors import CheckpointError, TargetError
from reportgen.subject import checkpoint, programs


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one program of each kind, and with files that are none."""
    folder = tmp_path_factory.mktemp("programs")
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(model).save(folder / "script.pt")
        torch.export.save(torch.export.export(model, (torch.randn(2, 4),)), folder / "exported.pt2")
    torch.save(model.state_dict(), folder / "weights.pt")
    (folder / "text.pt2").write_text("nothing of the kind")
    return folder


def test_each_is_loaded_as_what_it_is(files: Path) -> None:
    assert isinstance(programs.load(f"torchscript:{files / 'script.pt'}"), torch.jit.ScriptModule)
    assert isinstance(programs.load(f"export:{files / 'exported.pt2'}"), torch.export.ExportedProgram)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("export:{}/script.pt", "Write torchscript:"),
        ("torchscript:{}/exported.pt2", "Write export:"),
        ("torchscript:{}/weights.pt", "weights alone"),
        ("export:{}/text.pt2", "no file that torch.export.save wrote"),
        ("export:{}/absent.pt2", "does not exist"),
    ],
)
def test_what_is_no_such_program_is_told_in_one_line(files: Path, target: str, told: str) -> None:
    with pytest.raises(TargetError) as caught:
        programs.load(target.format(files))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "form"), [("script.pt", "torchscript"), ("exported.pt2", "export")])
def test_a_program_is_never_run_for_its_content_alone(files: Path, name: str, form: str) -> None:
    with pytest.raises(CheckpointError, match=f"write {form}:"):
        checkpoint.read(files / name)


COMMANDS = pytest.mark.parametrize(
    ("target", "wrappers"), [("torchscript:{}/script.pt", []), ("export:{}/exported.pt2", ["ExportedProgram"])]
)


def command(target: str, files: Path, out: Path, wrappers: list[str]) -> list[str]:
    sizes = [] if wrappers else ["--input-size", "4"]  # an exported program brings its example
    return ["examine", target.format(files), *sizes, "-o", str(out)]


def check(out: Path, wrappers: list[str]) -> None:
    report = json.loads(out.read_text())
    assert report["subject"].get("wrappers", []) == wrappers
    assert report["architecture"]["parameters"] == 40 + 27
    assert report["architecture"]["flops"] == report["architecture"]["batch_size"] * 2 * (4 * 8 + 8 * 3)


@COMMANDS
@pytest.mark.filterwarnings("ignore::FutureWarning")  # of torch, about how it reads its own programs
def test_both_are_examined_on_the_command_line(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, wrappers: list[str]
) -> None:
    out = tmp_path / "report.json"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "argv", ["reportgen", *command(target, files, out, wrappers)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert not caught.value.code
    check(out, wrappers)


@pytest.mark.slow
@COMMANDS
def test_both_are_examined_in_a_process_of_their_own(
    files: Path, tmp_path: Path, target: str, wrappers: list[str]
) -> None:
    out = tmp_path / "report.json"
    words = [sys.executable, "-m", "reportgen", *command(target, files, out, wrappers)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    check(out, wrappers)
