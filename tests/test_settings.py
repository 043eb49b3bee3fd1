"""Settings: which file counts, what wins, and what a wrong key is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reportgen.errors import OptionError
from reportgen.settings import Settings, load

FILE = """
model = "nets.py:build"
checkpoint = "best.pt"
data = {target = "data.py:loader", batch_size = 8}
history = "run/history.jsonl"
output = ["out/report.html", "report.json"]
seed = 3
class_names = ["a", "b"]

[thresholds]
dead = 0.5

[train]
epochs = 4
optimizer = "torch.optim.SGD(lr=0.1)"
folder = "run"

[check]
fail_on = "error"
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_a_file_everything_is_as_it_is_without_settings(place: Path) -> None:
    assert load(None, {}) == Settings()


def test_a_file_says_everything_and_its_paths_are_its_own(place: Path) -> None:
    (place / "sub").mkdir()
    (place / "sub" / "my.toml").write_text(FILE)
    given = load(Path("sub/my.toml"), {})
    assert given.model == "sub/nets.py:build"
    assert given.checkpoint == "sub/best.pt"
    assert given.data == {"target": "sub/data.py:loader", "batch_size": 8}
    assert given.history == "sub/run/history.jsonl"
    assert given.output == ["sub/out/report.html", "sub/report.json"]
    assert (given.options.seed, given.options.class_names) == (3, ["a", "b"])
    assert given.options.thresholds == {"dead": 0.5}
    assert (given.train.epochs, given.train.folder) == (4, "sub/run")
    assert given.train.optimizer == "torch.optim.SGD(lr=0.1)"
    assert given.check.fail_on == "error"


def test_modules_and_absolute_paths_are_left_as_they_are(place: Path) -> None:
    (place / "sub").mkdir()
    (place / "sub" / "weights.pt").touch()
    (place / "sub" / "my.toml").write_text(
        f'model = "weights.pt"\ndata = "pkg.mod:loader"\nloss = "MSELoss"\ncheckpoint = "{place}/x.pt"\n'
    )
    given = load(Path("sub/my.toml"), {})
    assert (given.model, given.data, given.loss) == ("sub/weights.pt", "pkg.mod:loader", "MSELoss")
    assert given.checkpoint == f"{place}/x.pt"


def test_flags_win_and_tables_are_merged(place: Path) -> None:
    (place / "reportgen.toml").write_text(FILE)
    flags: dict[str, Any] = {
        "seed": 0,
        "title": None,
        "thresholds": {"other": 1.0},
        "train": {"epochs": 9, "resume": None},
    }
    given = load(None, flags)
    assert (given.options.seed, given.options.title) == (0, None)
    assert given.options.thresholds == {"dead": 0.5, "other": 1.0}
    assert (given.train.epochs, given.train.resume) == (9, False)
    assert given.train.optimizer == "torch.optim.SGD(lr=0.1)"


def test_which_file_counts(place: Path) -> None:
    pyproject = place / "pyproject.toml"
    pyproject.write_text('[project]\nname = "x"\n')
    assert load(None, {}) == Settings()
    pyproject.write_text('[tool.reportgen]\ntitle = "of the project"\n')
    assert load(None, {}).options.title == "of the project"
    assert load(pyproject, {}).options.title == "of the project"
    (place / "reportgen.toml").write_text('title = "of its own"\n')
    assert load(None, {}).options.title == "of its own"
    (place / "named.toml").write_text("")
    assert load(Path("named.toml"), {}).options.title is None


def test_what_belongs_to_another_model_is_left_aside(place: Path) -> None:
    (place / "reportgen.toml").write_text(FILE)
    given = load(None, {"model": "x:y"}, without=("model", "checkpoint", "history"))
    assert (given.model, given.checkpoint, given.history) == ("x:y", None, None)
    assert given.data is not None
    assert load(Path("reportgen.toml"), {}, without=("checkpoint",)).checkpoint == "best.pt"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("modle = 'a:b'", "no setting 'modle'.*'model'"),
        ("[train]\nepoch = 3", r"no setting 'epoch' in \[train\].*'epochs'"),
        ("[check]\nfail-on = 'error'", r"'fail-on' in \[check\].*'fail_on'"),
        ("epochs = 3", r"belongs into \[train\]"),
        ("[train]\nmodel = 'a:b'", "belongs to the top level"),
        ("zzzz = 3", "Known are model"),
        ("[train]\nepochs = 'many'", "epochs"),
        ("task = 'guessing'", "guessing"),
        ("seed = 1.5", "seed"),
        ("train = 3", "train"),
        ("thresholds = 3", "no table"),
        ("output = [1]", "output"),
        ("model = 3", "model"),
        ("model = ", "no TOML"),
        ("model = '\udcff'", "no TOML"),
    ],
)
def test_what_is_wrong_in_a_file_is_one_line_with_its_name(place: Path, text: str, words: str) -> None:
    (place / "reportgen.toml").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(OptionError, match=words) as caught:
        load(None, {})
    assert "reportgen.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_named_file_must_be_there(place: Path) -> None:
    with pytest.raises(OptionError, match=r"absent\.toml does not exist"):
        load(Path("absent.toml"), {})
    with pytest.raises(OptionError, match="cannot be read"):
        load(place, {})
