"""The commands; the only module that prints. What needs torch is imported inside the command that needs it."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from .errors import OptionError, OutputError, ReportgenError, one_line

if TYPE_CHECKING:
    from .document.facts import Report

app = typer.Typer(
    name="reportgen",
    help="Examine a PyTorch model and write one standalone report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Out = Annotated[
    list[Path] | None,
    typer.Option("-o", "--output", help="Where to write; the suffix chooses: .html .pdf .json .md .xml. Repeatable."),
]
Level = Literal["info", "warning", "error"]

WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
MAX_SEED = 2**32 - 1
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
DEFAULT_OUTPUT = [Path("report.html"), Path("report.json")]


def main() -> None:
    """Run the command line: every foreseen error is one line on standard error, and an exit code."""
    try:
        status = app(standalone_mode=False)
    except ReportgenError as error:
        print(f"reportgen: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except Exception as error:
        # typer's own errors about the command line bring their message and their exit code
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):
            print(f"reportgen: {' '.join(error.format_message().split())}", file=sys.stderr)
            sys.exit(error.exit_code)
        if os.environ.get("REPORTGEN_TRACEBACK"):
            raise
        told = "this should not happen; REPORTGEN_TRACEBACK=1 shows where"
        print(f"reportgen: {one_line(error)} ({told})", file=sys.stderr)
        sys.exit(2)
    if status == INTERRUPTED:
        print("\nreportgen: interrupted; nothing more was written", file=sys.stderr)
    sys.exit(status if isinstance(status, int) else 0)


@app.command()
def demo(
    name: Annotated[str, typer.Argument(help="digits or iris")] = "digits",
    output: Out = None,
    seed: Annotated[
        int, typer.Option(min=0, max=MAX_SEED, help="Of the split, the initialisation and the order of the batches.")
    ] = 0,
) -> None:
    """Train a small real model and write a report about it (report.html and report.json unless told otherwise)."""
    paths = _checked(output)
    with _interrupts_kept():
        import torch

        from .options import Options
        from .pipeline import examine
        from .subject.demos import build
        from .training.fit import fit

    torch.set_num_threads(1)  # tensors this small gain nothing from more, and lose much beside a busy neighbour
    task = build(name, seed)
    history = fit(
        task.model, task.train_loader, task.val_loader, loss=task.loss, optimizer=task.optimizer, epochs=task.epochs
    )
    options = Options(title=task.title, class_names=task.class_names, seed=seed)
    report = examine(
        task.model,
        task.val_loader,
        train_data=task.train_loader,
        loss=task.loss,
        optimizer=task.optimizer,
        history=history,
        options=options,
    )
    _write(report, paths)


@app.command()
def examine(
    model: Annotated[str, typer.Argument(help="pkg.mod:name, file.py:name, torchvision:name, or a weights file")],
    checkpoint: Annotated[Path | None, typer.Option(help="Weights to load into the model.")] = None,
    data: Annotated[str | None, typer.Option(help="A loader, or a function that makes one: pkg.mod:name.")] = None,
    train_data: Annotated[str | None, typer.Option(help="The same for the training data.")] = None,
    loss: Annotated[str | None, typer.Option(help="The loss: torch.nn:CrossEntropyLoss, pkg.mod:name.")] = None,
    input_size: Annotated[
        str | None, typer.Option(help="Shape of one sample, when there are no data: 3,224,224.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Of the report.")] = None,
    task: Annotated[str | None, typer.Option(help="multiclass, binary or regression; found out if left out.")] = None,
    class_names: Annotated[str | None, typer.Option(help="Comma-separated, in the order of the indices.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; where the model is if left out.")] = None,
    max_batches: Annotated[int | None, typer.Option(min=1, help="Read so many batches at most.")] = None,
    threshold: Annotated[list[str] | None, typer.Option(help="Set a threshold: name=number. Repeatable.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Of noise inputs and random layers.")] = 0,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 when a part failed to be measured.")] = False,
    output: Out = None,
) -> int:
    """Load a model, probe it, and write a report about it."""
    paths = _checked(output)
    settings = {
        "title": title,
        "task": task,
        "class_names": [part.strip() for part in class_names.split(",")] if class_names else None,
        "device": device,
        "input_size": _sizes(input_size),
        "max_batches": max_batches,
        "thresholds": _thresholds(threshold or []),
        "seed": seed,
    }
    report = _examined(_Targets(model, checkpoint, data, train_data, loss), settings)
    _write(report, paths)
    failed = [row.part for row in report.coverage if row.failed]
    if strict and failed:
        print(f"reportgen: could not be measured in full: {', '.join(failed)}", file=sys.stderr)
        return 3
    return 0


@app.command()
def render(report: Annotated[Path, typer.Argument(help="a report.json")], output: Out = None) -> None:
    """Write a report.json in other formats, report.html unless told otherwise. Needs no torch."""
    from .document.codec import read

    paths = _checked(output or [report.with_suffix(".html")])
    _write(read(report), paths)


@app.command()
def check(
    report: Annotated[Path, typer.Argument(help="a report.json")],
    fail_on: Annotated[Level, typer.Option(help="Exit with 1 when a diagnosis is at least so severe.")] = "warning",
) -> int:
    """Gate a build: exit with 1 when the report holds a diagnosis of at least that severity. Needs no torch."""
    from .document.codec import read
    from .document.facts import Severity
    from .health.gate import offending
    from .page.formats import name
    from .page.wording import summary

    document = read(report)
    hits = offending(document, Severity(fail_on))
    for diagnosis in hits:
        # a layer's name comes from outside and must not steer the terminal
        where = name(diagnosis.subject)
        _say(f"{diagnosis.severity:8} {diagnosis.cause:24} {where:24} {summary(diagnosis)}")
    others = len(document.diagnoses) - len(hits)
    _say(f"{len(hits)} of severity {fail_on} or above, {others} below, in {report}")
    return 1 if hits else 0


@app.command()
def rules(
    rule: Annotated[str | None, typer.Argument(help="The id of a rule; all of them if left out.")] = None,
) -> None:
    """List what is tested, or say of one rule what it measures, from which source, and when it is wrong."""
    import difflib
    import inspect

    from .health.rules import RULES

    if rule is None:
        for name, function in RULES.items():
            _say(f"{name:26} {(inspect.getdoc(function) or '').splitlines()[0]}")
    elif rule in RULES:
        _say(f"{rule}\n\n{inspect.getdoc(RULES[rule])}")
    else:
        near = difflib.get_close_matches(rule, RULES) or list(RULES)
        raise OptionError(f"There is no rule named {rule!r}.", hint=f"Did you mean {', '.join(near)}?")


@app.command()
def schema() -> None:
    """Print the JSON Schema of report.json."""
    from .document.codec import schema as text

    _say(text().decode().rstrip())


class _Targets(NamedTuple):
    model: str
    checkpoint: Path | None
    data: str | None
    train_data: str | None
    loss: str | None

    def sources(self) -> dict[str, str]:
        return {name: str(value) for name, value in self._asdict().items() if value is not None}


def _examined(targets: _Targets, settings: dict[str, Any]) -> Report:
    """Resolve every target, so that a wrong one is told before any work, and examine."""
    import msgspec

    from .options import Options

    try:
        options = msgspec.convert(settings, Options)
    except msgspec.ValidationError as error:
        raise OptionError(f"A setting has a value that it cannot have: {error}.") from None
    with _interrupts_kept():
        from .pipeline import examine
        from .subject import checkpoint, data, model

    if _is_weights_file(targets.model):
        return examine(Path(targets.model), options=options)
    module = model.load_model(targets.model)
    if targets.checkpoint is not None:
        checkpoint.load_into(module, checkpoint.read(targets.checkpoint))
    report = examine(
        module,
        None if targets.data is None else data.load_data(targets.data),
        train_data=None if targets.train_data is None else data.load_data(targets.train_data),
        loss=None if targets.loss is None else model.load_loss(targets.loss),
        options=options,
    )
    return msgspec.structs.replace(report, meta=msgspec.structs.replace(report.meta, sources=targets.sources()))


def _is_weights_file(name: str) -> bool:
    """Tell a file from an import target: a target has a colon before its name."""
    return Path(name).is_file() or (":" not in name and Path(name).suffix in WEIGHT_SUFFIXES)


def _sizes(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.replace("x", ",").strip("()[] ").split(",")]
    except ValueError:
        raise OptionError(f"Input size {text!r} is no list of numbers.", hint="Expected such as 3,224,224.") from None


def _thresholds(pairs: list[str]) -> dict[str, float]:
    table = {}
    for pair in pairs:
        name, _, number = pair.partition("=")
        try:
            table[name.strip()] = float(number)
        except ValueError:
            raise OptionError(f"Threshold {pair!r} has no number.", hint="Expected name=number.") from None
    return table


def _checked(output: list[Path] | None) -> list[Path]:
    """Refuse what cannot be written before the work, not after it."""
    from .render.write import check_path

    paths = output or DEFAULT_OUTPUT
    for path in paths:
        check_path(path)
    return paths


def _write(report: Report, paths: list[Path]) -> None:
    from .render.write import write

    for path in paths:
        write(report, path)
    for path in paths:
        _say(f"wrote {path}")
    counts = Counter(d.severity for d in report.diagnoses)
    told = ", ".join(f"{counts[level]} {level}" for level in sorted(counts, key=lambda s: -s.rank))
    _say(f"verdict: {told or 'nothing found'}")


def _say(text: str) -> None:
    """Print a line; a reader that has gone away is no failure of the work."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # from here on into nothing, so that closing it at exit does not fail either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputError(f"Cannot write to standard output: {error.strerror}.") from None


@contextmanager
def _interrupts_kept() -> Iterator[None]:
    """Hold Ctrl-C back while libraries are imported: some swallow it there, and the user would wait in vain."""
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if seen:
        raise KeyboardInterrupt
