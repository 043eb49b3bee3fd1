"""A callback for the Trainer of Hugging Face."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..options import Options
from ..subject import vision
from ..training.importers.trainer_state import is_total
from .session import Paths, Plan, Session

vision.prepare()  # transformers imports torchvision where it is installed
try:
    from transformers import TrainerCallback
except ModuleNotFoundError as error:
    if error.name != "transformers":
        raise
    raise ImportError(
        "reportgen.integrations.transformers needs transformers; install it: pip install 'reportgen[transformers]'"
    ) from None

if TYPE_CHECKING:
    Base = object
else:
    Base = TrainerCallback

_SETTINGS = (
    *("learning_rate", "per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs", "max_steps"),
    *("warmup_steps", "weight_decay", "max_grad_norm", "lr_scheduler_type", "seed", "bf16", "fp16"),
)


class ReportCallback(Base):
    """Watches a training through a ``reportgen.Monitor`` and writes the report when it ends::

        trainer = transformers.Trainer(..., callbacks=[ReportCallback("report.html")])

    Written down are what the Trainer logs (``loss`` as ``train_loss``, ``eval_*`` as ``val_*``, by the rules of
    ``read_history``; ``names`` overrides them) and what the monitor sees: learning rates, gradients, steps. With
    ``eval_strategy="epoch"`` evaluations are by epoch, beside the mean of the losses that were logged in it; else they
    are by step. ``path`` is one path or several, checked before training begins. The report examines the model on
    ``data``, or on what the Trainer evaluated where the model takes it. ``log`` is the monitor's file. Only the first
    process watches and writes. Training is left as it is, to the bit.

    The Trainer tells its callbacks nothing of an exception. Then no report is written, but ``log`` holds the run, and
    ``close()`` detaches the monitor and writes the report all the same.
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
        self._losses: list[float] = []

    def close(self, error: BaseException | None = None) -> None:
        """End the watching and write the report: for a training that broke off."""
        session, self._session = self._session, None
        if session is not None:
            session.end(error)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.close()
        if not state.is_world_process_zero:
            return
        optimizer = kwargs["optimizer"]
        while hasattr(optimizer, "optimizer"):  # Accelerate wraps it; the one beneath makes the steps
            optimizer = optimizer.optimizer
        settings = {key: getattr(args, key, None) for key in _SETTINGS}
        self._session = Session.begin(
            self._plan,
            kwargs["model"],
            [optimizer],
            accumulation=args.gradient_accumulation_steps,
            settings={
                k: v if isinstance(v, (bool, int, float)) else str(v) for k, v in settings.items() if v is not None
            },
        )
        self._losses = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        if self._session is None or not logs or any(key.startswith("eval_") for key in logs) or "train_runtime" in logs:
            return
        scalars = {str(name): v for name, v in self._session.scalars(_numbers(logs)).items()}
        # the monitor measures these two at the very step
        values = {k: v for k, v in scalars.items() if k not in ("learning_rate", "gradient_norm")}
        if isinstance(values.get("train_loss"), (int, float)):
            self._losses.append(float(values["train_loss"]))
        if values:
            self._session.monitor.log(step=state.global_step, **values)

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        if self._session is None or not metrics:
            return
        values: dict[str, Any] = {str(name): v for name, v in self._session.scalars(_numbers(metrics)).items()}
        if getattr(args.eval_strategy, "value", args.eval_strategy) == "epoch":
            self._end_epoch(round(state.epoch or 0), values)
        elif values:
            self._session.monitor.log(step=state.global_step, **values)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._end_epoch(round(state.epoch or 0), {})

    def _end_epoch(self, epoch: int, values: dict[str, Any]) -> None:
        if self._session is None or not (epoch and (values or self._losses)):
            return
        if self._losses:
            values = {"train_loss": sum(self._losses) / len(self._losses), **values}
        self._losses = []
        self._session.monitor.log(epoch=epoch, **values)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        session = self._session
        if session is None:
            return
        if self._losses:
            self._end_epoch(round(state.epoch or 0), {})
        if 0 < state.global_step < state.max_steps:
            session.monitor.log_text(f"stopped early, at step {state.global_step} of {state.max_steps}")
        self._session = None
        session.end(data=kwargs.get("eval_dataloader"))


def _numbers(logs: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in logs.items() if not is_total(key)}
