"""What is read off batches: one pass over each split, and a few batches again for gradients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import msgspec

from ..document.facts import ActivationFacts, ArchitectureFacts, DatasetFacts, EvaluationFacts, GradientFacts, Report
from ..errors import one_line
from ..probe import gradients, stream
from ..probe.activations import ActivationProbe
from ..probe.attention import Watched
from ..probe.dataset import DatasetProbe, compare
from ..probe.inputs import guarded
from ..probe.joiner import Joiner
from ..probe.mixed import Mixtures
from ..probe.pictures import run as pictures
from ..probe.readings import redrawn, unmixed, unseen
from ..probe.slips import rows_of
from ..probe.steps import Steps
from ..probe.turns import turned
from ..subject import hashes
from ..subject.data import Batch, batches, device_of
from ..subject.handed import name_of
from .processes import Together
from .reasons import NOISE
from .subject import Split, Subject

_NO_LOSS = "no loss was given"
_NOTHING_TRAINABLE = "no parameter takes a gradient"
_NO_PASS = "the pass over the data failed"
_ANEW = 0.25  # share of samples that the pass before did not hold


def add_data(
    subject: Subject,
    report: Report,
    data: Any,
    batches: Iterator[Batch],
    steps: Steps,
    attention: Watched | None = None,
) -> Report:
    """Read all batches once for activations, data and evaluation, then a few of them again for gradients.

    ``attention``: what was seen of it in the first batch.
    """
    model, options = subject.model, subject.options
    probe, real = ActivationProbe(model, attention), report.subject.inputs == "real"
    together = Together(subject, data if real else None)
    report, batches = together.told_in(report), together.own(batches)
    readers = _Readers(subject, subject.given, together, data, watched=bool(options.pictures)) if real else None

    def read() -> tuple[stream.Passage, ActivationFacts]:
        with probe.attached(), readers.attached() if readers is not None else nullcontext():
            watchers = readers.watchers if readers is not None else {}
            passage = stream.run(model, batches, probe.next_batch, watchers, options.gradient_batches)
        return passage, probe.facts()

    outcome = steps.run("activations", read)
    if outcome is None:
        together.miss(_NO_PASS)
        return report
    passage, activations = outcome
    if real and passage.kept:
        steps.hashes["first batch"] = hashes.of_batch(passage.kept[0])
    reason = passage.trouble or "; ".join(activations.reasons[:3])
    if reason:
        steps.partial("activations", reason, failed=bool(passage.trouble))
    dataset, evaluation = readers.facts(passage, steps, "") if readers is not None else (None, None)
    if readers is not None:
        steps.remark("dataset", subject.reading.told())
    else:
        for part in ("dataset", "evaluation"):
            steps.skip(part, NOISE)
    found = _gradients(subject, passage.kept, probe.order(), steps, real=real)
    return msgspec.structs.replace(
        report,
        subject=msgspec.structs.replace(
            report.subject, n_batches=passage.n_batches, n_samples=passage.n_samples, input_shapes=passage.shapes
        ),
        activations=_without_the_used(activations, report.architecture, found),
        gradients=found,
        dataset=dataset,
        evaluation=evaluation,
    )


def _without_the_used(
    facts: ActivationFacts, structure: ArchitectureFacts | None, found: GradientFacts | None
) -> ActivationFacts:
    """Take from the layers never executed those that work all the same: read by a parent, or in training only."""
    used = {row.name for row in structure.rows if row.used} if structure is not None else set()
    idle = [name for name in facts.not_executed if name not in used]
    trained = {row.name.rpartition(".")[0] for row in found.rows if row.n_none < found.n_batches} if found else set()
    return msgspec.structs.replace(
        facts,
        not_executed=[name for name in idle if name not in trained],
        training_only=[name for name in idle if name in trained],
    )


def add_training_data(subject: Subject, data: Iterable[Any], report: Report, steps: Steps) -> Report:
    """Run the model over its training data too, for the gap between the splits."""
    together = Together(subject, data)
    readers = _Readers(subject, subject.training, together, data)
    model, limit = subject.model, subject.options.max_batches
    reading = subject.reading.again()
    read = guarded(batches(data, model, device_of(model), limit, reading))
    mixtures = Mixtures(subject.looks)
    readers.watchers["mixtures"] = lambda output, batch: mixtures.update(batch)
    passage = stream.run(model, together.own(read), lambda batch: None, readers.watchers, 0)
    dataset, evaluation = readers.facts(passage, steps, "training ")
    if dataset is not None and "mixtures" not in passage.failed:
        with suppress(Exception):  # the loss is the caller's, and may take no sample alone
            if subject.looks and (raw := unmixed(data)) is not None:
                mixtures.read(raw)
            mixed, asked = mixtures.facts(subject.loss), mixtures.asked(subject.loss)
            dataset = msgspec.structs.replace(dataset, mixed=mixed, asked=asked)
    steps.remark("training dataset", reading.told())
    ours, theirs, splits = subject.training.dataset, subject.given.dataset, None
    if ours is not None and theirs is not None and dataset is not None and report.dataset is not None:
        again = _redrawn(subject, data, ours)
        splits = steps.run("splits", lambda: compare(ours, theirs, again, turned(data) if again else None))
    return msgspec.structs.replace(report, train_dataset=dataset, train_evaluation=evaluation, splits=splits)


def _redrawn(subject: Subject, data: Iterable[Any], ours: DatasetProbe) -> float | None:
    """Return the share of training samples that are another at a second reading; None where that cannot be told.

    Of a stream, or a loader of the caller's own, which cannot be asked for a sample by its place, two batches are read
    again and looked for among those of the whole pass. Less than a quarter unseen may be samples that a pass left out.
    """
    found = redrawn(data)
    once = isinstance(data, (Iterator, Sequence)) or bool(getattr(data, "num_workers", 0))
    if found is not None or once or subject.options.max_batches is not None:
        return found
    reading = subject.reading.again()
    share = unseen(batches(data, subject.model, device_of(subject.model), 2, reading), ours.copies)
    return share if share is None or share > _ANEW else 0.0


class _Readers:
    """The parts that read batches and outputs of one split."""

    def __init__(
        self, subject: Subject, kept: Split, together: Together, source: Any, *, watched: bool = False
    ) -> None:
        self._kept, self._together, self._source = kept, together, source
        self._dataset = kept.dataset = DatasetProbe(subject.model)
        self._evaluation = together.probe()
        self._joiner = Joiner(self._evaluation.add)
        self.watchers: dict[str, stream.Watcher] = {
            "dataset": lambda output, batch: self._dataset.update(batch),
            "evaluation": self._evaluate,
            "trials": lambda output, batch: kept.keep(batch),
        }
        if watched:
            hashes, task = self._dataset.copies, subject.options.task
            stated = task if isinstance(task, str) else ""
            kept.watching = pictures.Watching(
                subject.model, lambda: hashes.latest, subject.real, subject.extractor, stated
            )
            self.watchers["pictures"] = kept.watching.update

    def _evaluate(self, output: Any, batch: Batch) -> None:
        self._joiner.add(output, batch)
        self._evaluation.add_loss(output, batch)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Let the parts watch layers while the pass goes on."""
        with self._kept.watching.attached() if self._kept.watching is not None else nullcontext():
            yield

    def facts(
        self, passage: stream.Passage, steps: Steps, prefix: str
    ) -> tuple[DatasetFacts | None, EvaluationFacts | None]:
        """Return what was read, and enter it in the coverage table."""
        dataset = evaluation = None
        if "dataset" in passage.failed:
            steps.skip(f"{prefix}dataset", passage.failed["dataset"], failed=True)
        else:
            dataset = steps.run(f"{prefix}dataset", lambda: self._dataset.facts(rows_of(self._source)))
            if self._dataset.limits:
                steps.partial(f"{prefix}dataset", self._dataset.limits)
        failed = passage.failed.get("evaluation", "")
        try:
            self._joiner.settle()
        except Exception as error:
            failed = failed or one_line(error)
        self._evaluation, reason = self._together.merged(self._evaluation, failed)
        if reason:
            steps.skip(f"{prefix}evaluation", reason, failed=bool(failed))
        else:
            evaluation = steps.run(f"{prefix}evaluation", self._evaluation.facts)
            steps.remark(f"{prefix}evaluation", self._together.told())
        if passage.trouble:
            for part in (f"{prefix}dataset", f"{prefix}evaluation"):
                steps.partial(part, passage.trouble, failed=True)
        return dataset, evaluation


def _gradients(
    subject: Subject, kept: list[Batch], order: dict[str, int], steps: Steps, *, real: bool
) -> GradientFacts | None:
    loss = subject.loss
    if loss is None or not real or any(batch.target is None for batch in kept):
        steps.skip("gradients", _NO_LOSS if loss is None else NOISE if not real else "the data hold no targets")
        return None
    if not any(p.requires_grad for p in subject.model.parameters()):
        steps.skip("gradients", _NOTHING_TRAINABLE)
        return None
    found = steps.run(
        "gradients",
        lambda: gradients.measure(subject.model, kept, loss, name_of(loss), order, subject.options.seed),
    )
    if found is not None and found.fallback:
        steps.partial("gradients", found.fallback)
    return found
