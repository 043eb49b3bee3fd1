"""Names of other tools, held against what their own documents say that they mean."""

from __future__ import annotations

import pytest

from reportgen.training.importers.names import column, mapped


def ours(*theirs: str, **told: str) -> list[str]:
    return [str(name) for name in mapped(theirs, told).values()]


@pytest.mark.parametrize(
    ("theirs", "wanted"),
    [
        # Keras: CSVLogger, History.history, and the tags of its TensorBoard callback
        (
            ["accuracy", "loss", "val_accuracy", "val_loss"],
            ["train_accuracy", "train_loss", "val_accuracy", "val_loss"],
        ),
        (["train/epoch_loss", "validation/epoch_loss"], ["train_loss", "val_loss"]),
        # Hugging Face: trainer_state.json, and its TensorBoard callback
        (["loss", "grad_norm", "eval_loss"], ["train_loss", "gradient_norm", "val_loss"]),
        (["train/loss", "train/learning_rate", "eval/accuracy"], ["train_loss", "learning_rate", "val_accuracy"]),
        # Lightning
        (["train_loss_step", "train_loss_epoch", "valid_acc"], ["train_loss", "train_loss", "val_accuracy"]),
        (["lr-Adam", "val_loss"], ["learning_rate", "val_loss"]),
        (["lr-SGD/pg1", "lr-SGD/pg2"], ["learning_rate", "learning_rate_sgd_pg2"]),
        # torch's tutorial on TensorBoard, and what people write by hand
        (["Loss/train", "Loss/test", "Accuracy/test"], ["train_loss", "val_loss", "val_accuracy"]),
        (["Loss_train", "validation loss", "trainAcc"], ["train_loss", "val_loss", "train_accuracy"]),
        (
            ["metrics/precision", "val/box_loss", "train/box_loss"],
            ["precision", "val_box_loss", "train_box_loss"],
        ),
        (["loss_D", "loss_G"], ["train_loss_d", "train_loss_g"]),
        # a validation series of its own leaves the test split alone
        (["loss", "val_loss", "test_loss"], ["train_loss", "val_loss", "test_loss"]),
        # where the log names its training split, a name without one is not taken for training
        (["train_loss", "val_loss", "accuracy"], ["train_loss", "val_loss", "accuracy"]),
        # a twin with val_ makes any name one of training; without it an unknown name stays
        (["fancy", "val_fancy"], ["train_fancy", "val_fancy"]),
        (["fancy", "temperature"], ["fancy", "temperature"]),
        # words of a split within a word are no split, and a split alone is a name
        (["trainable_share", "evaluated", "train"], ["trainable_share", "evaluated", "train"]),
        (["time_per_step", "steps_per_second"], ["time_per_step", "steps_per_second"]),
    ],
)
def test_names(theirs: list[str], wanted: list[str]) -> None:
    assert ours(*theirs) == wanted


def test_the_suffix_says_by_what_it_was_logged() -> None:
    names = mapped(["train_loss_step", "train_loss_epoch", "val_loss"])
    assert [name.axis for name in names.values()] == ["step", "epoch", None]


def test_what_the_user_says_wins_and_nobody_takes_the_name() -> None:
    names = mapped(["loss", "train_loss", "score_b"], {"score_b": "val_accuracy", "loss": "val_loss"})
    assert {theirs: str(name) for theirs, name in names.items()} == {
        "loss": "val_loss",
        "train_loss": "train_loss",
        "score_b": "val_accuracy",
    }
    assert set(ours("train/loss", "other", other="train_loss")) == {"train_loss", "train_loss_2"}


def test_two_names_that_mean_the_same_stay_apart() -> None:
    names = ours("train/loss", "loss_train", "Train Loss")
    assert names[0] == "train_loss"
    assert len(set(names)) == 3


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("epoch", "epoch"),
        ("Epoch", "epoch"),
        ("step", "step"),
        ("global_step", "step"),
        ("trainer/global_step", "step"),
        ("Wall time", "time"),
        ("_timestamp", "time"),
        ("epoch_loss", "scalar"),
        ("", "time"),
    ],
)
def test_places(name: str, kind: str) -> None:
    assert column(name) == kind
