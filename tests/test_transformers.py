"""The callback and the importer with the real Trainer of Hugging Face, training a tiny model."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import reportgen
from reportgen.document.history import History
from reportgen.subject import vision

vision.prepare()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what the imports warn of is not ours
    transformers = pytest.importorskip("transformers")
    from transformers import EarlyStoppingCallback, Trainer, TrainingArguments

    from reportgen.integrations.transformers import ReportCallback

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

N, BATCH = 48, 8


class Net(nn.Module):
    """Returns a loss where there are labels, as the models of transformers do."""

    def __init__(self, breaks_at: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.25), nn.Linear(8, 2))
        self.breaks_at = breaks_at
        self.n_train_calls = 0

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        self.n_train_calls += self.training
        if self.n_train_calls == self.breaks_at:
            raise ZeroDivisionError("the lamp went out")
        logits = self.net(x)
        if labels is None:
            return {"logits": logits}
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def data() -> list[dict[str, Tensor]]:
    x = torch.randn(N, 4, generator=torch.Generator().manual_seed(0))
    return [{"x": row, "labels": (row[0] > 0).long()} for row in x]


def train(folder: Path, model: nn.Module, *callbacks: Any, **settings: Any) -> Trainer:
    fixed = {"num_train_epochs": 3, "logging_steps": 2, "eval_strategy": "epoch", "save_strategy": "no"}
    arguments = TrainingArguments(
        str(folder / "out"),
        per_device_train_batch_size=BATCH,
        learning_rate=0.05,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        seed=0,
        **{**fixed, **settings},
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=data(),
        eval_dataset=data(),
        callbacks=list(callbacks),  # type: ignore[arg-type]
    )
    trainer.train()
    return trainer


def points(history: History | None, name: str, axis: str) -> list[tuple[float, float | None]]:
    assert history is not None
    series = history.get(name, axis)
    assert series is not None, [(s.name, s.axis) for s in history.series]
    return list(zip(series.x, series.y, strict=True))


def test_the_report_tells_what_the_trainer_logged(tmp_path: Path) -> None:
    model, out = Net(), [tmp_path / "report.html", tmp_path / "report.json"]
    trainer = train(tmp_path, model, ReportCallback(out, log=tmp_path / "run.jsonl"))
    report = reportgen.read(out[1])
    history = report.training
    assert history is not None
    assert (history.epochs, history.steps, history.interrupted) == (3, 18, "")
    assert history.optimizer.startswith("Adam")
    log = trainer.state.log_history
    losses = [(e["step"], pytest.approx(e["loss"])) for e in log if "loss" in e]
    assert points(history, "train_loss", "step") == losses
    evals = [e["eval_loss"] for e in log if "eval_loss" in e]
    assert points(history, "val_loss", "epoch") == [(i, pytest.approx(v)) for i, v in enumerate(evals, 1)]
    means = [sum(e["loss"] for e in log if "loss" in e and i < e["epoch"] <= i + 1) / 3 for i in range(3)]
    assert points(history, "train_loss", "epoch") == [(i, pytest.approx(m)) for i, m in enumerate(means, 1)]
    assert history.hyperparameters["learning_rate"] == 0.05
    assert history.loop is not None
    assert history.loop.declared_accumulation == 1
    # the monitor measures before clipping what the Trainer logs as grad_norm
    assert history.get("gradient_norm", "step") is not None
    assert report.activations is not None
    assert reportgen.read_history(tmp_path / "run.jsonl").steps == 18
    assert not model.net[0]._forward_hooks
    assert not [s.name for s in history.series if "runtime" in s.name or "per_second" in s.name]


def test_training_is_the_same_to_the_bit(tmp_path: Path) -> None:
    weights = []
    for callbacks in ((), (ReportCallback(tmp_path / "same.json"),)):
        model = Net()
        train(tmp_path, model, *callbacks)
        weights.append((model.state_dict(), torch.rand(3)))
    for name, value in weights[0][0].items():
        assert torch.equal(value, weights[1][0][name]), name
    assert torch.equal(weights[0][1], weights[1][1])


def test_accumulation_is_declared_and_evaluations_may_be_by_step(tmp_path: Path) -> None:
    callback = ReportCallback(tmp_path / "r.json")
    by_step = {"eval_strategy": "steps", "eval_steps": 2, "logging_steps": 1}
    trainer = train(tmp_path, Net(), callback, gradient_accumulation_steps=2, **by_step)
    history = reportgen.read(tmp_path / "r.json").training
    assert history is not None
    assert history.loop is not None
    assert (history.steps, history.loop.declared_accumulation, history.loop.backwards_per_step) == (9, 2, 2)
    assert [x for x, _ in points(history, "val_loss", "step")] == [
        e["step"] for e in trainer.state.log_history if "eval_loss" in e
    ]
    assert [x for x, _ in points(history, "train_loss", "epoch")] == [1, 2, 3]


def test_stopping_early_is_told_and_is_no_interruption(tmp_path: Path) -> None:
    stopping = EarlyStoppingCallback(early_stopping_patience=1, early_stopping_threshold=100.0)
    train(
        *(tmp_path, Net(), ReportCallback(tmp_path / "r.json"), stopping),
        num_train_epochs=9,
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="loss",
    )
    history = reportgen.read(tmp_path / "r.json").training
    assert history is not None
    assert history.interrupted == ""
    assert history.epochs == 2
    assert any("stopped early, at step 12 of 54" in e.detail for e in history.events)


def test_a_training_that_breaks_off_leaves_its_log_and_can_be_closed(tmp_path: Path) -> None:
    callback, model = ReportCallback(tmp_path / "r.json", log=tmp_path / "run.jsonl"), Net(breaks_at=9)
    with pytest.raises(ZeroDivisionError) as caught:
        train(tmp_path, model, callback)
    assert not (tmp_path / "r.json").exists()
    model.breaks_at = None
    callback.close(caught.value)
    assert not model.net[0]._forward_hooks
    for history in (reportgen.read(tmp_path / "r.json").training, reportgen.read_history(tmp_path / "run.jsonl")):
        assert history is not None
        assert "the lamp went out" in history.interrupted
        assert history.steps == 8
    callback.close()


def test_what_the_trainer_saves_is_read(tmp_path: Path) -> None:
    trainer = train(tmp_path, Net(), save_strategy="epoch", num_train_epochs=5)
    trainer.save_state()
    evals = [e["eval_loss"] for e in trainer.state.log_history if "eval_loss" in e]
    for path in (tmp_path / "out", tmp_path / "out" / "trainer_state.json"):
        history = reportgen.read_history(path)
        assert points(history, "val_loss", "epoch") == [(i, v) for i, v in enumerate(evals, 1)]
        assert (history.epochs, history.steps, history.batch_size) == (5, 30, BATCH)
        assert len(points(history, "train_loss", "step")) == 15
    assert reportgen.read_history(tmp_path / "out" / "checkpoint-12").steps == 12


def test_without_the_library_one_line_names_the_extra() -> None:
    code = "import sys; sys.modules['transformers'] = None; import reportgen.integrations.transformers"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert "pip install 'reportgen[transformers]'" in last
    assert "During handling" not in done.stderr
