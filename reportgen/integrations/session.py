"""What the callbacks share: a monitor over somebody else's loop, and the report at its end."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from torch import Tensor, nn
from torch.optim import Optimizer

from ..document.facts import Report
from ..errors import ForwardError, one_line
from ..monitor import Monitor
from ..options import Options
from ..render.write import check_path, write
from ..training.importers.names import Name, column, mapped

Paths = str | Path | Sequence[str | Path]


@dataclass
class Plan:
    """What the user asked for when making the callback."""

    path: Paths | None = "report.html"
    """Where the report is written when training ends; None: nowhere."""
    data: Iterable[Any] | None = None
    train_data: Iterable[Any] | None = None
    loss: Callable[[Any, Any], Any] | None = None
    log: str | Path | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    options: Options | None = None

    def paths(self) -> list[Path]:
        given = [self.path] if isinstance(self.path, (str, Path)) else list(self.path or ())
        return [Path(path) for path in given]


@dataclass
class Session:
    """One run under a monitor, from the first step to the report."""

    plan: Plan
    model: nn.Module
    monitor: Monitor
    seen: dict[str, None] = field(default_factory=dict)
    closed: bool = False

    @classmethod
    def begin(
        cls,
        plan: Plan,
        model: nn.Module,
        optimizers: Sequence[Optimizer],
        *,
        accumulation: int,
        settings: Mapping[str, Any],
    ) -> Session:
        """Attach a monitor. A path that cannot be written is an error here and not at the end of training."""
        for path in plan.paths():
            check_path(path)
        monitor = Monitor(
            model,
            optimizers,
            log=plan.log,
            accumulation=accumulation,
            hyperparameters=settings,
            progress=False,
            options=_alone(plan.options),
        )
        monitor.__enter__()
        return cls(plan, model, monitor)

    def scalars(self, values: Mapping[str, Any]) -> dict[Name, Any]:
        """Return what can be drawn of what a trainer logged, under our names."""
        kept = {name: value for name, value in values.items() if column(name) == "scalar" and _is_scalar(value)}
        self.seen |= dict.fromkeys(kept)
        names = mapped(self.seen, {k: v for k, v in self.plan.names.items() if k in self.seen})
        return {names[name]: value for name, value in kept.items()}

    def end(self, error: BaseException | None = None, data: Iterable[Any] | None = None) -> None:
        """Detach and write the report. What goes wrong with it is a warning: the trained model comes first.

        After an error the model is not run again: the report tells the history and the weights, and is there soon.
        """
        if self.closed:
            return
        self.closed = True
        self.monitor.__exit__(None if error is None else type(error), error, None)
        if not self.plan.paths():
            return
        try:
            report = self.monitor.report() if error is not None else self._report(data)
            for path in self.plan.paths():
                write(report, path)
        except Exception as trouble:
            warnings.warn(f"reportgen could not write its report: {one_line(trouble)}", stacklevel=2)

    def _report(self, offered: Iterable[Any] | None) -> Report:
        plan = self.plan
        if plan.data is not None:
            return self.monitor.report(plan.data, train_data=plan.train_data, loss=plan.loss)
        try:
            return self.monitor.report(offered, train_data=plan.train_data, loss=plan.loss)
        except ForwardError:
            # the trainer's own batches were only an offer: what they hold may not be what forward takes
            return self.monitor.report()


def _alone(options: Options | None) -> Options:
    """Return options of a report that one process makes, as the others do not come to a callback's end."""
    options = options or Options()
    return msgspec.structs.replace(options, merge_processes=False)


def _is_scalar(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.numel() == 1 and not value.is_complex()
    return isinstance(value, (int, float)) and not isinstance(value, bool)
