"""Checks of what a caller hands in: one line that says what it is, and what was expected in its place."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from numbers import Integral, Real

from .errors import OptionError

WHOLE = "a whole number of 1 or more"
PATH = "a path: a text or a pathlib.Path"


def expect(name: str, value: object, fits: bool, expected: str) -> None:
    """Raise OptionError where an argument does not fit."""
    if not fits:
        raise OptionError(f"{name} is {shown(value)}.", hint=f"Expected {expected}.")


def shown(value: object) -> str:
    """Write a value as a reader can tell it: a class by its name, an object by its type, all else as it is written."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if value is None or isinstance(value, (str, int, float, complex, bytes)):
        text = repr(value)
        return text if len(text) <= 60 else f"{text[:60]} ..."
    return f"of type {type(value).__name__}"


def is_whole(value: object, least: int, most: int | None = None) -> bool:
    """Tell whether a value is a whole number in a range; True and False are none."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        return False
    return int(value) >= least and (most is None or int(value) <= most)


def is_number(value: object, least: float = -math.inf) -> bool:
    """Tell whether a value is a finite number, at least so large."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    return least <= float(value) < math.inf


def is_path(value: object) -> bool:
    """Tell whether a value can name a file."""
    return isinstance(value, (str, os.PathLike))


def are_texts(value: object) -> bool:
    """Tell whether a value is a list of texts, and not one text."""
    return isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)


def check_mapping(name: str, value: object, example: str) -> None:
    """Raise OptionError for what is neither None nor a mapping."""
    expect(name, value, value is None or isinstance(value, Mapping), f"a dict such as {example}")


def check_iterable(name: str, value: object, expected: str) -> None:
    """Raise OptionError for what cannot be iterated, or is a text."""
    iterable = isinstance(value, Iterable) or hasattr(value, "__getitem__")
    expect(name, value, iterable and not isinstance(value, (str, bytes)), expected)


def check_loss(loss: object) -> None:
    """Raise OptionError for a loss that is neither None nor a callable of (output, target); a class is none."""
    if isinstance(loss, type):
        raise OptionError(
            f"loss is the class {loss.__name__}, not a loss.", hint=f"Make one of it: loss={loss.__name__}()."
        )
    expected = "a callable of (output, target), such as torch.nn.functional.cross_entropy"
    expect("loss", loss, loss is None or callable(loss), expected)


def check_scheduler(scheduler: object) -> None:
    """Raise OptionError for a scheduler, or a list of them, that has no ``step``."""
    for one in scheduler if isinstance(scheduler, (list, tuple)) else [scheduler]:
        steps = one is None or (callable(getattr(one, "step", None)) and not isinstance(one, type))
        expect("scheduler", one, steps, "an object of torch.optim.lr_scheduler, made with the optimizer")


def check_log(log: object) -> None:
    """Raise OptionError for a log that is neither None nor a path."""
    expect("log", log, log is None or is_path(log), PATH)
