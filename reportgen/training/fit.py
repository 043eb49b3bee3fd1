"""A plain training loop that writes down what a report needs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm.auto import tqdm

from ..arguments import PATH, WHOLE, check_loss, check_scheduler, expect, is_path, is_whole
from ..document.history import History
from ..errors import OptionError
from ..probe.evaluation import are_class_scores
from ..probe.guard import modes_kept
from ..probe.layers import main_tensor
from ..subject.data import Batch, batches, call, device_of
from .keep import Progress, Trained, load_last, save, seed_all
from .watch import Watch, is_first_rank


@dataclass
class _Tally:
    """Sums over one pass: loss by sample, and correct predictions where outputs are class scores."""

    device: torch.device
    threshold: float | None = None
    """Above it a single output says yes; None where outputs are no yes-or-no answers."""
    n: int = 0
    n_judged: int = 0

    def __post_init__(self) -> None:
        self._loss = torch.zeros((), dtype=torch.float64 if self.device.type == "cpu" else torch.float32).to(
            self.device
        )
        self._correct = torch.zeros((), dtype=torch.int64, device=self.device)

    def add(self, loss: Tensor, output: Any, batch: Batch) -> None:
        size = max(batch.n_samples, 1)
        self.n += size
        self._loss += loss.detach().reshape(()) * size
        scores = main_tensor(output)
        if scores is not None and isinstance(batch.target, Tensor) and are_class_scores(scores, batch.target):
            self.n_judged += len(scores)
            self._correct += (scores.detach().argmax(1) == batch.target).sum()
        elif scores is not None and self.threshold is not None and scores.numel() == len(scores):
            self.n_judged += len(scores)
            answers = (scores.detach() > self.threshold).reshape(-1)
            self._correct += (answers == (batch.target.reshape(-1) > 0.5)).sum()

    def figures(self, prefix: str) -> dict[str, Any]:
        figures: dict[str, Any] = {f"{prefix}_loss": float(self._loss) / self.n} if self.n else {}
        if self.n_judged:
            figures[f"{prefix}_accuracy"] = int(self._correct) / self.n_judged
        return figures


def fit(
    model: nn.Module,
    train_loader: Iterable[Any],
    val_loader: Iterable[Any] | None = None,
    *,
    loss: Callable[[Any, Any], Tensor],
    optimizer: Optimizer,
    epochs: int,
    scheduler: Any = None,
    scheduler_per: Literal["epoch", "batch"] = "epoch",
    early_stopping: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    log: str | os.PathLike[str] | None = None,
    seed: int | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> History:
    """Train ``model`` and return its history.

    Each epoch runs over ``train_loader`` in train mode and over ``val_loader`` in eval mode. ``scheduler.step()`` is
    called after each epoch (with the validation loss where it asks for a metric), or after each batch. Batches may be
    ``(input, target)``, ``(args..., target)`` or dicts; they are moved to the device of the model. ``progress`` shows a
    bar on standard error. Modules that were in eval mode inside a model in train mode stay frozen.
    ``early_stopping``: epochs without a lower loss (of validation where there is one) after which training stops.
    ``checkpoint``: where the weights of the best epoch are kept; the state after the last one lies beside, in
    ``<name>.last.<suffix>``, and ``resume`` goes on from it to the same end as an unbroken run. The model keeps its
    last weights. ``log``: an append-only file that survives the process. ``seed``: of torch, Python and numpy.

    By epoch: ``train_loss`` (mean over samples, while training), ``val_loss``, ``train_accuracy`` and
    ``val_accuracy`` for class scores and, with a binary cross-entropy of torch, for single outputs,
    ``learning_rate``, ``seconds``. By step: ``train_loss``, and what a ``Monitor`` sees.
    """
    _check(model, loss, optimizer, epochs)
    _check_more(scheduler, scheduler_per, early_stopping, checkpoint, seed)
    path = _path_of(checkpoint, resume=resume)
    seed_all(seed)
    trained = Trained(model, optimizer, scheduler, (train_loader, val_loader))
    done = load_last(path, trained) if path is not None and resume else Progress()
    watch = Watch(model, optimizer, scheduler=scheduler, log=log, hyperparameters=hyperparameters, source="fit")
    run = _Run(model, loss, optimizer, watch, device_of(model), scheduler if scheduler_per == "batch" else None)
    with (
        modes_kept(model),
        watch.after(done.steps, done.epoch),
        _bar(train_loader, epochs - done.epoch, progress) as bar,
    ):
        while done.epoch < epochs and not _is_stuck(done, early_stopping):
            started = time.perf_counter()
            done.epoch += 1
            bar.set_description(f"epoch {done.epoch}/{epochs}", refresh=False)
            figures = run.epoch(train_loader, val_loader, bar)
            if scheduler_per == "epoch":
                _advance(scheduler, figures)
            _keep(path, trained, done, figures, watch.notebook.tally.steps)
            # after the checkpoint: an epoch that is run again was not logged before
            watch.log(epoch=done.epoch, **figures, seconds=time.perf_counter() - started)
            bar.set_postfix({name: f"{value:.4g}" for name, value in figures.items()}, refresh=False)
        if done.epoch < epochs:
            watch.log_text(f"stopped early, after {done.epoch} of {epochs} epochs; best epoch {done.best_epoch}")
    return watch.history()


def _path_of(checkpoint: str | os.PathLike[str] | None, *, resume: bool) -> Path | None:
    if checkpoint is not None:
        return Path(checkpoint)
    if resume:
        raise OptionError("resume needs a checkpoint.", hint="Give its path as checkpoint=.")
    return None


def _keep(path: Path | None, trained: Trained, done: Progress, figures: dict[str, Any], steps: int) -> None:
    """Note how far the run has come, and write it down where that is wanted."""
    is_best = done.improve(figures.get("val_loss", figures["train_loss"]), steps)
    if path is not None:
        save(path, trained, done, is_best=is_best)


def _check(model: object, loss: object, optimizer: object, epochs: object) -> None:
    expect("model", model, isinstance(model, nn.Module), "a torch.nn.Module")
    expect("optimizer", optimizer, isinstance(optimizer, Optimizer), "a torch.optim.Optimizer made with the model")
    expect("epochs", epochs, is_whole(epochs, 1), WHOLE)
    expect("loss", loss, loss is not None, "a callable of (output, target)")
    check_loss(loss)


def _check_more(scheduler: object, per: object, patience: object, checkpoint: object, seed: object) -> None:
    check_scheduler(scheduler)
    expect("scheduler_per", per, per in ("epoch", "batch"), "'epoch' or 'batch'")
    expect("early_stopping", patience, patience is None or is_whole(patience, 0), "a number of epochs, or None")
    expect("checkpoint", checkpoint, checkpoint is None or is_path(checkpoint), PATH)
    expect("seed", seed, seed is None or is_whole(seed, 0, 2**32 - 1), "a whole number from 0 to 2**32 - 1")


def _is_stuck(done: Progress, patience: int | None) -> bool:
    return patience is not None and done.epoch - done.best_epoch >= max(patience, 1)


@dataclass
class _Run:
    """What stays the same over a run, and how far it has come."""

    model: nn.Module
    loss: Callable[[Any, Any], Tensor]
    optimizer: Optimizer
    watch: Watch
    device: torch.device
    scheduler: Any = None
    """Stepped after each batch."""

    @property
    def _threshold(self) -> float | None:
        return {nn.BCEWithLogitsLoss: 0.0, nn.BCELoss: 0.5}.get(type(self.loss))

    def __post_init__(self) -> None:
        self._frozen = [m for m in self.model.modules() if self.model.training and not m.training]

    def epoch(self, train_loader: Iterable[Any], val_loader: Iterable[Any] | None, bar: tqdm[Any]) -> dict[str, Any]:
        """Run one epoch in train mode, and validation in eval mode."""
        self.model.train()
        for module in self._frozen:
            module.training = False
        figures = self.train(train_loader, bar)
        self.model.eval()
        return figures | (self.validate(val_loader) if val_loader is not None else {})

    def train(self, loader: Iterable[Any], bar: tqdm[Any]) -> dict[str, Any]:
        """Run one epoch of steps and return its loss, and its accuracy where outputs are class scores."""
        tally, shown = _Tally(self.device, self._threshold), 0.0
        for batch in self.watch.batches(batches(loader, self.model, self.device)):
            value = self._step(batch, tally)
            bar.update()
            if time.perf_counter() - shown > 0.2:  # a look at the loss waits for the device: not at every step
                shown = time.perf_counter()
                bar.set_postfix(loss=f"{float(value):.4g}", refresh=False)
        return tally.figures("train")

    def _step(self, batch: Batch, tally: _Tally) -> Tensor:
        def closure() -> Tensor:
            self.optimizer.zero_grad()
            output = call(self.model, batch)
            value = self.loss(output, batch.target)
            value.backward()  # type: ignore[no-untyped-call]
            results.append((value.detach(), output))
            return value

        results: list[tuple[Tensor, Any]] = []
        if isinstance(self.optimizer, torch.optim.LBFGS):
            self.optimizer.step(closure)  # type: ignore[no-untyped-call]
        else:
            closure()
            self.optimizer.step()
        value, output = results[0]
        self.watch.log(train_loss=value)
        if self.scheduler is not None:
            self.scheduler.step()
        tally.add(value, output, batch)
        return value

    @torch.no_grad()
    def validate(self, loader: Iterable[Any]) -> dict[str, Any]:
        """Return loss and accuracy over a loader; the model is in eval mode."""
        tally = _Tally(self.device, self._threshold)
        for batch in batches(loader, self.model, self.device):
            output = call(self.model, batch)
            tally.add(self.loss(output, batch.target), output, batch)
        return tally.figures("val")


def _advance(scheduler: Any, figures: dict[str, Any]) -> None:
    if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        scheduler.step(figures.get("val_loss", figures["train_loss"]))
    elif scheduler is not None:
        scheduler.step()


def _bar(loader: Iterable[Any], epochs: int, shown: bool) -> tqdm[Any]:
    total = len(loader) * epochs if isinstance(loader, Sized) else None
    return tqdm(total=total, unit="batch", disable=not (shown and is_first_rank()))
