"""The notebook: what is logged by step keeps its order, whatever else is logged at some of the steps."""

from __future__ import annotations

from pathlib import Path

from reportgen.training.journal import Journal, read_journal
from reportgen.training.notebook import Notebook
from reportgen.training.observations import JOURNAL_VERSION, Session


def test_a_scalar_that_is_logged_beside_another_now_and_then_stays_in_order(tmp_path: Path) -> None:
    notebook = Notebook(journal=Journal(tmp_path / "run.jsonl"))
    notebook.add(Session(version=JOURNAL_VERSION))
    for step in range(1, 201):
        extra = {"noise": step / 10} if step % 3 == 0 else {}
        notebook.row("step", step, {"train_loss": 1.0 / step, **extra})
    notebook.close("")
    for history in (notebook.history(), read_journal(tmp_path / "run.jsonl")):
        loss, noise = history.get("train_loss"), history.get("noise")
        assert loss is not None
        assert noise is not None
        assert loss.x == list(range(1, 201))
        assert loss.y == [1.0 / step for step in range(1, 201)]
        assert noise.x == list(range(3, 201, 3))
        assert noise.y == [step / 10 for step in range(3, 201, 3)]
