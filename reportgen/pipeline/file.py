"""A weights file: nothing but its tensors can be measured."""

from __future__ import annotations

from pathlib import Path

import msgspec
from tqdm import tqdm

from ..document.codec import FORMAT_VERSION
from ..document.facts import Meta, Report, SubjectFacts, WeightFacts
from ..document.places import near
from ..options import Options
from ..probe import architecture, course, hub, states, weights
from ..probe.pictures import run as pictures
from ..probe.steps import Steps
from ..subject import checkpoint, hashes, packed
from .pictures import with_pictures

_NO_MODEL = "a weights file holds no model to run"
_PACKED = "weights in whole or packed numbers were not measured"
_SPARSE = "sparse weights too large to be laid out in full were not measured"


def examine_file(path: Path, options: Options, steps: Steps) -> Report:
    file, kinds = packed.decoded(checkpoint.read(path, options.allow_globals))
    earlier = [packed.decoded(checkpoint.read(Path(one), options.allow_globals))[0] for one in options.earlier]
    steps.hashes["checkpoint"] = hashes.of_file(path)
    report = Report(
        format_version=FORMAT_VERSION,
        title=options.title or path.name,
        meta=Meta(sources={"checkpoint": near(str(path))}),
        subject=SubjectFacts(name=path.name, kind="checkpoint"),
        weights=_with_kinds(_weights_of_file(file, earlier, options, steps), kinds),
        architecture=steps.run("architecture", lambda: architecture.of_tensors(file.outlines)),
    )
    steps.partial("architecture", f"{_NO_MODEL}; only sizes are known")
    for part in ("activations", "gradients", "dataset", "evaluation", "trials"):
        steps.skip(part, _NO_MODEL)
    return with_pictures(report, steps, options, lambda: pictures.of_file(file.tensors, options))


def _with_kinds(facts: WeightFacts | None, kinds: dict[str, str]) -> WeightFacts | None:
    """Say of weights that were decoded what they are in the file."""
    if facts is None or not kinds:
        return facts
    rows = [msgspec.structs.replace(row, dtype=kinds.get(row.name, row.dtype)) for row in facts.rows]
    return msgspec.structs.replace(facts, rows=rows)


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
        unread = tuple(row.name for row in reading.facts.rows if row.stats is None and row.tied_to is None)
        left = [f"{why}: {_few(names)}" for why, names in ((_PACKED, reading.packed), (_SPARSE, unread)) if names]
        if left:
            steps.partial("weights", "; ".join([*left, file.layout]))
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


def _few(names: tuple[str, ...]) -> str:
    return f"{len(names)}, {', '.join(names[:4])}{', …' if len(names) > 4 else ''}"
