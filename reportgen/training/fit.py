"""A plain training loop that writes down what a report needs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm.auto import tqdm

from ..document.history import History
from ..probe.evaluation import are_class_scores
from ..probe.guard import modes_kept
from ..probe.layers import main_tensor
from ..subject.data import Batch, batches, call, device_of
from .recorder import Recorder

FIRST_STEPS = 3  # always measured: a rate that is far too high shows at once, and later hides in grown weights
UPDATES_PER_EPOCH = 4  # steps of an epoch around which the true movement of the weights is measured
_UPDATE_SAMPLE = 1 << 14  # entries of each weight matrix that are compared


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

    def figures(self, prefix: str) -> dict[str, float]:
        figures = {f"{prefix}_loss": float(self._loss) / self.n} if self.n else {}
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
    progress: bool = True,
) -> History:
    """Train ``model`` and return its history.

    Each epoch runs over ``train_loader`` in train mode and over ``val_loader`` in eval mode. ``scheduler.step()`` is
    called after each epoch (with the validation loss where it asks for a metric). Batches may be ``(input, target)``,
    ``(args..., target)`` or dicts; they are moved to the device of the model. ``progress`` shows a bar on standard
    error. Modules that were in eval mode inside a model in train mode stay frozen.

    By epoch: ``train_loss`` (mean over samples, while training), ``val_loss``, ``train_accuracy`` and
    ``val_accuracy`` for class scores and, with a binary cross-entropy of torch, for single outputs,
    ``learning_rate``, ``seconds``. By step: ``train_loss``, ``gradient_norm`` (L2, all parameters), ``update_ratio``
    (median over weight matrices of ‖Δw‖/‖w‖ across a real step, a few steps an epoch).
    """
    run = _Run(model, loss, optimizer, Recorder(), device_of(model))
    began = time.perf_counter()
    frozen = [m for m in model.modules() if model.training and not m.training]
    with modes_kept(model), tqdm(total=_total(train_loader, epochs), unit="batch", disable=not progress) as bar:
        for epoch in range(1, epochs + 1):
            started = time.perf_counter()
            bar.set_description(f"epoch {epoch}/{epochs}", refresh=False)
            model.train()
            for module in frozen:
                module.training = False
            figures = run.train(train_loader, bar)
            model.eval()
            figures |= run.validate(val_loader) if val_loader is not None else {}
            rate = float(optimizer.param_groups[0]["lr"])
            _advance(scheduler, figures)
            run.recorder.log("epoch", epoch, **figures, learning_rate=rate, seconds=time.perf_counter() - started)
            run.recorder.flush()
            bar.set_postfix({name: f"{value:.4g}" for name, value in figures.items()}, refresh=False)
    return History(
        series=run.recorder.series(),
        epochs=epochs,
        steps=run.steps,
        batch_size=run.batch_size,
        seconds=time.perf_counter() - began,
        optimizer=type(optimizer).__name__,
        hyperparameters=hyperparameters(optimizer),
    )


@dataclass
class _Run:
    """What stays the same over a run, and how far it has come."""

    model: nn.Module
    loss: Callable[[Any, Any], Tensor]
    optimizer: Optimizer
    recorder: Recorder
    device: torch.device
    steps: int = 0
    batch_size: int | None = None

    @property
    def _threshold(self) -> float | None:
        return {nn.BCEWithLogitsLoss: 0.0, nn.BCELoss: 0.5}.get(type(self.loss))

    def train(self, loader: Iterable[Any], bar: tqdm[Any]) -> dict[str, float]:
        """Run one epoch of steps and return its loss, and its accuracy where outputs are class scores."""
        tally, shown = _Tally(self.device, self._threshold), 0.0
        every = max(1, (len(loader) if isinstance(loader, Sized) else 100) // UPDATES_PER_EPOCH)
        for batch in batches(loader, self.model, self.device):
            self.steps += 1
            self.batch_size = self.batch_size or batch.n_samples
            with _update_measured(self, wanted=self.steps <= FIRST_STEPS or self.steps % every == 0):
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
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients) if gradients else torch.zeros(())
        self.recorder.log("step", self.steps, train_loss=value, gradient_norm=norm)
        tally.add(value, output, batch)
        return value

    @torch.no_grad()
    def validate(self, loader: Iterable[Any]) -> dict[str, float]:
        """Return loss and accuracy over a loader; the model is in eval mode."""
        tally = _Tally(self.device, self._threshold)
        for batch in batches(loader, self.model, self.device):
            output = call(self.model, batch)
            tally.add(self.loss(output, batch.target), output, batch)
        return tally.figures("val")


@contextmanager
def _update_measured(run: _Run, *, wanted: bool) -> Iterator[None]:
    """Log the median over weight matrices of ‖Δw‖/‖w‖ across the step inside, on evenly spaced entries.

    Matrices that are zero before the step (a zero-initialised head) have no ratio.
    """
    matrices = [p for p in run.model.parameters() if p.dim() >= 2 and p.requires_grad] if wanted else []
    before = [_entries(p).clone() for p in matrices]
    yield
    if not before:
        return
    norms = torch.stack([torch.linalg.vector_norm(old.float()) for old in before])
    steps = [_entries(parameter) - old for old, parameter in zip(before, matrices, strict=True)]
    moved = torch.stack([torch.linalg.vector_norm(step.float()) for step in steps])
    run.recorder.log("step", run.steps, update_ratio=torch.nanmedian(moved / norms.where(norms > 0, math.nan)))


def _entries(parameter: Tensor) -> Tensor:
    flat = parameter.detach().reshape(-1)
    return flat[:: max(1, flat.numel() // _UPDATE_SAMPLE)]


def _advance(scheduler: Any, figures: dict[str, float]) -> None:
    if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        scheduler.step(figures.get("val_loss", figures["train_loss"]))
    elif scheduler is not None:
        scheduler.step()


def _total(loader: Iterable[Any], epochs: int) -> int | None:
    return len(loader) * epochs if isinstance(loader, Sized) else None


def hyperparameters(optimizer: Optimizer) -> dict[str, float | str | bool | None]:
    """Return the plain settings of the first parameter group."""
    group = optimizer.param_groups[0]
    settings: dict[str, float | str | bool | None] = {}
    for name, value in sorted(group.items()):
        if name == "params":
            continue
        if value is None or isinstance(value, (bool, str)):
            settings[name] = value
        elif isinstance(value, (int, float)) and math.isfinite(value):
            settings[name] = float(value)
        elif isinstance(value, (tuple, list)):
            settings[name] = ", ".join(f"{v:g}" if isinstance(v, (int, float)) else str(v) for v in value)
    return settings
