"""The callback and the importer with the real Lightning, training a tiny model."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.document.history import History
from reportgen.subject import vision

vision.prepare()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what Lightning's imports warn of is not ours
    pl = pytest.importorskip("lightning.pytorch")
    from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

    from reportgen.integrations.lightning import ReportCallback

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # Lightning's advice on workers, loggers and the like
]

N, BATCH = 48, 8


def data() -> DataLoader[Any]:
    x = torch.randn(N, 4, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), BATCH)


class Net(pl.LightningModule):  # type: ignore[misc, name-defined, unused-ignore]
    def __init__(self, width: int = 8, rate: float = 0.1, breaks_at: int | None = None) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Dropout(0.5), nn.Linear(width, 2))
        self.rate, self.breaks_at = rate, breaks_at
        self.losses: list[float] = []

    def forward(self, x: Tensor) -> Any:
        return self.net(x)

    def training_step(self, batch: Any, index: int) -> Tensor:
        if self.global_step == self.breaks_at:
            raise ZeroDivisionError("the lamp went out")
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.losses.append(loss.item())
        self.log("noise", torch.rand(()))
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        out = self(batch[0])
        self.log("valid/loss", nn.functional.cross_entropy(out, batch[1]))
        self.log("valid/acc", (out.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.rate)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)}


def train(folder: Path, module: Any, *callbacks: Any, epochs: int = 3, **settings: Any) -> Any:
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=folder,
        callbacks=list(callbacks),
        log_every_n_steps=2,
        **{"logger": False, **settings},
    )
    pl.seed_everything(0)
    trainer.fit(module, data(), data())
    return trainer


def points(history: History | None, name: str, axis: str) -> list[tuple[float, float | None]]:
    assert history is not None
    series = history.get(name, axis)
    assert series is not None, [(s.name, s.axis) for s in history.series]
    return list(zip(series.x, series.y, strict=True))


def test_the_report_tells_what_was_trained(tmp_path: Path) -> None:
    module = Net()
    out = [tmp_path / "report.html", tmp_path / "report.json"]
    callback = ReportCallback(out, loss=nn.functional.cross_entropy, log=tmp_path / "run.jsonl")
    trainer = train(tmp_path, module, callback)
    report = reportgen.read(out[1])
    history = report.training
    assert history is not None
    assert (history.epochs, history.steps, history.optimizer) == (3, 18, "SGD")
    assert history.interrupted == ""
    assert history.hyperparameters["width"] == 8
    losses = module.losses
    assert points(history, "train_loss", "step") == [(i, pytest.approx(v)) for i, v in enumerate(losses, 1)]
    means = [sum(losses[i : i + 6]) / 6 for i in (0, 6, 12)]
    assert points(history, "train_loss", "epoch") == [(i, pytest.approx(m)) for i, m in enumerate(means, 1)]
    assert points(history, "val_loss", "epoch")[-1] == (3, pytest.approx(float(trainer.callback_metrics["valid/loss"])))
    assert len(points(history, "val_accuracy", "epoch")) == 3
    assert len(points(history, "noise", "step")) == 9
    assert [y for _, y in points(history, "learning_rate", "epoch")] == pytest.approx([0.1, 0.05, 0.025])
    assert history.loop is not None
    assert history.loop.declared_accumulation == 1
    assert history.get("gradient_norm", "step") is not None
    assert report.evaluation is not None
    assert report.evaluation.n_samples == N
    assert out[0].stat().st_size > 10_000
    assert reportgen.read_history(tmp_path / "run.jsonl").steps == 18
    assert not module.net[0]._forward_hooks


def test_training_is_the_same_to_the_bit(tmp_path: Path) -> None:
    weights = []
    for callbacks in ((), (ReportCallback(tmp_path / "same.json"),)):
        module = Net()
        pl.seed_everything(1)
        module.net.apply(lambda m: m.reset_parameters() if isinstance(m, nn.Linear) else None)
        train(tmp_path, module, *callbacks)
        weights.append((module.state_dict(), torch.rand(3)))
    for name, value in weights[0][0].items():
        assert torch.equal(value, weights[1][0][name]), name
    assert torch.equal(weights[0][1], weights[1][1])


def test_accumulation_is_declared_and_the_loss_is_that_of_a_batch(tmp_path: Path) -> None:
    module = Net()
    train(tmp_path, module, ReportCallback(tmp_path / "r.json"), accumulate_grad_batches=3, epochs=2)
    report = reportgen.read(tmp_path / "r.json")
    history = report.training
    assert history is not None
    assert history.loop is not None
    assert (history.steps, history.loop.declared_accumulation) == (4, 3)
    assert history.loop.backwards_per_step == 3
    means = [sum(module.losses[i : i + 6]) / 6 for i in (0, 6)]
    assert [y for _, y in points(history, "train_loss", "epoch")] == pytest.approx(means)
    assert not [d for d in report.diagnoses if "accum" in d.cause or "zero-grad" in d.cause]


def test_a_training_that_breaks_off_is_reported_and_still_raises(tmp_path: Path) -> None:
    callback = ReportCallback(tmp_path / "r.json", log=tmp_path / "run.jsonl")
    module = Net(breaks_at=8)
    with pytest.raises(ZeroDivisionError):
        train(tmp_path, module, callback)
    for history in (reportgen.read(tmp_path / "r.json").training, reportgen.read_history(tmp_path / "run.jsonl")):
        assert history is not None
        assert "the lamp went out" in history.interrupted
        assert history.steps == 8
    assert not module.net[0]._forward_hooks


def test_stopping_early_is_told_and_is_no_interruption(tmp_path: Path) -> None:
    stopping = pl.callbacks.EarlyStopping("valid/loss", patience=1, min_delta=100.0)
    train(tmp_path, Net(), ReportCallback(tmp_path / "r.json"), stopping, epochs=9)
    history = reportgen.read(tmp_path / "r.json").training
    assert history is not None
    assert history.interrupted == ""
    assert history.epochs == 2
    assert any("stopped early, after 2 of 9" in e.detail for e in history.events)


def test_validations_within_an_epoch_are_by_step(tmp_path: Path) -> None:
    train(tmp_path, Net(), ReportCallback(tmp_path / "r.json"), val_check_interval=2, epochs=1)
    history = reportgen.read(tmp_path / "r.json").training
    assert [x for x, _ in points(history, "val_loss", "step")] == [2, 4, 6]


def test_a_module_without_forward_and_a_fit_without_validation(tmp_path: Path) -> None:
    class Bare(Net):
        forward = pl.LightningModule.forward

        def training_step(self, batch: Any, index: int) -> Tensor:
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        validation_step = pl.LightningModule.validation_step

    train(tmp_path, Bare(), ReportCallback(tmp_path / "r.json"), limit_val_batches=0)
    report = reportgen.read(tmp_path / "r.json")
    assert report.weights is not None
    assert report.activations is None
    assert len(points(report.training, "train_loss", "epoch")) == 3


def test_a_path_that_cannot_be_written_is_told_before_training(tmp_path: Path) -> None:
    module = Net()
    with pytest.raises(reportgen.ReportgenError, match="absent"):
        train(tmp_path, module, ReportCallback(tmp_path / "absent" / "report.html"))
    assert module.losses == []


@pytest.mark.parametrize("logger", [CSVLogger, TensorBoardLogger])
def test_what_its_loggers_write_is_read(tmp_path: Path, logger: Any) -> None:
    module = Net()
    train(tmp_path, module, logger=logger(tmp_path / "logs"), epochs=5)
    history = reportgen.read_history(tmp_path / "logs")
    assert (history.epochs, history.steps) == (5, 29)
    assert len(points(history, "val_loss", "epoch")) == 5
    assert len(points(history, "val_accuracy", "epoch")) == 5
    assert len(points(history, "noise", "step")) == 15
    assert history.hyperparameters["width"] == 8


def test_without_the_library_one_line_names_the_extra() -> None:
    code = "import sys; sys.modules['lightning'] = None; import reportgen.integrations.lightning"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert "pip install 'reportgen[lightning]'" in last
    assert "During handling" not in done.stderr
