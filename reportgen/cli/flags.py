"""Flags -> settings: what was given on the command line, under the names and in the form that a settings file has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import OptionError

TRAINING = ("optimizer", "scheduler", "scheduler_per", "epochs", "early_stopping", "folder", "resume")
PAGE = ("templates", "sidecar_css", "font")
_SETTINGS = {
    "history_name": "history_names",
    "allow_global": "allow_globals",
    "lang": "language",
    "subject": "model",
}


def settings_of(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that the flags of a command mean; a flag that was not given is None. Raises OptionError."""
    out: dict[str, Any] = {"train": {}} if "epochs" in flags else {}
    for flag, value in flags.items():
        read = _READERS.get(flag, _plain)
        if flag == "threshold":
            out |= read(value) if value is not None else {}
            continue
        table = out["train"] if flag in TRAINING else out.setdefault("page", {}) if flag in PAGE else out
        table[_SETTINGS.get(flag, flag)] = read(value) if value is not None else None
    return out


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value] or None
    return str(value) if isinstance(value, Path) else value


def _class_names(text: str) -> list[str] | None:
    return [part.strip() for part in text.split(",")] if text else None


def _thresholds(pairs: list[str]) -> dict[str, Any]:
    """Read ``name=number``, which holds for all rules, and ``rule.name=number``, which holds for one."""
    table: dict[str, float] = {}
    rules: dict[str, dict[str, float]] = {}
    for pair in pairs:
        name, _, number = pair.partition("=")
        rule, dot, own = name.strip().rpartition(".")
        try:
            (rules.setdefault(rule, {}) if dot else table)[own] = float(number)
        except ValueError:
            hint = "Expected rule.name=number, such as dead-relu.warning=0.6."
            raise OptionError(f"Threshold {pair!r} has no number.", hint=hint) from None
    return {"thresholds": table or None, "rules": rules or None}


def _names(pairs: list[str]) -> dict[str, str] | None:
    table = {}
    for pair in pairs:
        theirs, sign, ours = pair.rpartition("=")
        if not (theirs and sign and ours.strip()):
            raise OptionError(f"History name {pair!r} names nothing.", hint="Expected such as my_metric=val_accuracy.")
        table[theirs.strip()] = ours.strip()
    return table or None


def _task(text: str) -> str | dict[str, str] | None:
    """Read one task, or ``head=task,head=task`` for a model of several heads."""
    if "=" not in text:
        return text or None
    pairs = [pair.partition("=") for pair in text.split(",")]
    return {head.strip(): task.strip() for head, _, task in pairs}


def _sizes(text: str) -> list[int]:
    try:
        return [int(part) for part in text.replace("x", ",").strip("()[] ").split(",")]
    except ValueError:
        raise OptionError(f"Input size {text!r} is no list of numbers.", hint="Expected such as 3,224,224.") from None


_READERS: dict[str, Callable[[Any], Any]] = {
    "class_names": _class_names,
    "threshold": _thresholds,
    "history_name": _names,
    "input_size": _sizes,
    "task": _task,
    "slices": _class_names,
}
