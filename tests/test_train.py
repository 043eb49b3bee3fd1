"""reportgen train as a user runs it: settings and flags, best weights, going on after an interruption."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import reportgen
from reportgen.cli import main
from reportgen.document.history import History

MINE = """
import pathlib

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Touchy(TensorDataset):
    def __getitem__(self, i):
        for error in (KeyboardInterrupt, ZeroDivisionError):
            if pathlib.Path(error.__name__).exists() and len(self.seen) == 100:
                raise error("stop")
        self.seen.append(i)
        return super().__getitem__(i)


def build(width=8):
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Dropout(0.1), nn.Linear(width, 3))


def data(n=60, shuffle=True):
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(n, 4, generator=generator)
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    dataset = Touchy(x, y)
    dataset.seen = []
    return DataLoader(dataset, 10, shuffle=shuffle)


def validation():
    return data(n=30, shuffle=False)


def fixed_loader():
    return [(torch.zeros(2, 9), torch.zeros(2).long())]
"""
SETTINGS = """
model = "mine.py:build(width=6)"
train_data = {target = "mine.py:data", n = 40}
data = "mine.py:validation"
loss = "CrossEntropyLoss"
output = "report.json"
seed = 3
trial_budget = 0.0

[train]
epochs = 6
optimizer = {target = "torch.optim.SGD", lr = 0.1, momentum = 0.9}
scheduler = "StepLR(step_size=2, gamma=0.5)"
"""
Run = Callable[..., tuple[str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "mine", raising=False)  # that of another test
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "settings.toml").write_text(SETTINGS)

    def call(*args: str, code: int = 0) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["reportgen", *args])
        sys.modules.pop("mine", None)
        handler = signal.getsignal(signal.SIGINT)
        with pytest.raises(SystemExit) as caught:
            main()
        said = capsys.readouterr()
        assert (caught.value.code or 0) == code, said.err
        assert signal.getsignal(signal.SIGINT) is handler
        return said.out, said.err

    return call


def history(path: Path) -> History:
    found = reportgen.read(path).training
    assert found is not None
    return found


def curve(run: History, name: str) -> list[float | None]:
    series = run.get(name, "epoch")
    assert series is not None
    return series.y


def weights(path: Path) -> dict[str, torch.Tensor]:
    held: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return held


def test_a_settings_file_is_all_that_is_needed(run: Run, tmp_path: Path) -> None:
    said, _ = run("train", "settings.toml")
    assert "trained 6 epochs, 24 steps" in said
    report = reportgen.read(tmp_path / "report.json")
    trained = history(tmp_path / "report.json")
    assert (trained.epochs, trained.steps, trained.optimizer, trained.source) == (6, 24, "SGD", "fit")
    assert curve(trained, "learning_rate") == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025, 0.025])
    assert trained.hyperparameters["momentum"] == 0.9
    assert trained.hyperparameters["seed"] == 3
    assert report.subject.loss == "CrossEntropyLoss"
    assert report.meta.sources["model"] == "mine.py:build(width=6)"
    assert report.meta.sources["train_data"] == "mine.py:data(n=40)"
    assert report.evaluation is not None
    losses = curve(trained, "val_loss")
    best = min(v for v in losses if v is not None)
    # the report is about the best weights, which lie in the folder
    assert report.evaluation.loss == pytest.approx(best, rel=1e-5)
    assert report.meta.sources["checkpoint"] == "run/best.pt"
    assert {p.name for p in (tmp_path / "run").iterdir()} == {"history.jsonl", "best.pt", "best.last.pt"}
    run("examine", "settings.toml", "--checkpoint", "run/best.pt", "--history", "run", "-o", "again.json")
    again = reportgen.read(tmp_path / "again.json")
    assert again.evaluation == report.evaluation
    assert curve(history(tmp_path / "again.json"), "val_loss") == losses


@pytest.mark.slow
def test_flags_alone_do_it_too_and_a_seed_fixes_everything(run: Run, tmp_path: Path) -> None:
    flags = ["--model", "mine.py:build", "--train-data", "mine.py:data", "--data", "mine.py:validation"]
    flags += [
        "--loss",
        "torch.nn.CrossEntropyLoss(label_smoothing=0.1)",
        "--optimizer",
        "AdamW(lr=0.02)",
        "--epochs",
        "3",
    ]
    curves = []
    for n, seed in enumerate(("1", "1", "2")):
        run("train", *flags, "--seed", seed, "--folder", f"run{n}", "-o", f"{n}.json")
        curves.append(curve(history(tmp_path / f"{n}.json"), "train_loss"))
    assert curves[0] == curves[1] != curves[2]
    for name, value in weights(tmp_path / "run0" / "best.pt").items():
        assert torch.equal(value, weights(tmp_path / "run1" / "best.pt")[name])
    assert history(tmp_path / "0.json").optimizer == "AdamW"


def test_an_interrupted_run_goes_on_to_the_same_end(run: Run, tmp_path: Path) -> None:
    run("train", "settings.toml", "--folder", "whole", "-o", "whole.json")
    (tmp_path / "KeyboardInterrupt").touch()
    _, told = run("train", "settings.toml", code=130)
    assert "--resume" in told
    assert "interrupted" in told
    assert not (tmp_path / "report.json").exists()
    run("examine", "--history", "run", "-o", "broken.json")
    assert (
        curve(history(tmp_path / "broken.json"), "val_loss") == curve(history(tmp_path / "whole.json"), "val_loss")[:2]
    )
    (tmp_path / "KeyboardInterrupt").unlink()
    run("train", "settings.toml", "--resume")
    resumed = history(tmp_path / "report.json")
    assert curve(resumed, "val_loss") == curve(history(tmp_path / "whole.json"), "val_loss")
    assert any(event.kind == "gap" for event in resumed.events)
    for name, value in weights(tmp_path / "whole" / "best.last.pt").items():
        assert torch.equal(value, weights(tmp_path / "run" / "best.last.pt")[name])


def test_weights_to_begin_from_may_hold_the_classes_that_the_settings_allow(run: Run, tmp_path: Path) -> None:
    run("train", "settings.toml", "--epochs", "1")
    torch.save({"state_dict": weights(tmp_path / "run" / "best.pt"), "args": argparse.Namespace()}, "start.pt")
    settings = tmp_path / "settings.toml"
    settings.write_text('checkpoint = "start.pt"\n' + SETTINGS)
    told = ("train", "settings.toml", "--epochs", "1", "--folder", "second")
    assert "argparse.Namespace" in run(*told, code=2)[1]
    settings.write_text('checkpoint = "start.pt"\nallow_globals = ["argparse.Namespace"]\n' + SETTINGS)
    assert "trained 1 epochs" in run(*told)[0]


def test_early_stopping(run: Run, tmp_path: Path) -> None:
    said, _ = run("train", "settings.toml", "--epochs", "50", "--early-stopping", "2", "--optimizer", "SGD(lr=0.0)")
    assert "trained 3 epochs" in said
    assert any("stopped early" in event.detail for event in history(tmp_path / "report.json").events)


def test_an_error_in_the_users_code_is_one_line_and_the_log_stays(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ZeroDivisionError").touch()
    _, told = run("train", "settings.toml", code=2)
    line = told.strip().splitlines()[-1]
    assert line.startswith("reportgen: Training broke off: ZeroDivisionError: stop")
    assert "run/history.jsonl" in line
    assert "Traceback" not in told
    assert reportgen.read_history(tmp_path / "run").interrupted


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["train"], "Training needs the model"),
        (["train", "--model", "mine:build"], "--train-data"),
        (["train", "--model", "mine:build", "--train-data", "mine:data"], "--loss"),
        (["train", "absent.toml"], "does not exist"),
        (["train", "settings.toml", "--epochs", "0"], "epochs"),
        (["train", "settings.toml", "--optimizer", "SDG"], "SGD"),
        (["train", "settings.toml", "--optimizer", "SGD(lr=fast)"], "cannot be read"),
        (["train", "settings.toml", "--scheduler", "StepLR"], "step_size"),
        (["train", "settings.toml", "--device", "nonsense"], "nonsense"),
        (["train", "settings.toml", "--train-data", "mine:fixed_loader"], "mat1"),
        (["train", "settings.toml", "--folder", "mine.py"], "mine.py"),
        (["train", "settings.toml", "--folder", "old"], "--resume"),
        (["train", "settings.toml", "-o", "absent/report.html"], "does not exist"),
    ],
)
def test_what_cannot_be_trained_is_one_line(run: Run, tmp_path: Path, args: list[str], words: str) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "best.pt").touch()
    _, told = run(*args, code=2)
    last = told.strip().splitlines()[-1]
    assert last.startswith("reportgen: ")
    assert words in last
    assert "Traceback" not in told


def test_a_run_without_a_step_does_not_stand_in_the_way(run: Run, tmp_path: Path) -> None:
    run("train", "settings.toml", "--folder", "mine", "--train-data", "mine.py:fixed_loader", code=2)
    assert not (tmp_path / "mine").exists()
    run("train", "settings.toml", "--folder", "mine")
    assert (tmp_path / "mine" / "history.jsonl").exists()


def test_a_folder_that_cannot_be_written(run: Run, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    try:
        if (locked / "x").exists() or _writes(locked):
            pytest.skip("this user writes anywhere")
        _, told = run("train", "settings.toml", "--folder", "locked/run", code=2)
        assert "locked/run" in told.strip().splitlines()[-1]
    finally:
        locked.chmod(0o700)
        shutil.rmtree(locked)


def _writes(folder: Path) -> bool:
    try:
        (folder / "probe").touch()
    except OSError:
        return False
    return True
