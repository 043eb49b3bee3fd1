"""When to look closely: at the first steps, then ever more rarely, at places fixed by the count of steps alone.

The same run is looked at in the same steps every time, on any machine. A look costs about as much as a small part of a
step of a real network, and a few steps of a tiny one; so gaps grow with the run until looks are some dozens apart, and
stay a set share of it from there on, which is what a curve of some dozens of points can show. The schedules nest: a
closer look waits for the next one of the lesser kind, for what both need is then paid for once.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Every one of the ``first`` steps, then gaps that grow with the run."""

    first: int
    gap: int
    """The gap that growth leads up to; a prime, so that looks drift through epochs of any length."""
    growth: float
    """Gap over steps so far, until ``gap`` is reached."""
    share: float
    """Gap over steps so far, in long runs."""

    def after(self, step: int) -> int:
        """Return the next step to look at once ``step`` was looked at."""
        if step < self.first:
            return step + 1
        return step + max(1, min(self.gap, int(step * self.growth)), int(step * self.share))


GRADIENTS = Schedule(first=16, gap=127, growth=0.25, share=0.001)
"""Norm of all gradients, and what backward passes add onto."""
LOOKS = Schedule(first=3, gap=397, growth=0.5, share=0.02)
"""Gradient and movement of each parameter, outputs of each layer."""
PORTRAITS = Schedule(first=1, gap=997, growth=1.0, share=0.05)
"""Histograms."""


@dataclass
class Due:
    """A schedule while it runs."""

    schedule: Schedule
    next: int = 1

    def at(self, step: int) -> bool:
        """Tell whether to look at this step, and move on if so; steps are asked for in ascending order."""
        if step < self.next:
            return False
        self.next = self.schedule.after(step)
        return True
