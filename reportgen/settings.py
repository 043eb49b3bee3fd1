"""Settings of the commands: flags first, then a TOML file: the one named, reportgen.toml, or pyproject.toml.

A file that is named, or ``reportgen.toml`` in the current directory, holds the settings at its top level;
``pyproject.toml`` holds them in ``[tool.reportgen]``. Paths in a file are relative to that file, and so is
``file.py:name``; modules are sought from the current directory. A key that is not known is an error.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from .errors import OptionError, one_line
from .look import Look
from .options import Options

Target = str | dict[str, Any]
"""An import target, ``pkg.mod:name`` or ``pkg.mod:name(width=64)``, or a table of ``target`` and its arguments."""

FILES = ("reportgen.toml", "pyproject.toml")


class TrainSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[train]``."""

    epochs: int = 10
    optimizer: Target = "torch.optim.AdamW"
    scheduler: Target | None = None
    scheduler_per: Literal["epoch", "batch"] = "epoch"
    """After what the scheduler makes a step."""
    early_stopping: int | None = None
    """Stop after so many epochs without a lower loss: of validation, where there are data for it."""
    folder: str = "run"
    """Where the run keeps its log (history.jsonl), its best weights (best.pt) and its last state (best.last.pt)."""
    resume: bool = False
    """Go on with the run in the folder."""


class CheckSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[check]``."""

    fail_on: Literal["info", "warning", "error"] = "warning"


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that a file may say. ``Options`` stand at the same level, and in ``options`` once they are read."""

    model: Target | None = None
    checkpoint: str | None = None
    """Weights to load into the model, or to examine alone."""
    data: Target | None = None
    """What is evaluated: the validation data."""
    train_data: Target | None = None
    loss: Target | None = None
    history: str | None = None
    history_names: dict[str, str] = {}
    """Names of the history's scalars where the rules are wrong: theirs -> ours."""
    output: list[str] = []
    strict: bool = False
    train: TrainSettings = TrainSettings()
    check: CheckSettings = CheckSettings()
    page: Look = Look()
    """The table ``[page]``: how a report looks."""
    options: Options = Options()


_OWN = tuple(name for name in Settings.__struct_fields__ if name != "options")
_OPTIONS = Options.__struct_fields__
_PATHS = ("checkpoint", "history", "tokens")
_TARGETS = ("model", "data", "train_data", "loss")


def load(config: Path | None, flags: Mapping[str, Any], *, without: tuple[str, ...] = ()) -> Settings:
    """Return the settings of a file, overridden by the flags that are not None; tables are merged key by key.

    Without ``config`` the file is sought in the current directory; ``without`` names what is then left aside in it.
    """
    path, found = _read(config) if config is not None else _discovered()
    if config is None:
        found = {key: value for key, value in found.items() if key not in without}
    where = "the command line" if path is None else str(path)
    _check_keys(found, where)
    base = Path() if path is None else path.parent
    return _typed(_merged(_placed(found, base), flags), where)


def _discovered() -> tuple[Path | None, dict[str, Any]]:
    for name in FILES:
        if Path(name).is_file():
            path, found = _read(Path(name))
            if found or name == "reportgen.toml":
                return path, found
    return None, {}


def _read(path: Path) -> tuple[Path, dict[str, Any]]:
    try:
        with path.open("rb") as file:
            document = tomllib.load(file)
    except FileNotFoundError:
        raise OptionError(f"{path} does not exist.", hint="Expected a settings file in TOML.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"{path} is no TOML: {one_line(error)}.") from None
    except OSError as error:
        raise OptionError(f"{path} cannot be read: {error.strerror}.") from None
    if path.name != "pyproject.toml":
        return path, document
    found = document.get("tool", {})
    found = found.get("reportgen", {}) if isinstance(found, dict) else {}
    return path, found if isinstance(found, dict) else {}


def _check_keys(found: Mapping[str, Any], where: str) -> None:
    """Refuse a key that means nothing, and name the nearest that does."""
    known = {"": (*_OWN, *_OPTIONS), "train": TrainSettings.__struct_fields__, "check": CheckSettings.__struct_fields__}
    known["page"] = Look.__struct_fields__
    for table, names in known.items():
        held = found if not table else found.get(table, {})
        for key in held if isinstance(held, dict) else ():
            if key not in names:
                place = f" in [{table}]" if table else ""
                raise OptionError(f"{where}: there is no setting {key!r}{place}.", hint=_nearest(key, names, known))
    thresholds = found.get("thresholds", {})
    if not isinstance(thresholds, dict):
        raise OptionError(f"{where}: thresholds is no table.", hint="Expected [thresholds] with name = number.")


def _nearest(key: str, names: tuple[str, ...], known: Mapping[str, tuple[str, ...]]) -> str:
    near = difflib.get_close_matches(key, names, n=1)
    if near:
        return f"Did you mean {near[0]!r}?"
    elsewhere = next((table for table, others in known.items() if key in others), None)
    if elsewhere is not None:
        return f"It belongs into [{elsewhere}]." if elsewhere else "It belongs to the top level, above all tables."
    return f"Known are {', '.join(names)}."


def _placed(found: dict[str, Any], base: Path) -> dict[str, Any]:
    """Return the settings with every path taken from the folder of their file."""
    out = dict(found)
    for key in _PATHS:
        if isinstance(out.get(key), str):
            out[key] = str(base / out[key])
    for key in _TARGETS:
        if key in out:
            out[key] = _target_from(out[key], base)
    if isinstance(out.get("earlier"), list):
        out["earlier"] = [str(base / path) if isinstance(path, str) else path for path in out["earlier"]]
    output = [out["output"]] if isinstance(out.get("output"), str) else out.get("output")
    if isinstance(output, list):
        out["output"] = [str(base / path) if isinstance(path, str) else path for path in output]
    if isinstance(out.get("train"), dict):
        out["train"] = _train_placed(out["train"], base)
    if isinstance(page := out.get("page"), dict):
        files = {key: str(base / page[key]) for key in ("logo", "templates", "font") if isinstance(page.get(key), str)}
        out["page"] = page | files
    return out


def _train_placed(train: dict[str, Any], base: Path) -> dict[str, Any]:
    out = {
        key: _target_from(value, base) if key in ("optimizer", "scheduler") else value for key, value in train.items()
    }
    if isinstance(out.get("folder"), str):
        out["folder"] = str(base / out["folder"])
    return out


def _target_from(target: Any, base: Path) -> Any:
    if isinstance(target, dict) and isinstance(target.get("target"), str):
        return target | {"target": _target_from(target["target"], base)}
    if isinstance(target, str):
        file, colon, rest = target.partition(".py:")
        # a weights file, or a file of Python; all else is found by its name
        if colon:
            return f"{base / file}.py:{rest}"
        if ":" not in target and Path(base, target).exists():
            return str(base / target)
    return target


def _merged(found: dict[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(found)
    for key, value in flags.items():
        if isinstance(value, Mapping):
            held = out.get(key)
            out[key] = _merged(held if isinstance(held, dict) else {}, value)
        elif value is not None:
            out[key] = value
    return out


def _typed(values: dict[str, Any], where: str) -> Settings:
    own = {key: value for key, value in values.items() if key in _OWN}
    options = {key: value for key, value in values.items() if key in _OPTIONS}
    try:
        settings = msgspec.convert(own, Settings)
        return msgspec.structs.replace(settings, options=msgspec.convert(options, Options))
    except msgspec.ValidationError as error:
        message = f"{where}: a setting has a value that it cannot have: {error}.{_choices(str(error))}"
        raise OptionError(message) from None


def _choices(message: str) -> str:
    """Name the values that a setting may have, where they are a few words."""
    place = re.search(r"Invalid enum value .* at `\$\.(\w+)`", message)
    if place is None:
        return ""
    hint = (get_type_hints(Settings) | get_type_hints(Options)).get(place[1])
    words = [word for part in (hint, *get_args(hint)) if get_origin(part) is Literal for word in get_args(part)]
    return f" Expected one of: {', '.join(map(str, words))}." if words else ""
