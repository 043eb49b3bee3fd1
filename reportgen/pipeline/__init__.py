"""examine(): the one place that knows the order of measuring."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..arguments import expect
from ..document.codec import FORMAT_VERSION, decode, encode
from ..document.facts import Coverage, Meta, Report, SubjectFacts
from ..document.history import History
from ..document.places import near
from ..errors import OptionError
from ..health.judge import judge
from ..health.policy import policy_of
from ..health.thresholds import Thresholds
from ..options import Options
from ..probe.guard import generators_kept, untouched
from ..probe.mixed import Look
from ..probe.steps import Steps
from ..subject import vocabulary
from ..subject.handed import Loss, check_handed, optimizers_in
from ..subject.wrappers import ExportedProgram, eagerly
from ..training.histories import read_history
from .data import add_training_data
from .experiments import add_trials, add_use, held_in_eval, highest_rate
from .file import examine_file
from .model import examine_model
from .subject import Subject, subject_of

_NOT_RESTORED = "the forward pass changed attributes that are too large, or of a kind, to be put back"
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
    processes together, each of which gets the figures of the whole. Scores of processes that each read a part of the
    data are put together where a distributed sampler deals it out, or ``Options(merge_processes=True)`` says so.

    ``real`` is for generators: samples, or batches of them, to hold what the model makes against, or a mapping of
    ``real_feats`` and ``fake_feats`` (N, D). ``extractor(samples)`` returns the features that are compared; without it
    they are pixels averaged over a coarse grid. Targets that are images of the outputs' shape need no ``real``.

    Raises DataError when the data yield nothing, ForwardError when the model refuses the first batch, CheckpointError
    or HistoryError when a file cannot be read. Whatever fails later is told in ``report.coverage``.
    """
    return examined(
        model,
        data,
        train_data=train_data,
        loss=loss,
        optimizer=optimizer,
        history=history,
        real=real,
        extractor=extractor,
        options=options,
    )


def examined(
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
    looks: tuple[Look, ...] = (),
) -> Report:
    """Do as ``examine``, with samples that a monitor saw in training."""
    check_handed(loss, options, data=data, train_data=train_data, real=real)
    expect(
        "extractor", extractor, extractor is None or callable(extractor), "a callable of samples that returns features"
    )
    options = _settled(options or Options())
    limits, rules = Thresholds().replace(options.thresholds), policy_of(options.rules)
    token_names = vocabulary.names_of(options.tokens)
    steps = Steps()
    run = None if history is None else read_history(history)
    if isinstance(model, (str, Path)):
        report = examine_file(Path(model), options, steps)
    elif isinstance(model, (nn.Module, ExportedProgram)):
        subject = subject_of(model, loss, optimizers_in(optimizer), options)
        subject = replace(subject, real=real, extractor=extractor, peak=highest_rate(run), held=held_in_eval(run))
        subject = replace(subject, looks=looks)
        report = _measure_model(subject, data, train_data, steps)
    elif model is None and history is not None:
        report = _examine_run(history, options, steps)
    else:
        raise _nothing_to_examine(model)
    if run is None:
        steps.skip("training", "no history was given")
    else:
        steps.coverage.append(Coverage(part="training", status="measured"))
    report = msgspec.structs.replace(
        report, training=run, coverage=steps.coverage, meta=steps.complete(_with_source(report.meta, history), options)
    )
    report = vocabulary.with_names(report, token_names)
    # by way of the file format, so that a report in memory and one read back are the same to the bit
    return decode(encode(judge(report, limits, rules)))


def _settled(options: Options) -> Options:
    """Return the options, without room for pictures where no section shows them."""
    if options.sections and not {"pictures", "attention"} & set(options.sections):
        return msgspec.structs.replace(options, pictures=0)
    return options


def _measure_model(
    subject: Subject, data: Iterable[Any] | None, train_data: Iterable[Any] | None, steps: Steps
) -> Report:
    """Measure a model with all that was given beside it, and leave it as it was."""
    with _harmless(subject, data, train_data, subject.real) as left:
        subject, report = examine_model(subject, data, steps)
        if train_data is not None:
            report = add_training_data(subject, train_data, report, steps)
        report = add_trials(subject, report, steps)
        report = add_use(subject, report, steps)  # last: a model that writes on itself is another one after more passes
    if left:
        steps.skip("restoration", f"{_NOT_RESTORED}: {', '.join(left[:4])}", failed=True)
    if subject.options.earlier:
        steps.skip("course", _EARLIER_OF_A_FILE)
    return report


def _nothing_to_examine(model: object) -> OptionError:
    told = f"the class {model.__name__}" if isinstance(model, type) else f"a {type(model).__name__}"
    told = "nothing: there is neither a model nor a history" if model is None else told
    return OptionError(
        f"Cannot examine {told}.", hint="Expected an nn.Module, an ExportedProgram or the path of a weights file."
    )


def _with_source(meta: Meta, history: object) -> Meta:
    """Note the path that the history was read from, where there was one."""
    if not isinstance(history, (str, Path)):
        return meta
    return msgspec.structs.replace(meta, sources=meta.sources | {"history": near(str(history))})


@contextmanager
def _harmless(subject: Subject, *data: Any) -> Iterator[list[str]]:
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
