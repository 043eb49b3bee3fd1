"""examine and check with settings and histories, run in this process: files, exit codes and single lines."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import reportgen
from reportgen.cli import main

MINE = """
import torch
from torch import nn

def build(width=8):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3))

def loader(n=40):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(n, 4, generator=generator), torch.randint(3, (n,), generator=generator)
    return [(x, y)]
"""
Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in a folder of the test's own; return what it said, on standard error when it failed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "mine", raising=False)  # that of another test
    (tmp_path / "mine.py").write_text(MINE)

    def call(*args: str, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["reportgen", *args])
        handler = signal.getsignal(signal.SIGINT)
        with pytest.raises(SystemExit) as caught:
            main()
        said = capsys.readouterr()
        assert (caught.value.code or 0) == code, said.err
        assert signal.getsignal(signal.SIGINT) is handler
        if code == 2:
            assert said.err.startswith("reportgen: ")
            assert said.err.count("\n") == 1
        return said.err if code else said.out

    return call


def lines(n: int = 6) -> str:
    return "".join(json.dumps({"epoch": e, "loss": 1 / e, "my_metric": e / 10}) + "\n" for e in range(1, n + 1))


def test_a_history_alone_and_beside_bare_weights(run: Run, tmp_path: Path) -> None:
    (tmp_path / "run.jsonl").write_text(lines() + '{"epoch": 7, "lo')
    torch.save(nn.Linear(4, 3).state_dict(), tmp_path / "last.pt")
    said = run("examine", "--history", "run.jsonl", "-o", "run.html", "-o", "run.json")
    assert "wrote run.html" in said
    report = reportgen.read(tmp_path / "run.json")
    assert report.subject.kind == "run"
    assert report.meta.sources == {"history": "run.jsonl"}
    run(
        "examine",
        "--history",
        "run.jsonl",
        "--checkpoint",
        "last.pt",
        "--history-name",
        "my_metric=val_accuracy",
        "-o",
        "b.json",
    )
    report = reportgen.read(tmp_path / "b.json")
    assert report.training is not None
    assert report.weights is not None
    series = report.training.get("val_accuracy")
    assert series is not None
    assert series.y == [e / 10 for e in range(1, 7)]
    assert any("cut off" in event.detail for event in report.training.events)
    assert report.meta.sources == {"history": "run.jsonl", "checkpoint": "last.pt"}


def die_in_training(folder: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with reportgen.Monitor(model, optimizer, log=folder / "history.jsonl", progress=False) as monitor:
        for epoch in range(3):
            for _ in range(4):
                loss = nn.functional.cross_entropy(model(torch.randn(8, 4)), torch.randint(3, (8,)))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                monitor.log(train_loss=loss)
            monitor.log(epoch=epoch, val_loss=loss.item())
            torch.save(model.state_dict(), folder / "last.pt")
        raise ZeroDivisionError("the lamp went out")


def test_a_run_that_died_is_reported_from_its_log_and_its_last_weights(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        die_in_training(tmp_path / "run")
    for history in ("run/history.jsonl", "run"):
        run("examine", "--history", history, "--checkpoint", "run/last.pt", "-o", "dead.html", "-o", "dead.json")
        report = reportgen.read(tmp_path / "dead.json")
        assert report.training is not None
        assert "the lamp went out" in report.training.interrupted
        assert report.training.steps == 12
        assert report.weights is not None
        assert len(report.weights.rows) == 4
    log = tmp_path / "run" / "history.jsonl"
    log.write_bytes(log.read_bytes()[:-25])
    run("examine", "--history", "run", "-o", "dead.json")


def test_settings_are_found_and_flags_win(run: Run, tmp_path: Path) -> None:
    (tmp_path / "reportgen.toml").write_text(
        'model = "mine.py:build(width=6)"\ndata = {target = "mine.py:loader", n = 24}\nloss = "CrossEntropyLoss"\n'
        'title = "from the file"\noutput = "first.json"\nclass_names = ["a", "b", "c"]\n'
        "[check]\nfail_on = 'info'\n[thresholds]\nhistory_epochs = 3\n"
    )
    assert "wrote first.json" in run("examine")
    report = reportgen.read(tmp_path / "first.json")
    assert report.title == "from the file"
    assert report.evaluation is not None
    assert report.evaluation.n_samples == 24
    assert report.evaluation.classification is not None
    assert report.evaluation.classification.classes == ["a", "b", "c"]
    assert report.weights is not None
    assert report.weights.rows[0].shape == [6, 4]
    assert report.meta.sources["model"] == "mine.py:build(width=6)"
    assert report.meta.sources["data"] == "mine.py:loader(n=24)"
    run("examine", "mine:build", "--title", "from the flag", "-o", "second.json")
    report = reportgen.read(tmp_path / "second.json")
    assert report.title == "from the flag"
    assert report.weights is not None
    assert report.weights.rows[0].shape == [8, 4]
    (tmp_path / "other.toml").write_text('model = "mine.py:build"\ninput_size = [4]\noutput = ["third.json"]\n')
    run("examine", "other.toml")
    assert reportgen.read(tmp_path / "third.json").subject.inputs == "synthetic"


def test_the_gate_is_set_in_pyproject(run: Run, tmp_path: Path) -> None:
    model = nn.Linear(4, 3)
    with torch.no_grad():
        model.weight[0, 0] = float("nan")
    reportgen.write(reportgen.examine(model), tmp_path / "sick.json")
    run("check", "sick.json", code=1)
    (tmp_path / "pyproject.toml").write_text("[tool.reportgen.check]\nfail_on = 'never'\n")
    assert "never" in run("check", "sick.json", code=2)
    (tmp_path / "pyproject.toml").write_text("[tool.reportgen.check]\nfail_on = 'error'\n")
    run("check", "sick.json", code=1)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["examine"], "nothing to examine"),
        (["examine", "absent.toml"], "absent.toml does not exist"),
        (["examine", "wrong.toml"], "Did you mean 'model'?"),
        (["examine", "--history", "absent.jsonl"], "absent.jsonl does not exist"),
        (["examine", "--history", "empty.csv"], "empty.csv is empty"),
        (["examine", "--history", "mine.py"], "mine.py"),
        (["examine", "--history", "."], "holds no history"),
        (["examine", "--history", "run.jsonl", "--history-name", "loss"], "names nothing"),
        (["examine", "--history", "run.jsonl", "--history-name", "lost=val_loss"], "no 'lost'"),
        (["examine", "--history", "run.jsonl", "--checkpoint", "run.jsonl"], "no checkpoint"),
        (["examine", "--checkpoint", "absent.pt"], "absent.pt does not exist"),
        (["examine", "run.jsonl"], "--history"),
        (["examine", "weights.pt", "--checkpoint", "weights.pt"], "one of them"),
        (["examine", "mine:build(wide=1)"], "wide"),
        (["examine", "mine:build", "--loss", "CrossEntropy", "--data", "mine:loader"], "CrossEntropyLoss"),
    ],
)
def test_unusable_settings_and_histories(run: Run, tmp_path: Path, args: list[str], words: str) -> None:
    (tmp_path / "wrong.toml").write_text("modle = 'a:b'\n")
    (tmp_path / "empty.csv").touch()
    (tmp_path / "run.jsonl").write_text(lines())
    torch.save({"w": torch.ones(2)}, tmp_path / "weights.pt")
    before = set(tmp_path.iterdir())
    assert words in run(*args, code=2)
    assert {p for p in tmp_path.iterdir() if p.name != "__pycache__"} == before
