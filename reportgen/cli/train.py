"""``reportgen train`` and ``reportgen demo``: train under the monitor, then report."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from ..document.places import near
from ..errors import OptionError, ReportgenError, TrainingError, one_line
from .app import app
from .examine import sources
from .flags import settings_of
from .output import (
    MAX_SEED,
    ClassNames,
    Device,
    Font,
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
    checked,
    interrupts_kept,
    presentation,
    say,
    strictly,
    written,
)

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from ..document.facts import Report
    from ..settings import Settings

LOG, BEST = "history.jsonl", "best.pt"
_NEEDED = {
    "model": "the model: pkg.mod:name, file.py:name, torchvision:name",
    "train_data": "a loader of what it learns from: pkg.mod:name",
    "loss": "the loss: CrossEntropyLoss, pkg.mod:name",
}


@app.command()
def train(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Argument(help="A settings file (.toml); reportgen.toml if there is one.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The model: pkg.mod:build, 'file.py:build(width=64)'.")] = None,
    train_data: Annotated[str | None, typer.Option(help="What it learns from: a loader, or a function.")] = None,
    data: Annotated[str | None, typer.Option(help="What it is validated on, the same way.")] = None,
    loss: Loss = None,
    optimizer: Annotated[str | None, typer.Option(help="AdamW (if left out), 'SGD(lr=0.1)', pkg.mod:name.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="'CosineAnnealingLR(T_max=10)', pkg.mod:name.")] = None,
    scheduler_per: Annotated[
        Literal["epoch", "batch"] | None, typer.Option(help="After what the scheduler makes a step; epoch if left out.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="10 if left out.")] = None,
    early_stopping: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many epochs without a lower loss.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Keeps history.jsonl, best.pt and best.last.pt; 'run' if left out.")
    ] = None,
    resume: Annotated[bool | None, typer.Option("--resume", help="Go on with the run in the folder.")] = None,
    title: Title = None,
    task: Task = None,
    class_names: ClassNames = None,
    slices: Slices = None,
    device: Device = None,
    max_batches: MaxBatches = None,
    threshold: Threshold = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=MAX_SEED, help="Of the initialisation, the data and the training; 0 if left out."),
    ] = None,
    strict: Strict = None,
    templates: Templates = None,
    sidecar_css: SidecarCss = None,
    lang: Lang = None,
    font: Font = None,
    output: Out = None,
) -> int:
    """Train a model, and write a report about it with the weights of its best epoch.

    What is not given is taken from the settings: the file named, reportgen.toml, or [tool.reportgen] in pyproject.toml.
    """
    from .. import settings

    given = settings.load(config, settings_of({k: v for k, v in context.params.items() if k != "config"}))
    paths = checked([Path(path) for path in given.output], given.page)
    _check(given)
    report = _trained(given)
    written(report, paths, given.page, given.options.language)
    return strictly(report, strict=given.strict)


def _check(given: Settings) -> None:
    """Refuse what cannot be trained, before anything heavy is imported."""
    from ..health.policy import policy_of

    policy_of(given.options.rules)
    for name, what in _NEEDED.items():
        if getattr(given, name) is None:
            flag = "--" + name.replace("_", "-")
            raise OptionError(f"Training needs {what}.", hint=f"Give it as {flag}, or as {name} in the settings.")
    if given.train.epochs < 1:
        raise OptionError(f"{given.train.epochs} epochs are no training.", hint="Expected 1 or more.")
    folder = Path(given.train.folder)
    if not given.train.resume and any((folder / name).exists() for name in (LOG, BEST)):
        raise OptionError(
            f"The folder {folder} holds a run already.", hint="Go on with it by --resume, or name another --folder."
        )


class _Parts(NamedTuple):
    model: nn.Module
    train_data: Iterable[Any]
    data: Iterable[Any] | None
    loss: Callable[[Any, Any], Any]
    optimizer: Optimizer
    scheduler: Any


def _made(given: Settings) -> _Parts:
    """Make what a training is made of, with the seed set before anything is drawn."""
    from torch import nn

    from ..subject import checkpoint, specs
    from ..training.keep import seed_all

    spec = specs.spec_of
    seed_all(given.options.seed)
    model = specs.model_of(spec(given.model or ""))
    if given.checkpoint is not None:
        checkpoint.load_into(model, checkpoint.read(Path(given.checkpoint), given.options.allow_globals))
    loss = specs.loss_of(spec(given.loss or "", "torch.nn"))
    if given.options.device is not None:
        model = specs.moved(model, given.options.device)
        if isinstance(loss, nn.Module):
            specs.moved(loss, given.options.device)
    optimizer = specs.optimizer_of(spec(given.train.optimizer, "torch.optim"), model)
    scheduler = None
    if given.train.scheduler is not None:
        scheduler = specs.scheduler_of(spec(given.train.scheduler, "torch.optim.lr_scheduler"), optimizer)
    train_data = specs.data_of(spec(given.train_data or ""))
    data = None if given.data is None else specs.data_of(spec(given.data))
    return _Parts(model, train_data, data, loss, optimizer, scheduler)


def _trained(given: Settings) -> Report:
    """Train, and examine the best weights."""
    with interrupts_kept():
        import msgspec

        from ..pipeline import examine
        from ..subject import checkpoint
        from ..training.fit import fit

    made, folder, plan = _made(given), Path(given.train.folder), given.train
    with _interruption_told(folder):
        history = fit(
            made.model,
            made.train_data,
            made.data,
            loss=made.loss,
            optimizer=made.optimizer,
            epochs=plan.epochs,
            scheduler=made.scheduler,
            scheduler_per=plan.scheduler_per,
            early_stopping=plan.early_stopping,
            checkpoint=folder / BEST,
            resume=plan.resume,
            log=folder / LOG,
            seed=given.options.seed,
            hyperparameters=_told(given),
        )
    say(f"trained {history.epochs} epochs, {history.steps} steps; the run is in {folder}")
    told = sources(given) | {"history": near(str(folder / LOG))}
    if (folder / BEST).exists():  # there is none where no epoch had a finite loss
        checkpoint.load_into(made.model, checkpoint.read(folder / BEST))
        told["checkpoint"] = near(str(folder / BEST))
    report = examine(
        made.model,
        made.data,
        train_data=made.train_data,
        loss=made.loss,
        optimizer=made.optimizer,
        history=history,
        options=given.options,
    )
    return msgspec.structs.replace(
        report, meta=msgspec.structs.replace(report.meta, sources=report.meta.sources | told)
    )


@contextmanager
def _interruption_told(folder: Path) -> Iterator[None]:
    """Say where a run that was broken off lies, and turn what the user's code raises in it into one line."""
    try:
        yield
    except KeyboardInterrupt:
        if (folder / LOG).exists():
            print(f"\nreportgen: the run so far is in {folder}; --resume goes on with it", file=sys.stderr)
        raise
    except ReportgenError:
        _leave_no_empty_run(folder)
        raise
    except Exception as error:
        _leave_no_empty_run(folder)
        raise TrainingError(
            f"Training broke off: {one_line(error)}.",
            hint=f"REPORTGEN_TRACEBACK=1 shows where; what was logged is in {folder / LOG}.",
        ) from error


def _leave_no_empty_run(folder: Path) -> None:
    """Take away the log of a run that broke off before its first step: it would stand in the way of the next try."""
    from ..training.journal import read_journal

    log = folder / LOG
    try:
        if log.exists() and not (folder / BEST).exists() and read_journal(log).steps == 0:
            log.unlink()
            folder.rmdir()
    except (OSError, ReportgenError):  # what else lies there, or cannot be read, stays
        pass


def _told(given: Settings) -> dict[str, Any]:
    """Return the settings that belong to the run."""
    held: dict[str, Any] = {
        "epochs": given.train.epochs,
        "seed": given.options.seed,
        "early_stopping": given.train.early_stopping,
    }
    if given.train.scheduler is not None:
        held["scheduler"] = (
            given.train.scheduler if isinstance(given.train.scheduler, str) else str(given.train.scheduler)
        )
    return {name: value for name, value in held.items() if value is not None}


@app.command()
def demo(
    name: Annotated[str, typer.Argument(help="digits or iris")] = "digits",
    output: Out = None,
    seed: Annotated[
        int, typer.Option(min=0, max=MAX_SEED, help="Of the split, the initialisation and the order of the batches.")
    ] = 0,
    lang: Lang = None,
    font: Font = None,
) -> None:
    """Train a small real model and write a report about it (report.html and report.json unless told otherwise)."""
    look, language = presentation(lang=lang, font=font)
    paths = checked(output, look)
    with interrupts_kept():
        import torch

        from ..options import Options
        from ..pipeline import examine
        from ..subject.demos import build
        from ..training.fit import fit

    torch.set_num_threads(1)  # tensors this small gain nothing from more, and lose much beside a busy neighbour
    task = build(name, seed)
    history = fit(
        task.model, task.train_loader, task.val_loader, loss=task.loss, optimizer=task.optimizer, epochs=task.epochs
    )
    options = Options(title=task.title, class_names=task.class_names, seed=seed, language=language or "en")
    report = examine(
        task.model,
        task.val_loader,
        train_data=task.train_loader,
        loss=task.loss,
        optimizer=task.optimizer,
        history=history,
        options=options,
    )
    written(report, paths, look, language)
