"""What is handed in wrongly comes back as one line: what it is, and what was expected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import reportgen
from reportgen import Options, ReportgenError
from reportgen.errors import DataError, OptionError


def data() -> list[tuple[Tensor, Tensor]]:
    return [(torch.zeros(6, 4), torch.arange(6) % 3)]


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), 0.1)


def refused(call: Callable[[], object], *words: str) -> None:
    with pytest.raises(ReportgenError) as caught:
        call()
    told = str(caught.value)
    assert "\n" not in told
    assert "xpected" in told or "Make one" in told
    for word in words:
        assert word in told, told


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("title", 5, "is 5. Expected a text."),
        ("task", "foo", "is 'foo'. Expected one of 'multiclass'"),
        ("class_names", "abc", "is 'abc'. Expected a list of texts."),
        ("class_names", [1, 2], "is of type list. Expected a list of texts."),
        ("device", 3, "is 3. Expected a text such as 'cpu'"),
        ("input_size", 5, "is 5. Expected the shape of one sample"),
        ("input_size", ("a",), "Expected the shape of one sample"),
        ("batch_size", 0, "is 0. Expected a whole number of 1 or more."),
        ("batch_size", True, "is True. Expected a whole number"),
        ("max_batches", 0, "is 0. Expected a whole number of 1 or more, or None for all."),
        ("gradient_batches", 0, "is 0. Expected a whole number of 1 or more."),
        ("gradient_batches", -1, "is -1."),
        ("trial_budget", "x", "is 'x'. Expected seconds"),
        ("trial_budget", -1.0, "is -1.0."),
        ("trial_budget", float("nan"), "is nan."),
        ("trial_budget", float("inf"), "is inf."),
        ("thresholds", 5, "is 5. Expected a dict"),
        ("rules", [], "is of type list. Expected a dict"),
        ("allow_globals", "torch.nn", "Expected a list of dotted names."),
        ("language", "xx", "is 'xx'. Expected one of 'en', 'zh'"),
        ("seed", -5, "is -5. Expected a whole number from 0"),
        ("seed", 1.5, "is 1.5."),
        ("seed", 2**70, "Expected a whole number from 0 to 2**32 - 1."),
    ],
)
def test_options_name_the_setting_and_what_it_may_be(name: str, value: object, words: str) -> None:
    settings: dict[str, Any] = {name: value}
    refused(lambda: Options(**settings), f"Option {name} ", words)


def test_options_take_what_they_should() -> None:
    fine = Options(
        title="a",
        task="binary",
        class_names=["a"],
        device="cpu",
        input_size=[3],
        batch_size=1,
        max_batches=1,
        gradient_batches=1,
        trial_budget=0,
        thresholds={},
        seed=0,
    )
    assert (fine.batch_size, fine.trial_budget) == (1, 0)
    told: dict[str, Any] = {"device": torch.device("cpu"), "seed": np.int64(3), "input_size": (3, 4)}
    assert Options(**told).seed == 3


MODEL = nn.Linear(4, 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"optimizer": "sgd"}, "optimizer is 'sgd'. Expected a torch.optim.Optimizer"),
        ({"optimizer": [1]}, "optimizer is 1."),
        ({"optimizer": torch.optim.SGD}, "optimizer is the class SGD."),
        ({"loss": "ce"}, "loss is 'ce'. Expected a callable of (output, target)"),
        ({"loss": nn.CrossEntropyLoss}, "Make one of it: loss=CrossEntropyLoss()."),
        ({"options": {"title": "x"}}, "options is of type dict. Expected reportgen.Options(...)."),
        ({"history": 5}, "history is int"),
        ({"data": 5}, "data is 5, which cannot be iterated."),
        ({"train_data": 5}, "train_data is 5, which cannot be iterated."),
        ({"model": nn.Linear}, "Cannot examine the class Linear."),
        ({"model": None}, "there is neither a model nor a history"),
    ],
)
def test_examine(arguments: dict[str, Any], words: str) -> None:
    given: dict[str, Any] = {"model": MODEL, "data": data()} | arguments
    refused(lambda: reportgen.examine(given.pop("model"), given.pop("data"), **given), words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": "x"}, "model is 'x'."),
        ({"epochs": 0}, "epochs is 0. Expected a whole number of 1 or more."),
        ({"epochs": "x"}, "epochs is 'x'."),
        ({"epochs": 1.5}, "epochs is 1.5."),
        ({"loss": "ce"}, "loss is 'ce'."),
        ({"loss": None}, "loss is None."),
        ({"loss": nn.MSELoss}, "loss=MSELoss()."),
        ({"optimizer": "sgd"}, "optimizer is 'sgd'."),
        ({"optimizer": torch.optim.SGD}, "optimizer is the class SGD."),
        ({"scheduler": 4}, "scheduler is 4. Expected an object of torch.optim.lr_scheduler"),
        ({"scheduler": torch.optim.lr_scheduler.StepLR}, "scheduler is the class StepLR."),
        ({"scheduler_per": "foo"}, "scheduler_per is 'foo'. Expected 'epoch' or 'batch'."),
        ({"early_stopping": "x"}, "early_stopping is 'x'."),
        ({"checkpoint": 5}, "checkpoint is 5. Expected a path"),
        ({"log": 5}, "log is 5. Expected a path"),
        ({"seed": -5}, "seed is -5."),
        ({"hyperparameters": 5}, "hyperparameters is 5. Expected a dict"),
    ],
)
def test_fit(arguments: dict[str, Any], words: str) -> None:
    model = nn.Linear(4, 3)
    given: dict[str, Any] = {"loss": nn.CrossEntropyLoss(), "optimizer": sgd(model), "epochs": 1, "progress": False}
    given = {"model": model, **given, **arguments}
    refused(lambda: reportgen.fit(given.pop("model"), data(), **given), words)
    assert all(p.grad is None for p in model.parameters())  # nothing was trained before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": "x"}, "Cannot watch a str."),
        ({"optimizer": "sgd"}, "Cannot watch an optimizer of type str."),
        ({"accumulation": 0}, "accumulation is 0. Expected a whole number of 1 or more."),
        ({"scheduler": 4}, "scheduler is 4."),
        ({"scheduler": [None, 4]}, "scheduler is 4."),
        ({"hyperparameters": 5}, "hyperparameters is 5."),
        ({"loss": "ce"}, "loss is 'ce'."),
        ({"log": 5}, "log is 5."),
        ({"scaler": 3}, "scaler is 3. Expected the torch.amp.GradScaler"),
        ({"options": 3}, "options is 3."),
    ],
)
def test_monitor(arguments: dict[str, Any], words: str) -> None:
    given: dict[str, Any] = {"model": MODEL, "optimizer": sgd(MODEL), "progress": False} | arguments
    refused(lambda: reportgen.Monitor(**given), words)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: m.log(epoch="x"), "epoch is 'x'. Expected a number."),
        (lambda m: m.log(epoch="3", val_loss=1.0), "epoch is '3'."),
        (lambda m: m.log(epoch=float("nan")), "epoch is nan."),
        (lambda m: m.log(epoch=torch.zeros(2)), "epoch is of type Tensor."),
        (lambda m: m.log(step="x", a=1.0), "step is 'x'."),
        (lambda m: m.log(a="x"), "Cannot log a: it is a str."),
        (lambda m: list(m.epochs(5)), "epochs is 5. Expected something to iterate over, such as range(20)."),
        (lambda m: list(m.epochs("abc")), "epochs is 'abc'."),
        (lambda m: list(m.batches(5)), "batches is 5. Expected a DataLoader"),
    ],
)
def test_what_a_loop_tells_its_monitor(call: Callable[[Any], object], words: str) -> None:
    with reportgen.Monitor(MODEL, sgd(MODEL), progress=False) as monitor:
        refused(lambda: call(monitor), words)
        monitor.log(epoch=np.int64(1), val_loss=1.0)
    assert monitor.history().epochs is not None


def test_files(tmp_path: Path) -> None:
    refused(lambda: reportgen.read(5), "path is 5. Expected a path")  # type: ignore[arg-type]
    refused(lambda: reportgen.write(None, tmp_path / "a.html"), "report is None.")  # type: ignore[arg-type]
    refused(lambda: reportgen.write(None, 5), "path is 5.")  # type: ignore[arg-type]
    refused(lambda: reportgen.read_history({"loss": [1.0]}, names=5), "names is 5.")  # type: ignore[arg-type]


class Bare(nn.Module):
    """Forgot to initialise its base."""

    def __init__(self) -> None:
        pass


def test_a_module_without_its_base_is_told() -> None:
    with pytest.raises(OptionError, match=r"The Bare was never initialised as a module\. Call super\(\)\.__init__"):
        reportgen.examine(Bare(), data())


def test_the_kind_of_error_says_which_argument() -> None:
    with pytest.raises(DataError):
        reportgen.examine(MODEL, 5)  # type: ignore[arg-type]
    with pytest.raises(OptionError):
        reportgen.examine(MODEL, data(), loss="x")  # type: ignore[arg-type]
