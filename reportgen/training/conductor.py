"""Optimizers and layers of a run while it is watched: who leads, who comes and goes, and when layers are looked at."""

from __future__ import annotations

import time
from collections.abc import Callable

from torch.optim import Optimizer

from ..document.history import Event
from ..probe.mixed import Look
from .asked import AskedWatch
from .forwards import ForwardWatch
from .newcomers import Newcomers
from .parameters import parameters_in
from .repeats import RepeatWatch
from .run import Run
from .steps import StepWatch

_ALONE = 8  # steps that an optimizer takes before it leads in the place of one that rests


class Conductor:
    """Holds the hooks on a run from ``attach`` to ``detach``; ``flush`` is called when notes are due to be written."""

    def __init__(self, run: Run, flush: Callable[[], None]) -> None:
        self.run, self._flush = run, flush
        self._steps: list[StepWatch] = []
        self._lead: StepWatch | None = None
        """The optimizer by whose steps the layers are looked at."""
        self._newcomers = Newcomers(run, self._join)
        self._forwards = ForwardWatch(run)
        self._repeats = RepeatWatch(run)
        self._asked = AskedWatch(run)
        self._armed = self._attached = False
        self._last_step = 0.0

    def attach(self) -> None:
        """Put the hooks in place. Where that fails, ``detach`` takes away those that are."""
        self._attached = True
        self._steps = [StepWatch(self.run, i, self._stepped) for i in range(len(self.run.optimizers))]
        self._lead = self._steps[0] if self._steps else None
        for steps in self._steps:
            steps.attach()
        self._newcomers.attach()
        self._forwards.attach()
        self._arm()

    def detach(self) -> None:
        for steps in self._steps:
            steps.detach()
        self._newcomers.detach()
        self._forwards.detach()
        self._repeats.detach()
        self._asked.detach()
        self._attached = False

    def finish(self) -> None:
        """Let every optimizer note what it still waits to note."""
        for steps in self._steps:
            steps.finish()

    @property
    def looks(self) -> tuple[Look, ...]:
        """What was kept of samples that went through the first model."""
        return tuple(self._asked.looks)

    def step_of_now(self) -> int | None:
        """Say to which step something logged now belongs: to the coming one if its forward pass has run.

        None where no optimizer is known.
        """
        return max(self.run.notebook.tally.steps + (self._forwards.passes > 0), 1) if self._steps else None

    def rates(self) -> dict[str, float | None]:
        """Return the learning rates of the optimizers that still step, by name."""
        rates: dict[str, float | None] = {}
        for steps in self._steps:
            rates |= {} if steps.retired else steps.rates()
        return rates

    def heed(self) -> None:
        """If something stopped being finite: see how far it has come, and look closely at the next step."""
        if not self.run.notebook.alarm or not self._attached:
            return
        self.run.notebook.alarm = False
        for steps in self._steps:
            steps.post_mortem()
        self._arm()

    def _arm(self) -> None:
        """Put hooks on a model if the coming step of the leading optimizer is looked at, and on layers if closely."""
        lead = self._lead
        self._armed = lead is not None and lead.close
        if lead is not None and lead.close:
            self._forwards.arm(portrait=lead.portrait)
            self._repeats.arm(lead.backwards)
        if lead is not None and lead.gradients:
            self._asked.arm()

    def _stepped(self, steps: StepWatch) -> None:
        """Called after each step of any optimizer."""
        forwards, notebook, now = self._forwards, self.run.notebook, time.perf_counter()
        if steps is not self._lead:
            self._follow(steps)
        if steps is self._lead:
            tally = notebook.tally
            if not forwards.validated and self._last_step:
                tally.stepping += now - self._last_step
                tally.samples += forwards.passes * forwards.size
            self._last_step = now
            forwards.validated = False
            if self._armed:
                forwards.collect(tally.steps)
                self._repeats.collect()
                self._armed = False
            if self._asked.waits:
                self._asked.collect()
            if steps.gradients:
                self._arm()
        forwards.passes = 0
        if notebook.alarm:
            self.heed()
        if now > notebook.due:
            self._flush()

    def _follow(self, steps: StepWatch) -> None:
        """See whether the optimizer that has stepped now does what the leading one did before."""
        lead, tally = self._lead, self.run.notebook.tally
        if lead is None:
            self._lead = steps
            return
        if steps.lead_steps != lead.steps:
            steps.lead_steps, steps.alone, steps.stood = lead.steps, 0, tally.steps
        steps.alone += 1
        steps.retired = False
        if steps.alone > _ALONE:
            lead.rest(steps.stood - 1)
            self._lead = steps
            steps.catch_up()

    def _join(self, optimizer: Optimizer) -> None:
        """Take in an optimizer that is about to step for the first time, beside the others or in the place of some."""
        run, others = self.run, self._steps
        for one in others:
            one.finish()
        moved = parameters_in(optimizer)
        left = [s for s in others if parameters_in(s.optimizer) & moved]
        kinds = ", ".join(type(one.optimizer).__name__ for one in left)
        place = run.join(optimizer, left[0].label[1:] if left else None)
        steps = StepWatch(run, place, self._stepped)
        if not others and run.notebook.tally.steps <= 1:  # a first row may have been logged before
            steps.base = 0
        if self._lead is None or self._lead in left:
            self._lead = steps
        for one in left:
            one.leave(whole=parameters_in(one.optimizer) <= moved)
        self._steps = [*others[:place], steps, *others[place + 1 :]]
        steps.attach()
        if others:
            what = f"{type(optimizer).__name__} takes its first step" + (f", on parameters of {kinds}" if left else "")
            run.notebook.event(Event(kind="note", step=run.notebook.tally.steps + 1, detail=what))
