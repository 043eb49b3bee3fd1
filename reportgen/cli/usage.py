"""What is wrong with a command line, in the language that it asks for: the parser itself speaks English alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from ..options import LANGUAGES
from ..page.language import N_, _, speaking

# what the parser says -> what is said instead; the groups are what was written on the command line;
# typer from 0.29 on has values checked by pydantic, which says it in other words
_SAID = tuple(
    (re.compile(pattern, re.S), text)
    for pattern, text in (
        (r"No such option: (?P<option>\S+) \(Possible options?: (?P<known>.*)\)", N_("No option {option}: {known}?")),
        (r"No such option: (?P<option>\S+?)\.?", N_("No option {option}.")),
        (r"No such command '(?P<name>.*?)'\..*", N_("No command {name}.")),
        (r"Missing command\.?", N_("The command is missing.")),
        (r"Missing (?:argument|parameter) '?(?P<name>.*?)'?\.", N_("The argument {name} is missing.")),
        (r"Missing option '?(?P<name>.*?)'?\.", N_("The option {name} is missing.")),
        (r"Got unexpected extra arguments?(?:\(s\))? \((?P<names>.*)\)", N_("Too many arguments: {names}.")),
        (r"Option '(?P<name>.*)' requires an argument\.", N_("The option {name} wants a value.")),
        (r"Option '(?P<name>.*)' does not take a value\.", N_("The option {name} takes no value.")),
        (r"Invalid value for '?(?P<name>.*?)'?: (?P<why>.*)", N_("The value of {name} does not fit: {why}")),
    )
)
_WHY = tuple(
    (re.compile(pattern, re.S), text)
    for pattern, text in (
        (r"(?:Value error, )?'(?P<value>.*)' is not one of (?P<known>.*)\.", N_("{value} is none of {known}.")),
        (r"Input should be a valid integer.*|'.*' is not a valid int.*", N_("expected a whole number.")),
        (r"Input should be a valid number.*|'.*' is not a valid float.*", N_("expected a number.")),
        (r"\S+ is not in the range (?P<range>\S+?)\.", N_("expected {range}.")),
        (r"Input should be greater than or equal to (?P<limit>.*)", N_("expected {limit} or more.")),
        (r"Input should be greater than (?P<limit>.*)", N_("expected more than {limit}.")),
        (r"Input should be less than or equal to (?P<limit>.*)", N_("expected {limit} or less.")),
        (r"Input should be less than (?P<limit>.*)", N_("expected less than {limit}.")),
    )
)


def language(arguments: Sequence[str]) -> str:
    """Return the language that a command line asks for, whatever else is wrong with it."""
    asked = [b for a, b in pairwise(arguments) if a == "--lang"]
    asked += [a.removeprefix("--lang=") for a in arguments if a.startswith("--lang=")]
    return asked[-1] if asked and asked[-1] in LANGUAGES else "en"


def told(message: str, arguments: Sequence[str]) -> str:
    """Return what the parser says of a command line on one line, in the language asked for."""
    message = " ".join(message.split())
    asked = language(arguments)
    if asked == "en":
        return message.replace(": Value error, ", ": ")  # the parser's own name for what follows
    with speaking(asked):
        return _put(message, _SAID)


def _put(message: str, table: Sequence[tuple[re.Pattern[str], str]]) -> str:
    """Return the words for a message; as it is where there are none."""
    for pattern, text in table:
        found = pattern.fullmatch(message)
        if found is not None:
            parts = found.groupdict()
            if "why" in parts:
                parts["why"] = _put(parts["why"], _WHY)
            return _(text).format(**parts)
    return message
