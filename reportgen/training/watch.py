"""A training loop, watched from inside: hooks while attached, what the loop logs, and the history of both."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import torch
from torch import nn
from tqdm.auto import tqdm

from ..arguments import WHOLE, check_iterable, check_log, check_mapping, check_scheduler, expect, is_whole
from ..document.history import Event, History
from ..errors import OptionError, one_line
from ..probe.mixed import Look
from .choice import Patterns, choice_of
from .conductor import Conductor
from .given import Models, Optimizers, enter, last_values, models_of, number_of, optimizers_of, plain, timed
from .journal import Journal
from .naming import modules_of
from .notebook import Notebook
from .observations import JOURNAL_VERSION, Session, Setting
from .parameters import settings_of
from .run import Run
from .samples import is_sharded, n_nonfinite

T = TypeVar("T")
_STANDING_SECONDS = 60.0  # between two surveys of all parameters for the log


class Watch:
    """Watches models and optimizers while it is entered; see ``reportgen.Monitor`` for the use of it."""

    def __init__(
        self,
        model: Models,
        optimizer: Optimizers | None = None,
        *,
        scheduler: Any = None,
        log: str | os.PathLike[str] | None = None,
        accumulation: int | None = None,
        hyperparameters: Mapping[str, Any] | None = None,
        scaler: Any = None,
        layers: Patterns | None = None,
        progress: bool = True,
        source: str = "monitor",
    ) -> None:
        choice = choice_of(layers)
        check_scheduler(scheduler)
        check_log(log)
        check_mapping("hyperparameters", hyperparameters, "{'width': 64}")
        expect("accumulation", accumulation, accumulation is None or is_whole(accumulation, 1), WHOLE)
        scales = scaler is None or callable(getattr(scaler, "get_scale", None))
        expect("scaler", scaler, scales, "the torch.amp.GradScaler of the loop")
        models = models_of(model)
        optimizers, labels = optimizers_of(optimizer, models)
        self.run = Run(models, [*optimizers], labels, Notebook(), scaler, choice)
        self._log = None if log is None else Path(log)
        self._given = plain(hyperparameters or {})
        self._accumulation, self._progress, self._source = accumulation, progress, source
        schedulers = scheduler if isinstance(scheduler, (list, tuple)) else [scheduler]
        self._schedulers = [type(one).__name__ for one in schedulers if one is not None]
        self._attached = self._begun = False
        self._conductor = Conductor(self.run, self._flush)
        self._epoch: float | None = None
        self._epoch_offset: float | None = None
        self._entered = self._surveyed = 0.0
        self._seconds = 0.0
        self._entered_at = 0
        """Steps of the run when this session began."""
        self._from: tuple[int | None, float | None] = (None, None)

    @property
    def notebook(self) -> Notebook:
        return self.run.notebook

    # --- coming and going ---------------------------------------------------------------------------------------------

    def __enter__(self) -> Any:
        if self._attached:
            raise OptionError(
                "This monitor is attached already.", hint="Leave its with block first, or make a monitor of its own."
            )
        self._attached = True
        try:
            self._begin()
            self.run.table()
            self._conductor.attach()
        except BaseException:
            self._detach()
            if self.notebook.journal is not None:
                self.notebook.journal.close()
                self.notebook.journal = None
            raise
        self._entered = self._surveyed = time.perf_counter()
        self._seconds = self.notebook.tally.seconds
        self._entered_at = self.notebook.tally.steps
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._attached:
            return
        interrupted = ""
        if error is not None:
            interrupted = one_line(error) if str(error) else type(error).__name__
        try:
            self._detach()
            if error is not None:
                steps = self.notebook.tally.steps
                self.notebook.event(Event(kind="interrupted", step=steps, epoch=self._epoch, detail=interrupted))
            self._tick()
            self._survey()
        finally:
            self.notebook.close(interrupted)

    def after(self, step: int | None, epoch: float | None) -> Self:
        """Say, before the loop begins, which step of the log its weights come from: what lies beyond is dropped."""
        self._from = (step, epoch)
        return self

    def _begin(self) -> None:
        """Open the log, go on where it ended, and write the head of this session."""
        notebook = self.notebook
        if self._log is not None and is_first_rank():
            notebook.journal = Journal(self._log)
            earlier = None if self._begun else notebook.journal.resume()
            if earlier is not None:
                notebook.ledger, notebook.tally = earlier, earlier.tally
                self._epoch_offset = None
        self._begun = True
        settings: dict[str, Setting] = {}
        for optimizer in self.run.optimizers[:1]:
            settings |= settings_of(optimizer)
        if self._schedulers:
            settings["scheduler"] = ", ".join(self._schedulers)
        notebook.add(
            Session(
                version=JOURNAL_VERSION,
                pid=os.getpid(),
                started=time.time(),
                source=self._source,
                hyperparameters=settings | self._given,
                accumulation=self._accumulation,
                from_step=self._from[0],
                from_epoch=self._from[1],
            )
        )
        if any(is_sharded(p) for model in self.run.models.values() for p in model.parameters()):
            detail = "parameters are sharded: norms and steps are those of the part on the first process"
            notebook.event(Event(kind="note", detail=detail))
        # weights that are broken before the first step were not broken by the run
        if notebook.tally.steps == 0 and (name := _broken(self.run.models)) is not None:
            notebook.nonfinite("weight", name, 0)
        if notebook.journal is not None:
            notebook.journal.flush()

    def _detach(self) -> None:
        self._conductor.detach()
        self._attached = False

    # --- writing down -------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        self._tick()
        if self.notebook.journal is not None and time.perf_counter() - self._surveyed > _STANDING_SECONDS:
            self._survey()
        self.notebook.flush()

    def _tick(self) -> None:
        self.notebook.tally.seconds = self._seconds + time.perf_counter() - self._entered
        self.notebook.tally.peak_memory = _peak_memory(self.run.models)

    def _survey(self) -> None:
        self._surveyed = time.perf_counter()
        self._conductor.finish()
        if self.notebook.ledger.sessions > 1 and self.notebook.tally.steps == self._entered_at:
            return  # a session without a step moved nothing, and knows nothing of the start
        try:
            self.notebook.add(self.run.standings())
        except Exception as error:  # a model that was taken apart is no reason to lose the rest
            self.notebook.trouble("the parameters at the end are unknown", error)

    # --- what the loop says -------------------------------------------------------------------------------------------

    def log(self, *, epoch: float | None = None, step: int | None = None, **values: Any) -> None:
        """Log scalars by name: numbers, or tensors of one element, which are not fetched before the next flush.

        With ``epoch`` they make a row by epoch, else one by optimizer step; ``step`` overrides the monitor's own count.
        """
        if epoch is not None:
            self._log_epoch(number_of("epoch", epoch), values)
            return
        step = self._step_of_now() if step is None else int(number_of("step", step))
        enter(self.run.notebook, "step", step, values)
        self._conductor.heed()

    def _step_of_now(self) -> int:
        """Say to which step something logged now belongs; where no optimizer tells, each row is a step."""
        step = self._conductor.step_of_now()
        if step is None:
            self.notebook.tally.steps += 1
            step = self.notebook.tally.steps
        return step

    def _log_epoch(self, epoch: float, values: Mapping[str, Any]) -> None:
        ledger = self.notebook.ledger
        if self._epoch_offset is None:  # the first row of a session: epochs go on where an earlier one ended
            last = ledger.last_epoch
            self._epoch_offset = last + 1 - epoch if last is not None and epoch <= last else 0.0
        x = epoch + self._epoch_offset
        if self._epoch != x:
            values = {**self._conductor.rates(), **values}
        self._epoch = x
        self.notebook.settle()
        enter(self.run.notebook, "epoch", x, values)
        self._conductor.heed()
        if self._attached:
            self._flush()

    def log_text(self, text: str, *, epoch: float | None = None) -> None:
        """Add a line to the text log of the run."""
        self.notebook.event(Event(kind="text", step=self.notebook.tally.steps, epoch=epoch, detail=str(text)))

    def epochs(self, epochs: Iterable[T]) -> Iterator[T]:
        """Run over the epochs under a progress bar; the end of each is told to the monitor."""
        check_iterable("epochs", epochs, "something to iterate over, such as range(20)")
        with tqdm(epochs, unit="epoch", disable=None if self._progress and is_first_rank() else True) as bar:
            for place, epoch in enumerate(bar):
                yield epoch
                x = float(epoch) if isinstance(epoch, (int, float)) else float(place)
                if self._epoch is None or self._epoch != x + (self._epoch_offset or 0.0):
                    self._log_epoch(x, {})
                bar.set_postfix(last_values(self.notebook.ledger.recorder), refresh=False)

    def batches(self, loader: Iterable[T]) -> Iterator[T]:
        """Run over a training loader, and take the time that the loop waits for it."""
        check_iterable("batches", loader, "a DataLoader or another iterable of batches")
        return timed(loader, self.run)

    def looks(self, model: nn.Module | None) -> tuple[Look, ...]:
        """Return what was kept of the samples that went through a model, the first one unless it is named."""
        first = next(iter(self.run.models.values()))
        return self._conductor.looks if model is None or model is first else ()

    def history(self) -> History:
        """Return what is known so far; at any time, also while the loop runs."""
        if self._attached:
            self._tick()
            self._survey()
        return self.notebook.history()


def _broken(models: Mapping[str, nn.Module]) -> str | None:
    """Return the name of the first parameter that holds a value that is not finite."""
    for path, module in modules_of(models):
        for name, parameter in module._parameters.items():
            if parameter is None:
                continue
            known = not isinstance(parameter, nn.UninitializedParameter) and parameter.is_floating_point()
            if known and not parameter.is_meta and n_nonfinite(parameter):
                return f"{path}.{name}" if path else name
    return None


def is_first_rank() -> bool:
    distributed = torch.distributed
    return not (distributed.is_available() and distributed.is_initialized()) or distributed.get_rank() == 0


def _peak_memory(models: Mapping[str, nn.Module]) -> int | None:
    """Return the highest use of memory so far, in bytes: of the model's CUDA device, else of this process."""
    first = next((p for model in models.values() for p in model.parameters()), None)
    if first is not None and first.device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(first.device))
    try:
        import resource
    except ImportError:  # not on this system
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
