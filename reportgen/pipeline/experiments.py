"""What is tried with copies of a model: passes against the clock, exports, trials."""

from __future__ import annotations

import math
import time

import msgspec

from ..document.facts import Report
from ..document.history import History
from ..document.trials import TrialFacts
from ..probe import deployment, latency
from ..probe.steps import Steps
from ..probe.trials import run as trials
from .reasons import NO_DATA, NOISE
from .subject import Subject


def add_use(subject: Subject, report: Report, steps: Steps) -> Report:
    """Time forward passes, for a moment if nothing was said of it, and export a copy, where time was given to it."""
    options, batches = subject.options, subject.given.reservoir.as_read()
    asked = {"latency": options.inference_budget, "export": options.export_budget}
    if not batches:
        for part in (part for part, budget in asked.items() if budget):
            steps.skip(part, NO_DATA)
        return report
    wait = options.inference_budget
    if wait is None or wait > 0:
        spent = time.perf_counter() - steps.began
        times = steps.run("latency", lambda: latency.measure(subject.model, batches, wait, spent))
        if wait is not None and times is not None and times.out_of_time:
            steps.partial("latency", "larger batches were left out: the time given was up")
        report = msgspec.structs.replace(report, meta=msgspec.structs.replace(report.meta, inference=times))
    if options.export_budget > 0:
        found = steps.run("export", lambda: deployment.measure(subject.model, batches, options.export_budget))
        report = msgspec.structs.replace(report, deployment=found)
    return report


def highest_rate(history: History | None) -> float:
    """Return the highest learning rate that was recorded of a run, 0 where none was."""
    rates = [s for s in history.series if s.name.startswith("learning_rate")] if history is not None else []
    return max((y for s in rates for y in s.y if y is not None and math.isfinite(y)), default=0.0)


def held_in_eval(history: History | None) -> frozenset[str]:
    """Name the norms and dropouts that stood in eval mode at every look at the training, at three looks or more."""
    layers = history.layers if history is not None else []
    kept = (row for row in layers if row.eval_calls >= 3 and not row.train_calls)
    return frozenset(row.name for row in kept if "Norm" in row.kind or "Dropout" in row.kind)


def add_trials(subject: Subject, report: Report, steps: Steps) -> Report:
    """Make experiments on copies of the model, with a few of the batches that were read."""
    given, training, options = subject.given.reservoir.batches(), subject.training.reservoir.batches(), subject.options
    if not given and not training:
        steps.skip("trials", NOISE if report.subject.inputs == "synthetic" else NO_DATA)
        return report
    if options.trial_budget <= 0:
        steps.skip("trials", "no time was given to them")
        return report

    wide = subject.given.wide.as_read(), subject.training.wide.as_read()

    def measure() -> tuple[TrialFacts, dict[str, float]]:
        return trials.run(
            subject.model,
            subject.loss,
            subject.optimizers,
            given,
            training,
            options.trial_budget,
            options.seed,
            wide,
            augmented=bool(report.splits is not None and report.splits.redrawn),
            peak=subject.peak,
            held=subject.held,
        )

    outcome = steps.run("trials", measure)
    if outcome is None:
        return report
    facts, seconds = outcome
    steps.seconds |= seconds
    failed = [t for t in facts.trials if t.failed]
    if facts.out_of_time:
        steps.partial("trials", trials.TIME_UP)
    elif failed:
        steps.partial("trials", f"{failed[0].name}: {failed[0].reason}")
    return msgspec.structs.replace(report, trials=facts)
