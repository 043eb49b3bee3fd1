"""A model: its structure, its weights, and one pass over the data given."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from typing import Any

import msgspec
from torch import nn

from ..document.codec import FORMAT_VERSION
from ..document.facts import Meta, Report, SubjectFacts
from ..document.pictures import PictureFacts
from ..options import Options
from ..probe import architecture, attention_facts, weights
from ..probe.forward import ForwardPass
from ..probe.inputs import first_pass
from ..probe.layers import kind_of
from ..probe.pictures import run as pictures
from ..probe.steps import Steps
from ..subject.data import Batch, device_of
from ..subject.handed import name_of, owned_by
from ..subject.signature import OwnLoss
from .data import add_data
from .pictures import with_pictures
from .reasons import NO_DATA
from .subject import Subject

_NO_VALUES = "the parameters are on the meta device, which holds shapes and no values"


def examine_model(subject: Subject, data: Iterable[Any] | None, steps: Steps) -> tuple[Subject, Report]:
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
        steps.partial("architecture", NO_DATA)
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
            in_eval=subject.in_eval,
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
            steps.skip(part, NO_DATA if first is None else _NO_VALUES)
    else:
        watch = None if seen is None else seen.attention
        report = add_data(subject, report, data, chain([first], rest), steps, None if watch is None else watch.told)

    report = _with_attention(report, model, seen, first, options, steps)

    def draw() -> PictureFacts | None:
        return pictures.of_model(model, subject.given.watching, options, data)

    return subject, with_pictures(report, steps, options, draw)


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
