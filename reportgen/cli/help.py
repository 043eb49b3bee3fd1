"""The help of the commands in another language than English, which the parser speaks itself.

The parser wraps lines by characters, of which Chinese ones are two columns wide and stand without spaces; so the help
is set here, from the parser's own commands and parameters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from ..page.language import N_, _, speaking, term
from ..page.lines import wrapped

WIDTH = 80  # columns of a line
_MARGIN = 24  # columns of options that stand on one line with their words
# what the parser puts around the words of an option
_AROUND = (
    (re.compile(r"\[default: (?P<value>[^;\]]*)"), N_("[default: {value}")),
    (re.compile(r"\[required"), N_("[required")),
)


def words(app: Any) -> Iterator[str]:
    """Yield every text of the help that is to be translated."""
    for command, context in _commands(app):
        yield command.help or ""
        yield from (getattr(p, "help", None) or "" for p in command.get_params(context))


def told(app: Any, arguments: Sequence[str], language: str) -> str:
    """Return the help that a command line asks for: of the command it names, or of the whole."""
    named = {command.name: (command, context) for command, context in _commands(app)}
    first = next((a for a in arguments if a in named), None)
    command, context = named[first] if first is not None else next(iter(_commands(app)))
    with speaking(language):
        return "\n".join(_help(command, context))


def _commands(app: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the whole command and those beneath it, each with the context in which the parser describes it."""
    import typer

    whole: Any = typer.main.get_command(app)
    top = typer.Context(whole, info_name="reportgen")
    yield whole, top
    for name in whole.list_commands(top):
        command = whole.get_command(top, name)
        yield command, typer.Context(command, info_name=name, parent=top)


def _help(command: Any, context: Any) -> Iterator[str]:
    usage = command.get_usage(context).removeprefix("Usage: ")
    for ours, theirs in ((_("[OPTIONS]"), "[OPTIONS]"), (_("COMMAND [ARGS]..."), "COMMAND [ARGS]...")):
        usage = usage.replace(theirs, ours)
    yield _("Usage: {text}").format(text=usage)
    for paragraph in term(command.help or "").split("\n\n"):
        yield ""
        yield from ("  " + line for line in wrapped(paragraph, WIDTH - 2))
    records = [(p.param_type_name, *_record(p, context)) for p in command.get_params(context) if not p.hidden]
    yield from _listed(_("Arguments:"), [r[1:] for r in records if r[0] == "argument"])
    yield from _listed(_("Options:"), [r[1:] for r in records if r[0] == "option"])
    beneath = [command.get_command(context, name) for name in getattr(command, "commands", {})]
    yield from _listed(_("Commands:"), [(c.name, term(c.help or "").partition("\n\n")[0]) for c in beneath])


def _record(parameter: Any, context: Any) -> tuple[str, str]:
    """Return how a parameter is written, and its words with what the parser adds to them."""
    written, text = parameter.get_help_record(context) or (parameter.name, "")
    said = getattr(parameter, "help", None) or ""
    added = text.removeprefix(said)
    for pattern, ours in _AROUND:
        found = pattern.search(added)
        if found is not None:
            added = added.replace(found.group(), _(ours).format(**found.groupdict()))
    return written, term(said) + added


def _listed(title: str, rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    if not rows:
        return
    yield ""
    yield title
    left = min(_MARGIN, max(len(name) for name, _text in rows)) + 4
    for name, text in rows:
        lines = wrapped(text, WIDTH - left)
        if len(name) > left - 4:
            yield "  " + name
            yield from (" " * left + line for line in lines)
        else:
            yield f"  {name:<{left - 2}}{lines[0]}"
            yield from (" " * left + line for line in lines[1:])
