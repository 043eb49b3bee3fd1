"""Monitor: a training loop watched from inside, which ends with a report."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

from torch import Tensor, nn
from torch.optim import Optimizer

from .arguments import check_loss, expect
from .document.facts import Report
from .options import Options
from .pipeline import examined
from .training.choice import Patterns
from .training.given import Models, Optimizers
from .training.watch import Watch


class Monitor(Watch):
    """Watches a training loop of your own, without changing it::

        monitor = reportgen.Monitor(model, optimizer, log="runs/1/history.jsonl")
        with monitor:
            for epoch in monitor.epochs(range(20)):         # a progress bar; optional
                for x, y in monitor.batches(train_loader):  # takes the time that the loop waits; optional
                    loss = loss_fn(model(x), y)
                    optimizer.zero_grad(); loss.backward(); optimizer.step()
                    monitor.log(train_loss=loss)
                monitor.log(epoch=epoch, val_loss=v, val_accuracy=a)
        report = monitor.report(val_loader, train_data=train_loader, loss=loss_fn)

    ``model`` and ``optimizer`` may be several, in a list or a dict by name: ``{"generator": g, "critic": c}``. An
    optimizer that comes later, as in fine-tuning by stages, or was not named here, is noticed at its first step on
    parameters of these models. ``log`` is an append-only file that survives the process; given again it is gone on
    with, and ``monitor.after(step, epoch)`` then says where the checkpoint stood that the loop goes on from: what was
    logged beyond it is forgotten. ``accumulation`` declares that gradients of so many backward passes are meant to be
    added up for one step. ``scaler`` is the GradScaler of mixed precision, if there is one; one that steps the
    optimizer is found. The kind of ``scheduler`` and ``hyperparameters`` are entered in the report.

    ``layers`` names those whose outputs are looked at, by patterns, and how often: ``{"layer1.*": 0.25, "head": 1.0}``
    looks at the layers of the first block in a quarter of the looks, drawn by the number of the step, and at no others.
    So it is with histograms of their weights and gradients, which may have probabilities of their own:
    ``{"layer1.*": {"outputs": 0.25, "weights": 0.1}}`` draws none of gradients. Norms and steps are measured of all
    parameters, as without them nobody could tell what never moves or where gradients end.

    It works through hooks on the optimizers, on one small parameter and on the models. A few steps, set by their number
    alone, are looked at closely: gradients, movement and histograms of parameters, outputs of layers. Nothing of the
    training is changed, to the bit, and what it keeps does not grow with the run. An exception, or Ctrl-C, is noted and
    passes through.

    Raises OptionError for what is no model or optimizer, HistoryError when another process writes the log.
    """

    def __init__(
        self,
        model: Models,
        optimizer: Optimizers | None = None,
        scheduler: Any = None,
        loss: Callable[[Any, Any], Any] | None = None,
        log: str | os.PathLike[str] | None = None,
        *,
        accumulation: int | None = None,
        hyperparameters: Mapping[str, Any] | None = None,
        scaler: Any = None,
        layers: Patterns | None = None,
        progress: bool = True,
        options: Options | None = None,
    ) -> None:
        check_loss(loss)
        expect("options", options, options is None or isinstance(options, Options), "reportgen.Options(...)")
        super().__init__(
            model,
            optimizer,
            scheduler=scheduler,
            log=log,
            accumulation=accumulation,
            hyperparameters=hyperparameters,
            scaler=scaler,
            layers=layers,
            progress=progress,
        )
        self._loss, self._options = loss, options

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def report(
        self,
        data: Iterable[Any] | None = None,
        *,
        train_data: Iterable[Any] | None = None,
        loss: Callable[[Any, Any], Any] | None = None,
        model: nn.Module | None = None,
        real: Iterable[Any] | Mapping[str, Any] | None = None,
        extractor: Callable[[Tensor], Any] | None = None,
        options: Options | None = None,
    ) -> Report:
        """Examine the model as it is now, with the history of the run; see ``examine`` for the arguments.

        Of several models the first is examined, unless ``model`` says which.
        """
        history = self.history()
        self.run.paused, before = True, self.run.paused
        try:
            return examined(
                model if model is not None else next(iter(self.run.models.values())),
                data,
                train_data=train_data,
                loss=self._loss if loss is None else loss,
                optimizer=[o for o in self.run.optimizers if isinstance(o, Optimizer)] or None,
                history=history,
                real=real,
                extractor=extractor,
                options=self._options if options is None else options,
                looks=self.looks(model),
            )
        finally:
            self.run.paused = before
