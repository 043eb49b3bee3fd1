"""A callback for Lightning's Trainer."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..options import Options
from ..subject import vision
from .session import Paths, Plan, Session

vision.prepare()  # Lightning imports torchmetrics, and that torchvision
try:
    # whoever trains with the older package has imported it already
    older = "pytorch_lightning" in sys.modules and "lightning" not in sys.modules
    pl: Any = importlib.import_module("pytorch_lightning" if older else "lightning.pytorch")
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in ("lightning", "pytorch_lightning"):
        raise
    raise ImportError(
        "reportgen.integrations.lightning needs Lightning; install it: pip install 'reportgen[lightning]'"
    ) from None

if TYPE_CHECKING:
    Base = object
else:
    Base = pl.Callback


class ReportCallback(Base):
    """Watches a fit through a ``reportgen.Monitor`` and writes the report when it ends, also when it breaks off::

        trainer = lightning.Trainer(callbacks=[ReportCallback("report.html")])

    Written down are what the module logs (``train_*`` and ``val_*`` by the rules of ``read_history``; ``names``
    overrides them), the loss that ``training_step`` returns, and what the monitor sees: learning rates, gradients,
    steps. ``path`` is one path or several, checked before training begins. The report examines the module on ``data``,
    or on the first validation loader where the module has a ``forward`` that takes its batches. ``log`` is the
    monitor's file. Only the first process watches and writes. Training is left as it is, to the bit.
    """

    def __init__(
        self,
        path: Paths | None = "report.html",
        *,
        data: Iterable[Any] | None = None,
        train_data: Iterable[Any] | None = None,
        loss: Callable[[Any, Any], Any] | None = None,
        log: str | Path | None = None,
        names: Mapping[str, str] | None = None,
        options: Options | None = None,
    ) -> None:
        super().__init__()
        self._plan = Plan(path, data, train_data, loss, log, names or {}, options)
        self._session: Session | None = None
        self._loss: tuple[Tensor | None, int] = (None, 0)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.is_global_zero:
            return
        self._session = Session.begin(
            self._plan,
            pl_module,
            trainer.optimizers,
            accumulation=trainer.accumulate_grad_batches,
            settings=dict(pl_module.hparams),
        )

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._loss = (None, 0)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        session = self._session
        if session is None:
            return
        values: dict[str, Any] = {}
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, Tensor) and loss.numel() == 1:
            # Lightning has divided it by the number of batches of a step
            loss = loss.detach().float().reshape(()) * _shares(trainer, pl_module)
            total, n = self._loss
            self._loss = (loss if total is None else total + loss, n + 1)
            values["train_loss"] = loss
        if (batch_idx + 1) % max(1, trainer.log_every_n_steps) == 0:
            for name, value in session.scalars(_of_the_step(trainer.callback_metrics)).items():
                if name.split not in ("val", "test"):
                    values.setdefault(str(name), value)
        if values:
            session.monitor.log(**values)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Log a validation in the middle of an epoch by step."""
        if self._session is None or trainer.sanity_checking or trainer.val_check_batch >= trainer.num_training_batches:
            return
        scalars = self._session.scalars(_of_the_epoch(trainer.callback_metrics))
        values = {str(name): value for name, value in scalars.items() if name.split in ("val", "test")}
        if values:
            self._session.monitor.log(step=trainer.global_step, **values)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if self._session is None:
            return
        scalars = self._session.scalars(_of_the_epoch(trainer.callback_metrics))
        values = {str(name): value for name, value in scalars.items()}
        total, n = self._loss
        if total is not None:
            values.setdefault("train_loss", total / n)
        self._session.monitor.log(epoch=trainer.current_epoch + 1, **values)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        if self._session is None:
            return
        planned = trainer.max_epochs
        if trainer.should_stop and planned and 0 < trainer.current_epoch < planned:
            self._session.monitor.log_text(f"stopped early, after {trainer.current_epoch} of {planned} epochs")
        self._close(trainer, pl_module, None)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self._close(trainer, pl_module, exception)

    def _close(self, trainer: Any, pl_module: Any, error: BaseException | None) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.end(error, _validation_data(trainer, pl_module))


def _of_the_step(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if not name.endswith("_epoch")}


def _of_the_epoch(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is by step, and one of the two names that a metric of both has."""
    return {n: v for n, v in metrics.items() if not n.endswith("_step") and f"{n}_epoch" not in metrics}


def _shares(trainer: Any, module: Any) -> int:
    return int(trainer.accumulate_grad_batches) if module.automatic_optimization else 1


def _validation_data(trainer: Any, module: Any) -> Any:
    """Return the first validation loader, where the module can be called at all."""
    if type(module).forward is pl.LightningModule.forward:
        return None
    loaders = trainer.val_dataloaders
    if isinstance(loaders, Mapping):
        loaders = list(loaders.values())
    return (loaders[0] if loaders else None) if isinstance(loaders, (list, tuple)) else loaders
