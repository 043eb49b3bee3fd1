"""The commands as a user runs them, judged by files, exit codes and single lines.

Most are run in this process, which spares them the import of torch; a few in a process of their own, as the proof that
the one stands for the other, and all of those that measure once more so among the slow tests.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

import reportgen
from reportgen.cli import main

BROKEN = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def loader():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 4, generator=generator), torch.randint(3, (40,), generator=generator)
    return DataLoader(TensorDataset(x, y), 8)


def empty():
    return DataLoader(TensorDataset(torch.empty(0, 4), torch.empty(0).long()), 8)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a user's module, weights and a report."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "mine.py").write_text(BROKEN)
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    torch.save(model.state_dict(), folder / "good.pt")
    torch.save({"0.weight": torch.ones(8, 4), "x": torch.ones(1)}, folder / "wrong.pt")
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
    reportgen.write(reportgen.examine(model), folder / "sick.json")
    reportgen.write(reportgen.examine(nn.Linear(2, 2)), folder / "well.json")
    return folder


@dataclass
class Done:
    """What a command left: streams as text."""

    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture
def process(place: Path) -> Run:
    """Run a command in a process of its own, in the user's folder."""

    def call(*args: str, code: int = 0) -> Done:
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "reportgen", *args]
        done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return Done(done.stdout, done.stderr)

    return call


@pytest.fixture
def run(
    place: Path, without_learning: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run a command in this process, in the user's folder."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("mine", "badloss"):  # those of another test
        monkeypatch.delitem(sys.modules, name, raising=False)

    def call(*args: str, code: int = 0) -> Done:
        monkeypatch.setattr(sys, "argv", ["reportgen", *args])
        with pytest.raises(SystemExit) as caught:
            main()
        said = capsys.readouterr()
        assert (caught.value.code or 0) == code, said.err
        assert "Traceback" not in said.err
        return Done(said.out, said.err)

    return call


@pytest.fixture(params=["run", pytest.param("process", marks=pytest.mark.slow)])
def either(request: pytest.FixtureRequest) -> Run:
    """Run a command in this process, and among the slow tests in one of its own too."""
    found: Run = request.getfixturevalue(request.param)
    return found


def test_examine_with_everything(place: Path, either: Run) -> None:
    out = either(
        *("examine", "mine:build", "--checkpoint", "good.pt", "--data", "mine:loader", "--train-data", "mine:loader"),
        *("--loss", "torch.nn:CrossEntropyLoss", "--class-names", "a,b,c", "--strict"),
        *("-o", "all.html", "-o", "all.json", "-o", "all.md"),
    )
    assert "verdict" in out.stdout
    report = reportgen.read(place / "all.json")
    assert report.evaluation is not None
    assert report.evaluation.classification is not None
    assert report.evaluation.classification.classes == ["a", "b", "c"]
    assert report.meta.sources["checkpoint"] == "good.pt"
    assert report.weights is not None
    assert report.weights.rows[0].stats is not None
    wanted = torch.load(place / "good.pt", weights_only=True)["0.weight"].double().norm()
    assert report.weights.rows[0].stats.norm == pytest.approx(float(wanted))


@pytest.mark.slow
def test_a_bare_file_gives_a_report_of_its_weights(place: Path, process: Run) -> None:
    process("examine", "good.pt", "-o", "bare.json")
    report = reportgen.read(place / "bare.json")
    assert report.subject.kind == "checkpoint"
    assert report.weights is not None
    assert len(report.weights.rows) == 4
    assert report.activations is None


UNUSABLE = pytest.mark.parametrize(
    ("args", "words"),
    [
        (["examine", "mine:nothing"], "nothing"),
        (["examine", "absent:build"], "absent"),
        (["examine", "mine"], "colon"),
        (["examine", "absent.safetensors"], "absent.safetensors"),
        (["examine", "mine:build", "--checkpoint", "absent.pt"], "absent.pt"),
        (["examine", "mine:build", "--checkpoint", "wrong.pt"], "3 missing: 0.bias, 2.weight, 2.bias; 1 unexpected: x"),
        (["examine", "mine:build", "--data", "mine:empty"], "no batch"),
        (["examine", "mine:build", "--input-size", "3,9"], "layer '0' (Linear)"),
        (["examine", "mine:build", "--input-size", "three"], "three"),
        (["examine", "mine:build", "--input-size", "99999999999999"], "smaller size"),
        (["examine", "mine:build", "--seed", "99999999999999999999"], "seed"),
        (["examine", "mine:build", "--task", "guessing"], "guessing"),
        (["examine", "mine:build", "--threshold", "nonsense=1"], "nonsense"),
        (["examine", "mine:build", "-o", "absent/report.html"], "does not exist"),
        (["examine", "mine:build", "-o", "report.docx"], ".docx"),
        (["examine", "mine:build", "--max-batches", "0"], "max-batches"),
        (["render", "mine.py"], "not JSON"),
        (["render", "absent.json"], "absent.json"),
        (["check", "absent.json"], "absent.json"),
        (["check", "well.json", "--fail-on", "sometimes"], "sometimes"),
        (["demo", "nothing"], "digits, iris"),
        (["rules", "dead-rel"], "dead-relu"),
        (["nothing"], "nothing"),
    ],
)


def refused(place: Path, call: Run, args: list[str], words: str) -> None:
    before = set(place.iterdir())
    done = call(*args, code=2)
    assert words in done.stderr
    assert done.stderr.startswith("reportgen: ")
    assert done.stderr.count("\n") == 1
    assert {path for path in place.iterdir() if path.suffix != ".pyc" and path.name != "__pycache__"} <= before


@UNUSABLE
def test_unusable_arguments_are_exit_code_2_and_leave_no_file(
    place: Path, run: Run, args: list[str], words: str
) -> None:
    refused(place, run, args, words)


@pytest.mark.slow
@UNUSABLE
def test_unusable_arguments_of_a_process(place: Path, process: Run, args: list[str], words: str) -> None:
    refused(place, process, args, words)


@pytest.mark.slow
def test_a_refusal_is_the_exit_code_of_the_process(place: Path, process: Run) -> None:
    refused(place, process, ["examine", "mine:build", "--checkpoint", "wrong.pt"], "3 missing")


def test_check_is_a_gate(process: Run, run: Run) -> None:
    sick = process("check", "sick.json", code=1)
    assert "non-finite-weights" in sick.stdout
    run("check", "well.json")
    run("check", "sick.json", "--fail-on", "error", code=1)


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_failure(place: Path) -> None:
    for args in (["check", "well.json"], ["render", "well.json", "-o", "gone.html", "-o", "gone.md"], ["rules"]):
        process = subprocess.Popen([sys.executable, "-m", "reportgen", *args], cwd=place, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(timeout=60) == 0
    assert (place / "gone.md").exists()


def test_strict_is_exit_code_3_where_a_part_failed(place: Path, either: Run) -> None:
    (place / "badloss.py").write_text("def loss(output, target):\n    raise ValueError('no')\n")
    args = ("examine", "mine:build", "--data", "mine:loader", "--loss", "badloss:loss", "-o", "strict.json")
    assert "gradients" in either(*args, "--strict", code=3).stderr
    either(*args)


def test_render_and_check_need_no_torch(place: Path) -> None:
    code = (
        "import sys\n"
        "from reportgen.cli import main\n"
        "try:\n    main()\nexcept SystemExit as exit:\n    assert not exit.code, exit.code\n"
        "heavy = {'torch', 'torchvision', 'torchinfo', 'torchmetrics'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    for args in (
        ["render", "sick.json", "-o", "again.html", "-o", "again.md", "-o", "again.json"],
        ["check", "well.json"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *args], cwd=place, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
    assert (place / "again.json").read_bytes() == (place / "sick.json").read_bytes()


def test_the_version_is_that_of_the_package(run: Run) -> None:
    assert run("--version").stdout == f"reportgen {reportgen.__version__}\n"


def test_commands_are_completed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_REPORTGEN_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "reportgen re")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert run().stdout.split() == ["render"]


def test_help_and_rules_and_schema(run: Run) -> None:
    assert "examine" in run("--help").stdout
    assert run().stdout == run("--help").stdout
    assert "dead-relu" in run("rules").stdout
    assert "3/N" in run("rules", "dead-relu").stdout
    assert json.loads(run("schema").stdout)["$ref"] == "#/$defs/Report"


@pytest.mark.slow
def test_demo_writes_what_was_asked_for_and_shows_a_bar_with_the_loss(place: Path, process: Run) -> None:
    done = process("demo", "iris", "-o", "iris.html", "-o", "iris.json", "-o", "iris.pdf", "-o", "iris.md")
    assert "loss=" in done.stderr
    assert {"iris.html", "iris.json", "iris.pdf", "iris.md"} <= {path.name for path in place.iterdir()}
    process("check", "iris.json")
    process("demo", "iris")
    assert (place / "report.html").exists()
    assert (place / "report.json").exists()


@pytest.mark.slow
def test_an_interrupted_demo_leaves_nothing_and_says_so(place: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "reportgen", "demo", "-o", "interrupted.html"],
        cwd=place,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        # a runner in the background may have told its children to ignore it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stderr is not None
    seen = ""
    until = time.monotonic() + 60
    while "epoch" not in seen and time.monotonic() < until:
        seen += process.stderr.read(1)
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in rest
    assert "Traceback" not in rest
    assert not list(place.glob("*interrupted*"))
