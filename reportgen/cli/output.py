"""What the commands share: where they write, how they speak, and the options that several of them have."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import OutputError
from ..options import MAX_SEED as MAX_SEED

if TYPE_CHECKING:
    from ..document.facts import Report, Severity
    from ..look import Look

DEFAULT_OUTPUT = [Path("report.html"), Path("report.json")]

Out = Annotated[
    list[Path] | None,
    typer.Option("-o", "--output", help="Where to write; the suffix chooses: .html .pdf .json .md .xml. Repeatable."),
]
Data = Annotated[str | None, typer.Option(help="A loader, or a function that makes one: pkg.mod:name.")]
TrainData = Annotated[str | None, typer.Option(help="The same for the training data.")]
Loss = Annotated[str | None, typer.Option(help="The loss: CrossEntropyLoss, torch.nn.MSELoss, pkg.mod:name.")]
Title = Annotated[str | None, typer.Option(help="Of the report.")]
Task = Annotated[
    str | None,
    typer.Option(
        help="multiclass, binary, multilabel, regression, tokens or segmentation; by head: kind=multiclass,size="
        "regression. Found out if left out."
    ),
]
ClassNames = Annotated[str | None, typer.Option(help="Comma-separated, in the order of the indices.")]
Slices = Annotated[
    str | None, typer.Option(help="Comma-separated entries of a batch by which scores are told: site,device.")
]
InferenceBudget = Annotated[
    float | None,
    typer.Option(
        min=0, help="Seconds for timing forward passes by batch size; two seconds at most without it, 0 for none."
    ),
]
ExportBudget = Annotated[
    float | None, typer.Option(min=0, help="Seconds after which no further export is tried; none is tried without.")
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, ...; where the model is if left out.")]
MaxBatches = Annotated[int | None, typer.Option(min=1, help="Read so many batches at most.")]
Threshold = Annotated[list[str] | None, typer.Option(help="Set a threshold: dead-relu.warning=0.6. Repeatable.")]
Strict = Annotated[bool | None, typer.Option("--strict", help="Exit with 3 when a part failed to be measured.")]
Templates = Annotated[
    Path | None, typer.Option(help="A folder with a page.html.j2 that overrides blocks of the page, or an extra.css.")
]
SidecarCss = Annotated[
    bool | None,
    typer.Option(
        "--sidecar-css", help="Put style sheet and images beside an HTML page, for servers that forbid them inside."
    ),
]
Lang = Annotated[Literal["en", "zh"] | None, typer.Option("--lang", help="Language of the report: en or zh (Chinese).")]
Font = Annotated[
    Path | None, typer.Option(help="A font file with Chinese characters, for where the system has none to embed.")
]


def checked(output: list[Path] | None, look: Look) -> list[Path]:
    """Refuse what cannot be written before the work, not after it."""
    from ..render.write import check_look, check_path

    paths = output or DEFAULT_OUTPUT
    for path in paths:
        check_path(path)
    check_look(look)
    return paths


def presentation(**flags: Any) -> tuple[Look, Literal["en", "zh"] | None]:
    """Return look and language, from the settings file under what the flags say; None for that of the report."""
    from .. import settings
    from .flags import settings_of

    given = settings.load(None, settings_of(flags))
    usual = flags.get("lang") is None and given.options.language == "en"
    return given.page, None if usual else given.options.language


def written(report: Report, paths: list[Path], look: Look, language: str | None) -> None:
    from ..page.build import spoken
    from ..page.language import _, speaking
    from ..render.write import write

    language = language or spoken(report)
    for path in paths:
        write(report, path, look=look, language=language)
    _tell_of_fonts(report, paths, look, language)
    with speaking(language):
        for path in paths:
            say(_("wrote {path}").format(path=path))
        counts = Counter(d.severity for d in report.diagnoses)
        ranked = sorted(counts, key=lambda s: -s.rank)
        told = _(", ").join(_counted(level, counts[level]) for level in ranked)
        say(_("verdict: {told}").format(told=told or _("nothing found")))


def _counted(level: Severity, n: int) -> str:
    from ..page.language import plural

    if level.value == "error":
        text = plural("{n} error", "{n} errors", n)
    elif level.value == "warning":
        text = plural("{n} warning", "{n} warnings", n)
    else:
        text = plural("{n} observation", "{n} observations", n)
    return text.format(n=n)


def _tell_of_fonts(report: Report, paths: list[Path], look: Look, language: str) -> None:
    """Say on standard error that a page with Chinese characters was written without a font that has them."""
    from ..document.codec import encode
    from ..render import typeface

    shown = any(path.suffix.lower() in (".html", ".htm", ".pdf") for path in paths)
    if not shown or (language == "en" and not typeface.chinese(encode(report).decode())):
        return
    if typeface.found(look.font) is None:
        hint = "Install one, such as fonts-noto-cjk or fonts-wqy-microhei, or give one with --font."
        print(f"reportgen: {typeface.NOTICE} {hint}", file=sys.stderr)


def say(text: str) -> None:
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
def interrupts_kept() -> Iterator[None]:
    """Hold Ctrl-C back while libraries are imported: some swallow it there, and the user would wait in vain."""
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if seen:
        raise KeyboardInterrupt


def strictly(report: Report, *, strict: bool) -> int:
    """Return the exit code: 3 when it is to be strict and a part failed to be measured."""
    failed = [row.part for row in report.coverage if row.failed]
    if strict and failed:
        print(f"reportgen: could not be measured in full: {', '.join(failed)}", file=sys.stderr)
        return 3
    return 0
