"""Third fresh cases: faults of the size of steps and of the loop. What was reported where stands in brackets."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam, lr_scheduler

from . import fresh3_data, nets
from .case import Training, harmed, shown, sick
from .data import digits
from .fresh3_programs import (
    MASK,
    SLOW,
    WILD,
    Camps,
    Segmenter,
    Sentence,
    Tower,
    classifier,
    cosine,
)
from .fresh3_sick_loss import ALIKE
from .metrics import R2
from .programs import adam, program, sgd, token_loss

# the rate


@sick("transformer", "lr-too-high", also=(*WILD, "saturated-activations"), proof=harmed(0.2), bar=0.85)
def encoder_at_the_rate_of_a_table(seed: int, fixed: bool) -> Training:
    """Torch's own encoder layers by Adam at 0.12, where 0.003 does (asked for BERT at 1e-3 time and again)."""
    model = Sentence(20, 2, 8)
    return cosine(program(model, fresh3_data.denials(2400), adam(3e-3 if fixed else 0.12), 10))


def _contrast(output: Tensor, _: Tensor) -> Tensor:
    """Of two views of a batch each finds its other (InfoNCE)."""
    left, right = F.normalize(output[:, 0], dim=1), F.normalize(output[:, 1], dim=1)
    return F.cross_entropy(left @ right.T / 0.1, torch.arange(len(left)))


def _neighbours(output: Tensor, y: Tensor) -> float:
    """Share of samples whose nearest other is of their kind."""
    points = F.normalize(output[:, 0], dim=1)
    near = points @ points.T - 9 * torch.eye(len(points))
    return float((y[near.argmax(1)] == y).float().mean())


NEIGHBOURS = ALIKE.__class__("neighbours", _neighbours, lambda y: float(y.bincount().max() / len(y)))


@sick("language-model", "lr-too-high", also=(*WILD, "saturated-activations"), proof=harmed(0.2), bar=0.7)
def post_norm_blocks_at_three_hundredths(seed: int, fixed: bool) -> Training:
    """Norms after the sums, no warm-up, and ten times the rate that such a net can take."""
    model = Tower(7, 16)
    return cosine(program(model, fresh3_data.second_order(1400), adam(3e-3 if fixed else 0.03), 12, loss=token_loss))


@sick("segmentation", "lr-too-low", also=(*SLOW, "class-imbalance"), proof=harmed(0.2), bar=0.75)
def masks_at_a_rate_for_fine_tuning(seed: int, fixed: bool) -> Training:
    """From nothing at 2e-6, a rate that was copied from a fine-tuning (open-mmlab/mmsegmentation 2713)."""
    data, _ = fresh3_data.lesions()
    return program(Segmenter(), data, adam(5e-3 if fixed else 2e-6), 8, metric=MASK)


# the schedule


@sick("cnn", "lr-schedule-collapse", also=("lr-too-low", *SLOW), proof=harmed(0.1), bar=0.85)
def plateau_that_waits_for_a_larger_loss(seed: int, fixed: bool) -> Training:
    """``ReduceLROnPlateau`` with mode "max" is shown the loss: every good epoch is a bad one (gnina-torch 57)."""
    training = program(classifier(5), fresh3_data.glyphs(1200), adam(6e-4), 14)
    mode = "min" if fixed else "max"
    training.scheduler = lr_scheduler.ReduceLROnPlateau(
        training.optimizer, mode, factor=0.1, patience=1 if mode == "max" else 4
    )
    return training


@sick("recurrent", "lr-schedule-collapse", also=("lr-too-low", *SLOW), proof=harmed(0.1), bar=0.8)
def schedule_stepped_on_test_batches_too(seed: int, fixed: bool) -> Training:
    """``run_epoch`` is used for training and for testing and steps the schedule after each batch (PALAVRA 4)."""
    training = program(nets.Recurrent(nn.GRU, 1, 24, 3), fresh3_data.chirps(), adam(5e-3), 14)
    training.scheduler = lr_scheduler.StepLR(training.optimizer, 6, gamma=0.5)
    training.scheduler_every = "epoch" if fixed else "step"
    return training


# the length of steps


def clipped_at(norm: float, scale: float = 1.0) -> Any:
    """A step whose gradient, ``scale`` times too large, is cut to a norm and then scaled back."""

    def step(training: Training, batch: Any) -> Tensor:
        loss = training.loss(training.model(*batch[:-1]), batch[-1])
        training.optimizer.zero_grad()
        (loss * scale).backward()
        nn.utils.clip_grad_norm_(training.model.parameters(), norm)
        for p in training.model.parameters():
            if p.grad is not None:
                p.grad /= scale
        training.optimizer.step()
        return loss

    return step


@sick("cnn", "gradient-clipping-too-small", also=("lr-too-low", *SLOW), proof=harmed(0.2), bar=0.85)
def clipped_before_it_is_scaled_back(seed: int, fixed: bool) -> Training:
    """Mixed precision clips what the scaler made 1024 times larger (EveryDream2trainer 175, lightning 9599)."""
    step = clipped_at(1.0, 1.0 if fixed else 1024.0)
    return program(classifier(4), fresh3_data.gratings3(), sgd(0.1, momentum=0.9), 8, step=step)


@sick("language-model", "gradient-clipping-too-small", also=("lr-too-low", *SLOW), proof=harmed(0.2), bar=0.75)
def clipped_to_a_hundredth_of_a_hundredth(seed: int, fixed: bool) -> Training:
    """The norm was squared before it was compared: steps shrink a hundredfold (paiml/entrenar 311)."""
    model = nets.Transformer(7, 7, 16, causal=True, depth=1, width=32)
    step = clipped_at(1.0 if fixed else 2e-4)
    return program(model, fresh3_data.second_order(1400), sgd(0.3, momentum=0.9), 14, loss=token_loss, step=step)


# when it ends


@sick("recurrent", "undertrained", also=("underfitting", "lr-too-low"), proof=harmed(0.1), bar=0.85)
def two_epochs_of_tagging(seed: int, fixed: bool) -> Training:
    model = nets.Recurrent(nn.GRU, 1, 32, 2)
    model.every_step = True
    return program(model, fresh3_data.delayed(), adam(5e-3), 20 if fixed else 2, loss=token_loss)


@sick("regression", "undertrained", also=("underfitting", "lr-too-low"), proof=harmed(0.1), bar=0.85)
def stopped_while_the_curve_still_falls(seed: int, fixed: bool) -> Training:
    """Ten epochs, because the tutorial on a larger table had ten."""
    table = fresh3_data.rentals(600)
    return program(
        nets.mlp(5, 32, 32, 1, act=nn.Tanh),
        table,
        sgd(0.02, momentum=0.9),
        80 if fixed else 5,
        loss=nn.MSELoss(),
        metric=R2,
    )


# the loop


def kept_gradients(training: Training, batch: Any) -> Tensor:
    """A step that clears nothing."""
    loss = training.loss(training.model(*batch[:-1]), batch[-1])
    loss.backward()
    training.optimizer.step()
    return loss


def _cleared_once(training: Training, epoch: int) -> None:
    training.model.train()
    training.optimizer.zero_grad()


@sick("graph", "missing-zero-grad", also=("lr-too-high", *WILD), proof=harmed(0.05), bar=0.75)
def cleared_once_an_epoch(seed: int, fixed: bool) -> Training:
    """``zero_grad`` stands one indentation too far left."""
    training = program(Camps(), fresh3_data.networks(), sgd(0.1, momentum=0.9), 8, loss=token_loss)
    training.begin_epoch = _cleared_once
    training.step = None if fixed else kept_gradients
    return training


@sick("autoencoder", "missing-zero-grad", also=("lr-too-high", *WILD), proof=harmed(0.1), bar=0.85)
def another_nets_gradients_are_cleared(seed: int, fixed: bool) -> Training:
    """``old_optimizer.zero_grad()`` was left from a first draft of the loop."""
    model = nn.Sequential(nets.mlp(28, 32, 6), nn.ReLU(), nets.mlp(6, 32, 28))
    training = program(model, fresh3_data.steps_and_slopes(), sgd(0.1, momentum=0.9), 20, loss=nn.MSELoss(), metric=R2)
    old = Adam(nets.mlp(28, 6, 28).parameters())

    def step(training: Training, batch: Any) -> Tensor:
        old.zero_grad()
        return kept_gradients(training, batch)

    training.step = None if fixed else step
    return training


@sick("cnn", "no-weight-update", also=SLOW, proof=harmed(0.3), bar=0.85)
def scheduler_steps_in_place_of_the_optimizer(seed: int, fixed: bool) -> Training:
    """``if scheduler: scheduler.step() else: optimizer.step()`` (ClementPinard/SfmLearner-Pytorch 5)."""
    training = cosine(program(classifier(4), fresh3_data.gratings3(), adam(3e-3), 6))

    def step(training: Training, batch: Any) -> Tensor:
        loss = training.loss(training.model(*batch[:-1]), batch[-1])
        training.optimizer.zero_grad()
        loss.backward()
        return loss

    training.step = None if fixed else step
    return training


@sick("recurrent", "no-weight-update", "params-not-in-optimizer", also=SLOW, proof=harmed(0.2), bar=0.8)
def pruned_copy_with_the_old_optimizer(seed: int, fixed: bool) -> Training:
    """Layers were replaced after the optimizer had been made (microsoft/nni 4521, pytorch 14467)."""
    import copy

    model = nets.Recurrent(nn.GRU, 1, 24, 3)
    old = Adam(model.parameters(), lr=5e-3)
    model.rnn, model.head, model.embed = (copy.deepcopy(m) for m in (model.rnn, model.head, model.embed))
    optimizer = Adam(model.parameters(), lr=5e-3) if fixed else old
    return program(model, fresh3_data.chirps(), lambda _: optimizer, 12)


def _never_back(training: Training, epoch: int) -> None:
    if epoch == 0:
        training.model.train()


@sick(
    "segmentation",
    "eval-mode-training",
    also=("bn-statistics",),
    proof=shown(lambda o: not o.training.in_train),
    bar=0.7,
)
def never_back_to_training_after_validation(seed: int, fixed: bool) -> Training:
    """``eval()`` for validation, and no ``train()`` after it (wkentaro/pytorch-fcn 57)."""
    data, _ = fresh3_data.lesions()
    training = cosine(program(Segmenter(), data, adam(6e-3), 8, metric=MASK))
    training.in_train = True

    def begin(training: Training, epoch: int) -> None:
        if fixed:
            training.model.train()
        else:
            _never_back(training, epoch)
        training.in_train = training.model.training

    training.begin_epoch = begin
    return training


@sick(
    "cnn",
    "eval-mode-training",
    "dropout-active-in-eval",
    also=("bn-statistics", "batch-mixing"),
    proof=shown(lambda o: o.training.model.training),
    bar=0.85,
)
def tested_without_eval(seed: int, fixed: bool) -> Training:
    """``model.eval()`` is not called where the model is tested (GACNet 8)."""
    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.5)),
        nn.Linear(144, 10),
    )
    training = cosine(program(model, digits_scaled(), adam(4e-3), 8))
    if not fixed:
        training.begin_validation = lambda training: None
    return training


def digits_scaled() -> fresh3_data.Data:
    table = digits()
    return fresh3_data.Data((table.x - 5) / 6, table.y, (table.x_val - 5) / 6, table.y_val)
