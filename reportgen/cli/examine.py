"""``reportgen examine``: load, probe, report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..document.places import near
from ..errors import OptionError
from .app import app
from .flags import settings_of
from .output import (
    MAX_SEED,
    ClassNames,
    Data,
    Device,
    ExportBudget,
    Font,
    InferenceBudget,
    Lang,
    Loss,
    MaxBatches,
    Out,
    SidecarCss,
    Slices,
    Strict,
    Task,
    Templates,
    Threshold,
    Title,
    TrainData,
    checked,
    interrupts_kept,
    strictly,
    written,
)
from .values import WEIGHT_SUFFIXES, ManyCheckpoints

if TYPE_CHECKING:
    from ..document.facts import Report
    from ..document.history import History
    from ..settings import Settings

_SUBJECT = (
    "pkg.mod:name, file.py:name, torchvision:name, torchscript:file.pt, export:file.pt2, a weights file, a folder "
    "of shards, or a settings file (.toml)"
)
Run = Annotated[
    Path | None,
    typer.Option(help="The run: a monitor's log, a TensorBoard folder, metrics.csv, trainer_state.json, CSV, JSON."),
]
Checkpoints = Annotated[
    list[str] | None,
    typer.Option(
        help="Weights to load into the model; without a model, to examine alone. Several, the earliest first, are "
        "examined as one run: what moved from each to the next."
    ),
]
Earlier = Annotated[
    list[str] | None,
    typer.Option(help="An earlier checkpoint of the file, to show what moved. Repeatable, the earliest first."),
]
Spectra = Annotated[
    str | None, typer.Option(help="Singular values of weights: off, fast or exact; fast for a file if left out.")
]
AllowGlobal = Annotated[
    list[str] | None,
    typer.Option(help="A pickled class that the checkpoint may hold, if you trust it: argparse.Namespace. Repeatable."),
]


@app.command(cls=ManyCheckpoints)
def examine(
    context: typer.Context,
    subject: Annotated[str | None, typer.Argument(metavar="MODEL|CHECKPOINT|CONFIG", help=_SUBJECT)] = None,
    checkpoint: Checkpoints = None,
    data: Data = None,
    train_data: TrainData = None,
    loss: Loss = None,
    history: Run = None,
    history_name: Annotated[
        list[str] | None, typer.Option(help="What a scalar of the history is: my_metric=val_accuracy. Repeatable.")
    ] = None,
    input_size: Annotated[
        str | None, typer.Option(help="Shape of one sample, when there are no data: 3,224,224.")
    ] = None,
    title: Title = None,
    task: Task = None,
    class_names: ClassNames = None,
    slices: Slices = None,
    inference_budget: InferenceBudget = None,
    export_budget: ExportBudget = None,
    device: Device = None,
    max_batches: MaxBatches = None,
    threshold: Threshold = None,
    earlier: Earlier = None,
    spectra: Spectra = None,
    allow_global: AllowGlobal = None,
    seed: Annotated[int | None, typer.Option(min=0, max=MAX_SEED, help="Of noise inputs and random layers.")] = None,
    strict: Strict = None,
    templates: Templates = None,
    sidecar_css: SidecarCss = None,
    lang: Lang = None,
    font: Font = None,
    output: Out = None,
) -> int:
    """Load a model, probe it, and write a report about it; or report on weights alone, or on a history alone.

    What is not given is taken from the settings: the file named, reportgen.toml, or [tool.reportgen] in pyproject.toml.
    """
    from .. import settings
    from ..health.policy import policy_of

    config = Path(subject) if subject is not None and subject.endswith(".toml") else None
    model = None if config is not None else subject
    if model is not None and (Path(model).suffix in (".jsonl", ".csv") or "tfevents" in model):
        raise OptionError(f"{model} looks like a history, not like a model.", hint=f"Write --history {model}.")
    files = _in_time(model, context.params["checkpoint"] or [], earlier or [])
    given = settings.load(
        config,
        settings_of(context.params | {"subject": model} | files) | {"progress": sys.stderr.isatty() or None},
        # another model than the configured one has other weights and another history
        without=() if model is None else ("model", "checkpoint", "history", "history_names"),
    )
    policy_of(given.options.rules)  # what is wrong in it is told before any work
    paths = checked([Path(path) for path in given.output], given.page)
    report = _examined(given)
    written(report, paths, given.page, given.options.language)
    return strictly(report, strict=given.strict)


def _in_time(model: str | None, checkpoints: list[str], earlier: list[str]) -> dict[str, Any]:
    """Return which checkpoint is examined, the last, and which are the earlier ones of the same run."""
    if model is not None and len(checkpoints) > 1:
        raise OptionError(
            f"{len(checkpoints)} checkpoints are given for one model.",
            hint="Name one to load into it, or leave the model out to see what moved between them.",
        )
    return {"checkpoint": next(iter(checkpoints[-1:]), None), "earlier": [*earlier, *checkpoints[:-1]] or None}


def _examined(given: Settings) -> Report:
    """Resolve every target, so that a wrong one is told before any work, and examine."""
    if given.model is None and given.checkpoint is None and given.history is None:
        raise OptionError("There is nothing to examine.", hint=f"Name a model, {_SUBJECT}, or give --history.")
    with interrupts_kept():
        import msgspec
        import torch

        from ..pipeline import examine
        from ..subject import checkpoint, hashes, programs, specs

    history = _history(given)
    if given.model is None:
        file = None if given.checkpoint is None else Path(given.checkpoint)
        report = examine(file, history=history, options=given.options)
    elif isinstance(given.model, str) and is_weights_file(given.model):
        if given.checkpoint is not None:
            raise OptionError(f"Both {given.model} and {given.checkpoint} are weights.", hint="Give one of them.")
        report = examine(Path(given.model), history=history, options=given.options)
    else:
        if isinstance(given.model, str) and programs.is_program(given.model):
            model = programs.load(given.model)
        else:
            model = specs.model_of(specs.spec_of(given.model))
        if given.checkpoint is not None:
            if not isinstance(model, torch.nn.Module):
                raise OptionError("An exported program brings its own weights.", hint="Leave --checkpoint out.")
            checkpoint.load_into(model, checkpoint.read(Path(given.checkpoint), given.options.allow_globals))
        report = examine(
            model,
            None if given.data is None else specs.data_of(specs.spec_of(given.data)),
            train_data=None if given.train_data is None else specs.data_of(specs.spec_of(given.train_data)),
            loss=None if given.loss is None else specs.loss_of(specs.spec_of(given.loss, "torch.nn")),
            history=history,
            options=given.options,
        )
    meta = msgspec.structs.replace(report.meta, sources=report.meta.sources | sources(given))
    if given.checkpoint is not None and "checkpoint" not in meta.hashes:
        digest = hashes.of_file(Path(given.checkpoint))
        meta = msgspec.structs.replace(meta, hashes=meta.hashes | {"checkpoint": digest} if digest else meta.hashes)
    return msgspec.structs.replace(report, meta=meta)


def _history(given: Settings) -> History | None:
    from ..training.histories import read_history

    return None if given.history is None else read_history(given.history, names=given.history_names)


def sources(given: Settings) -> dict[str, str]:
    """Tell what was read, by what it is for."""
    table: dict[str, Any] = {key: getattr(given, key) for key in ("model", "checkpoint", "data", "train_data", "loss")}
    table["history"] = given.history
    if isinstance(given.model, str) and is_weights_file(given.model):
        table["checkpoint"] = table.pop("model")
    known = {key: value for key, value in table.items() if value is not None}
    return {key: near(value if isinstance(value, str) else _told(value)) for key, value in known.items()}


def _told(target: dict[str, Any]) -> str:
    arguments = ", ".join(f"{key}={value!r}" for key, value in target.items() if key != "target")
    return f"{target.get('target')}({arguments})"


def is_weights_file(name: str) -> bool:
    """Tell a file or a folder from an import target: a target has a colon before its name."""
    return Path(name).exists() or (":" not in name and name.endswith(WEIGHT_SUFFIXES))
