"""The command line itself: every command hangs on ``app``, and ``main`` turns what goes wrong into an exit code."""

from __future__ import annotations

import os
import sys
from importlib import metadata
from typing import Annotated

import typer

from ..errors import ReportgenError, one_line

INTERRUPTED = 130  # 128 + SIGINT, as shells have it

app = typer.Typer(
    name="reportgen",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _told_version(asked: bool) -> None:
    if not asked:
        return
    try:
        version = metadata.version("reportgen")
    except metadata.PackageNotFoundError:  # a checkout that is run as it lies
        version = "of a checkout that is not installed"
    print(f"reportgen {version}")
    raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_told_version)
    ] = False,
) -> None:
    """Examine a PyTorch model and write one standalone report."""


def _helped(arguments: list[str]) -> bool:
    """Show the help where it is asked for in another language than the parser speaks."""
    if "--help" not in arguments or "--lang" not in " ".join(arguments):
        return False
    from . import help, usage

    language = usage.language(arguments)
    if language == "en":
        return False
    print(help.told(app, arguments, language))
    return True


def main() -> None:
    """Run the command line: every foreseen error is one line on standard error, and an exit code."""
    arguments = sys.argv[1:] or ["--help"]
    try:
        status = None if _helped(arguments) else app(arguments, standalone_mode=False)
    except ReportgenError as error:
        if error.__cause__ is not None and os.environ.get("REPORTGEN_TRACEBACK"):
            raise
        from . import mishaps, usage

        print(f"reportgen: {mishaps.told(error, usage.language(sys.argv[1:]))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except Exception as error:
        # typer's own errors about the command line bring their message and their exit code
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):
            from . import usage

            print(f"reportgen: {usage.told(error.format_message(), sys.argv[1:])}", file=sys.stderr)
            sys.exit(error.exit_code)
        if os.environ.get("REPORTGEN_TRACEBACK"):
            raise
        told = "this should not happen; REPORTGEN_TRACEBACK=1 shows where"
        print(f"reportgen: {one_line(error)} ({told})", file=sys.stderr)
        sys.exit(2)
    if status == INTERRUPTED:
        print("\nreportgen: interrupted; nothing more was written", file=sys.stderr)
    sys.exit(status if isinstance(status, int) else 0)
