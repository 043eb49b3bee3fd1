"""examine(): the one place that knows the order of measuring."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from .arguments import expect
from .document.codec import FORMAT_VERSION, decode, encode
from .document.facts import (
    ActivationFacts,
    ArchitectureFacts,
    Coverage,
    DatasetFacts,
    EvaluationFacts,
    GradientFacts,
    Meta,
    Report,
    SubjectFacts,
    WeightFacts,
)
from .document.history import History
from .document.pictures import PictureFacts
from .document.trials import TrialFacts
from .errors import OptionError
from .health.judge import judge
from .health.policy import policy_of
from .health.thresholds import Thresholds
from .options import Options
from .probe import (
    architecture,
    attention_facts,
    course,
    deployment,
    gradients,
    hub,
    latency,
    states,
    stream,
    weights,
)
from .probe.activations import ActivationProbe
from .probe.copies import linked_to, workable
from .probe.dataset import DatasetProbe, compare
from .probe.evaluation import EvaluationProbe
from .probe.forward import ForwardPass
from .probe.guard import generators_kept, untouched
from .probe.inputs import first_pass, guarded
from .probe.layers import kind_of
from .probe.pictures import run as pictures
from .probe.readings import redrawn
from .probe.steps import NotMeasuredError, Steps
from .probe.trials import run as trials
from .probe.trials.sample import WIDE, Reservoir
from .subject import checkpoint, hashes, vocabulary
from .subject.data import Batch, Reading, batches, device_of
from .subject.handed import Loss, check_handed, name_of, optimizers_in, owned_by
from .subject.signature import OwnLoss
from .subject.wrappers import ExportedProgram, eagerly, underneath
from .training.histories import read_history

_NO_DATA = "no data and no input size were given"
_NO_LOSS = "no loss was given"
_NOISE = "the inputs are noise made from an input size, so there is nothing to compare with"
_NO_MODEL = "a weights file holds no model to run"
_NOTHING_TRAINABLE = "no parameter takes a gradient"
_PACKED = "weights in whole or packed numbers were not measured"
_NO_VALUES = "the parameters are on the meta device, which holds shapes and no values"
_NOT_RESTORED = "the forward pass changed attributes that are too large, or of a kind, to be put back"
_NOTHING_TO_SHOW = "there are no samples, no maps and no kernels larger than one place"
_NO_SUBJECT = "a history was given and no model"
_EARLIER_OF_A_FILE = "earlier checkpoints are compared with a weights file, and a model was given"


def examine(
    model: nn.Module | ExportedProgram | str | Path | None,
    data: Iterable[Any] | None = None,
    *,
    train_data: Iterable[Any] | None = None,
    loss: Loss | None = None,
    optimizer: Optimizer | Sequence[Optimizer] | None = None,
    history: History | Mapping[str, Any] | str | Path | None = None,
    real: Iterable[Any] | Mapping[str, Any] | None = None,
    extractor: Callable[[Tensor], Any] | None = None,
    options: Options | None = None,
) -> Report:
    """Measure a model, judge what was measured, and return the report.

    ``model`` is a module (what torch.compile and replicators wrap is examined beneath them); an exported program; the
    path of a weights file, of which only the weights can be examined; or None for a history alone. ``history`` is what
    ``fit`` or a monitor returned, or whatever ``read_history`` reads: the path of a log, of a TensorBoard folder, of a
    trainer_state.json, or a dict of lists. ``data`` yields batches: a tensor, ``(input, target)``,
    ``(args..., target)`` or a dict; all of them are read once in eval mode.
    ``loss(output, target)`` returns a scalar tensor; with it gradients are measured over the first few batches.
    ``train_data`` is evaluated beside for the gap between the splits. The model, its gradients and the random number
    generators are left bit for bit as they were. A model in shards (``fully_shard``, DTensor) is examined by all of its
    processes together, each of which gets the figures of the whole.

    ``real`` is for generators: samples, or batches of them, to hold what the model makes against, or a mapping of
    ``real_feats`` and ``fake_feats`` (N, D). ``extractor(samples)`` returns the features that are compared; without it
    they are pixels averaged over a coarse grid. Targets that are images of the outputs' shape need no ``real``.

    Raises DataError when the data yield nothing, ForwardError when the model refuses the first batch, CheckpointError
    or HistoryError when a file cannot be read. Whatever fails later is told in ``report.coverage``.
    """
    check_handed(loss, options, data=data, train_data=train_data, real=real)
    expect(
        "extractor", extractor, extractor is None or callable(extractor), "a callable of samples that returns features"
    )
    options = options or Options()
    if options.sections and not {"pictures", "attention"} & set(options.sections):
        options = msgspec.structs.replace(options, pictures=0)
    limits, rules = Thresholds().replace(options.thresholds), policy_of(options.rules)
    token_names = vocabulary.names_of(options.tokens)
    steps = Steps()
    run = None if history is None else read_history(history)
    if isinstance(model, (str, Path)):
        report = _examine_file(Path(model), options, steps)
    elif isinstance(model, (nn.Module, ExportedProgram)):
        subject = replace(_subject(model, loss, optimizers_in(optimizer), options), real=real, extractor=extractor)
        with _harmless(subject, data, train_data, real) as left:
            subject, report = _examine_model(subject, data, steps)
            if train_data is not None:
                report = _add_training_data(subject, train_data, report, steps)
            report = _add_trials(subject, _add_use(subject, report, steps), steps)
        if left:
            steps.skip("restoration", f"{_NOT_RESTORED}: {', '.join(left[:4])}", failed=True)
        if options.earlier:
            steps.skip("course", _EARLIER_OF_A_FILE)
    elif model is None and history is not None:
        report = _examine_run(history, options, steps)
    else:
        told = f"the class {model.__name__}" if isinstance(model, type) else f"a {type(model).__name__}"
        told = "nothing: there is neither a model nor a history" if model is None else told
        raise OptionError(
            f"Cannot examine {told}.", hint="Expected an nn.Module, an ExportedProgram or the path of a weights file."
        )
    if run is None:
        steps.skip("training", "no history was given")
    else:
        steps.coverage.append(Coverage(part="training", status="measured"))
    if isinstance(history, (str, Path)):
        sources = report.meta.sources | {"history": str(history)}
        report = msgspec.structs.replace(report, meta=msgspec.structs.replace(report.meta, sources=sources))
    report = msgspec.structs.replace(
        report, training=run, coverage=steps.coverage, meta=steps.complete(report.meta, options)
    )
    report = vocabulary.with_names(report, token_names)
    # by way of the file format, so that a report in memory and one read back are the same to the bit
    return decode(encode(judge(report, limits, rules)))


@contextmanager
def _harmless(subject: _Subject, *data: Any) -> Iterator[list[str]]:
    """Keep model, loss and generators as they are, also for a caller in inference mode, where no gradient is made.

    Yields a list that on exit names what could not be put back.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(eagerly())
        stack.enter_context(generators_kept(*data))
        left = stack.enter_context(untouched(subject.model))
        for other in (subject.loss, subject.extractor):
            if isinstance(other, nn.Module):
                stack.enter_context(untouched(other))
        yield left


@dataclass
class _Split:
    """What is kept of one split beyond its pass: some batches for experiments, samples to compare with the other."""

    reservoir: Reservoir = field(default_factory=lambda: Reservoir(0))
    wide: Reservoir = field(default_factory=lambda: Reservoir(1, WIDE))
    """More samples, for the experiments that learn from them."""
    dataset: DatasetProbe | None = None
    watching: pictures.Watching | None = None

    def keep(self, batch: Batch) -> None:
        """Let both reservoirs look at a batch."""
        self.reservoir.update(batch)
        self.wide.update(batch)


@dataclass(frozen=True)
class _Subject:
    model: nn.Module
    loss: Loss | None
    optimizers: tuple[Optimizer, ...]
    options: Options
    wrappers: list[str]
    """What was taken off the model that the caller gave."""
    example: Batch | None
    """Inputs that an exported program brings along."""
    real: Any = None
    extractor: Callable[[Tensor], Any] | None = None
    given: _Split = field(default_factory=lambda: _Split())
    training: _Split = field(default_factory=lambda: _Split())
    reading: Reading = field(default_factory=lambda: Reading())
    """How the data given are read; the training data are read alike."""


def _subject(
    model: nn.Module | ExportedProgram, loss: Loss | None, optimizers: tuple[Optimizer, ...], options: Options
) -> _Subject:
    example = getattr(model, "example_inputs", None) if isinstance(model, ExportedProgram) else None
    module, wrappers = underneath(model)
    if isinstance(model, ExportedProgram):
        optimizers = linked_to(module, model, optimizers)
    module, optimizers = workable(module, optimizers, options)
    reading = Reading(carried=tuple(options.slices))
    inputs = Batch(*example) if example else None
    return _Subject(module, loss, optimizers, options, wrappers, inputs, reading=reading)


def _examine_file(path: Path, options: Options, steps: Steps) -> Report:
    file = checkpoint.read(path, options.allow_globals)
    earlier = [checkpoint.read(Path(one), options.allow_globals) for one in options.earlier]
    steps.hashes["checkpoint"] = hashes.of_file(path)
    report = Report(
        format_version=FORMAT_VERSION,
        title=options.title or path.name,
        meta=Meta(sources={"checkpoint": str(path)}),
        subject=SubjectFacts(name=path.name, kind="checkpoint"),
        weights=_weights_of_file(file, earlier, options, steps),
        architecture=steps.run("architecture", lambda: architecture.of_tensors(file.outlines)),
    )
    steps.partial("architecture", f"{_NO_MODEL}; only sizes are known")
    for part in ("activations", "gradients", "dataset", "evaluation", "trials"):
        steps.skip(part, _NO_MODEL)
    return _with_pictures(report, steps, options, lambda: pictures.of_file(file.tensors, options))


def _weights_of_file(
    file: checkpoint.Checkpoint, earlier: list[checkpoint.Checkpoint], options: Options, steps: Steps
) -> WeightFacts | None:
    """Read the tensors one by one; what was read before Ctrl-C makes a report too."""
    sizes = [sum(t.numel() * t.element_size() for t in one.outlines.values()) for one in (*earlier, file)]
    spectra = options.spectra or "fast"
    total = sizes[-1] + (sum(sizes) if earlier else 0)
    with tqdm(total=total, unit="B", unit_scale=True, desc=file.path.name, disable=not options.progress) as bar:
        reading = steps.run(
            "weights",
            lambda: weights.of_tensors(
                file.tensors, file.pages.release, bar.update, spectra, file.outlines, file.config and file.config.heads
            ),
        )
        if reading is None:
            return None
        steps.remark("weights", [file.layout])
        if reading.packed:
            names = ", ".join(reading.packed[:4]) + (", …" if len(reading.packed) > 4 else "")
            steps.partial("weights", f"{_PACKED}: {len(reading.packed)}, {names}; {file.layout}")
        if reading.read < reading.tensors:
            steps.partial("weights", f"interrupted after {reading.read} of {reading.tensors} tensors")
            return reading.facts
        config = hub.compared(file.config.config, reading.facts.rows) if file.config is not None else None
        parameters = [(row.name, tuple(row.shape)) for row in reading.facts.rows]
        described = [states.state_of(one, parameters, file.pages.release) for one in file.optimizers]
        found = [state for state in described if state is not None]
        facts = msgspec.structs.replace(reading.facts, optimizers=found, config=config)
        if not earlier:
            return facts
        points = [course.Point(one.path.name, one.tensors, one.pages.release) for one in (*earlier, file)]
        moved = steps.run("course", lambda: course.course_of(points, spectra, bar.update))
    if moved is not None and moved.interrupted:
        steps.partial("course", f"interrupted after {len(moved.rows)} tensors")
    return msgspec.structs.replace(facts, course=moved)


def _examine_run(history: History | Mapping[str, Any] | str | Path, options: Options, steps: Steps) -> Report:
    """Begin the report of a history alone."""
    name = Path(history).absolute().name if isinstance(history, (str, Path)) else "training run"
    for part in ("architecture", "weights", "activations", "gradients", "dataset", "evaluation", "trials"):
        steps.skip(part, _NO_SUBJECT)
    return Report(
        format_version=FORMAT_VERSION,
        title=options.title or name,
        meta=Meta(),
        subject=SubjectFacts(name=name, kind="run"),
    )


def _examine_model(subject: _Subject, data: Iterable[Any] | None, steps: Steps) -> tuple[_Subject, Report]:
    """Look at the structure, then at all batches; the subject comes back with the loss that it brings itself."""
    model, options = subject.model, subject.options
    if subject.loss is None:
        subject.reading.feed = "named"  # the model may have a loss of its own, when it is given the targets
    first, rest, inputs, seen = first_pass(model, data, subject.example, options, subject.reading)
    if subject.loss is None and seen is not None and seen.own_loss and first is not None and first.fed_as is not None:
        subject = replace(subject, loss=OwnLoss())
    if first is not None and first.fed_as is not None:
        subject.reading.remarks.append(f"the targets are handed to the model too, as {first.fed_as}")
    structure = steps.run("architecture", lambda: architecture.measure(model, seen))
    if seen is None:
        steps.partial("architecture", _NO_DATA)
    else:
        steps.seconds["architecture"] = round(steps.seconds["architecture"] + seen.seconds, 4)
        if seen.limits:
            steps.partial("architecture", "; ".join(seen.limits))
    report = Report(
        format_version=FORMAT_VERSION,
        title=options.title or kind_of(model),
        meta=Meta(device=str(device_of(model))),
        subject=SubjectFacts(
            name=kind_of(model),
            kind="model",
            inputs=inputs,
            wrappers=subject.wrappers,
            loss=None if subject.loss is None else name_of(subject.loss),
            optimizer=", ".join(type(o).__name__ for o in subject.optimizers) or None,
        ),
        architecture=structure,
        weights=steps.run(
            "weights", lambda: weights.of_model(model, owned_by(subject.optimizers), options.spectra or "off")
        ),
    )
    without_values = any(p.is_meta for p in model.parameters())
    if without_values:
        steps.partial("weights", _NO_VALUES)
    if first is None or without_values:
        for part in ("activations", "gradients", "dataset", "evaluation"):
            steps.skip(part, _NO_DATA if first is None else _NO_VALUES)
    else:
        report = _add_data(subject, report, chain([first], rest), steps)

    report = _with_attention(report, model, seen, first, options, steps)

    def draw() -> PictureFacts | None:
        return pictures.of_model(model, subject.given.watching, options, data)

    return subject, _with_pictures(report, steps, options, draw)


def _with_attention(
    report: Report, model: nn.Module, seen: ForwardPass | None, first: Batch | None, options: Options, steps: Steps
) -> Report:
    """Add where heads of attention look, where the pass over the first batch saw any."""
    watch = None if seen is None else seen.attention
    if watch is None or first is None or not watch.found or report.subject.inputs != "real" or not options.pictures:
        return report
    found = steps.run("attention", lambda: attention_facts.facts_of(watch, model, first))
    if found is not None and found.reasons:
        steps.partial("attention", "; ".join(found.reasons[:3]))
    return msgspec.structs.replace(report, attention=found)


def _with_pictures(report: Report, steps: Steps, options: Options, draw: Callable[[], PictureFacts | None]) -> Report:
    """Add pictures, where room was given to them and there is anything to show."""
    if not options.pictures:
        steps.skip("pictures", "no room was given to them")
        return report

    def drawn() -> PictureFacts:
        facts = draw()
        if facts is None:
            raise NotMeasuredError(_NOTHING_TO_SHOW)
        return facts

    facts = steps.run("pictures", drawn)
    failed = [left.reason for left in facts.left_out if left.why == "failed"] if facts is not None else []
    if failed:
        steps.partial("pictures", "; ".join(failed[:3]), failed=True)
    return msgspec.structs.replace(report, pictures=facts)


def _add_data(subject: _Subject, report: Report, batches: Iterator[Batch], steps: Steps) -> Report:
    """Read all batches once for activations, data and evaluation, then a few of them again for gradients."""
    model, options = subject.model, subject.options
    probe, real = ActivationProbe(model), report.subject.inputs == "real"
    readers = _Readers(subject, subject.given, watched=bool(options.pictures)) if real else None

    def read() -> tuple[stream.Passage, ActivationFacts]:
        with probe.attached(), readers.attached() if readers is not None else nullcontext():
            watchers = readers.watchers if readers is not None else {}
            passage = stream.run(model, batches, probe.next_batch, watchers, options.gradient_batches)
        return passage, probe.facts()

    outcome = steps.run("activations", read)
    if outcome is None:
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
            steps.skip(part, _NOISE)
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


def _add_training_data(subject: _Subject, data: Iterable[Any], report: Report, steps: Steps) -> Report:
    """Run the model over its training data too, for the gap between the splits."""
    readers = _Readers(subject, subject.training)
    model, limit = subject.model, subject.options.max_batches
    reading = Reading(feed=subject.reading.feed, carried=subject.reading.carried)
    read = guarded(batches(data, model, device_of(model), limit, reading))
    passage = stream.run(model, read, lambda batch: None, readers.watchers, 0)
    dataset, evaluation = readers.facts(passage, steps, "training ")
    steps.remark("training dataset", reading.told())
    ours, theirs, splits = subject.training.dataset, subject.given.dataset, None
    if ours is not None and theirs is not None and dataset is not None and report.dataset is not None:
        splits = steps.run("splits", lambda: compare(ours, theirs, redrawn(data)))
    return msgspec.structs.replace(report, train_dataset=dataset, train_evaluation=evaluation, splits=splits)


def _add_use(subject: _Subject, report: Report, steps: Steps) -> Report:
    """Time forward passes and export a copy, where time was given to it."""
    options, batches = subject.options, subject.given.reservoir.as_read()
    asked = {"latency": options.inference_budget, "export": options.export_budget}
    if not batches:
        for part in (part for part, budget in asked.items() if budget > 0):
            steps.skip(part, _NO_DATA)
        return report
    if options.inference_budget > 0:
        times = steps.run("latency", lambda: latency.measure(subject.model, batches, options.inference_budget))
        if times is not None and times.out_of_time:
            steps.partial("latency", "larger batches were left out: the time given was up")
        report = msgspec.structs.replace(report, meta=msgspec.structs.replace(report.meta, inference=times))
    if options.export_budget > 0:
        found = steps.run("export", lambda: deployment.measure(subject.model, batches, options.export_budget))
        report = msgspec.structs.replace(report, deployment=found)
    return report


def _add_trials(subject: _Subject, report: Report, steps: Steps) -> Report:
    """Make experiments on copies of the model, with a few of the batches that were read."""
    given, training, options = subject.given.reservoir.batches(), subject.training.reservoir.batches(), subject.options
    if not given and not training:
        steps.skip("trials", _NOISE if report.subject.inputs == "synthetic" else _NO_DATA)
        return report
    if options.trial_budget <= 0:
        steps.skip("trials", "no time was given to them")
        return report

    wide = subject.given.wide.as_read(), subject.training.wide.as_read()

    def measure() -> tuple[TrialFacts, dict[str, float]]:
        return trials.run(
            subject.model, subject.loss, subject.optimizers, given, training, options.trial_budget, options.seed, wide
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


class _Readers:
    """The parts that read batches and outputs of one split."""

    def __init__(self, subject: _Subject, kept: _Split, *, watched: bool = False) -> None:
        self._kept = kept
        self._dataset = kept.dataset = DatasetProbe(subject.model)
        self._evaluation = EvaluationProbe(subject.loss, subject.options.task, subject.options.class_names)
        self.watchers: dict[str, stream.Watcher] = {
            "dataset": lambda output, batch: self._dataset.update(batch),
            "evaluation": self._evaluation.update,
            "trials": lambda output, batch: kept.keep(batch),
        }
        if watched:
            hashes = self._dataset.copies
            kept.watching = pictures.Watching(subject.model, lambda: hashes.latest, subject.real, subject.extractor)
            self.watchers["pictures"] = kept.watching.update

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
            dataset = steps.run(f"{prefix}dataset", self._dataset.facts)
            if self._dataset.limits:
                steps.partial(f"{prefix}dataset", self._dataset.limits)
        reason = passage.failed.get("evaluation") or self._evaluation.trouble
        if reason:
            steps.skip(f"{prefix}evaluation", reason, failed="evaluation" in passage.failed)
        else:
            evaluation = steps.run(f"{prefix}evaluation", self._evaluation.facts)
        if passage.trouble:
            for part in (f"{prefix}dataset", f"{prefix}evaluation"):
                steps.partial(part, passage.trouble, failed=True)
        return dataset, evaluation


def _gradients(
    subject: _Subject, kept: list[Batch], order: dict[str, int], steps: Steps, *, real: bool
) -> GradientFacts | None:
    loss = subject.loss
    if loss is None or not real or any(batch.target is None for batch in kept):
        steps.skip("gradients", _NO_LOSS if loss is None else _NOISE if not real else "the data hold no targets")
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
