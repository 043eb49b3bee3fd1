"""Files of ``torch.save``: refused by their directory, loaded without running code, checked before anything is read."""

from __future__ import annotations

import importlib
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any

import torch
from torch import Tensor

from ..errors import CheckpointError, OptionError
from .shapes import stored_parts

SAVE_WEIGHTS = (
    "Save the weights alone, torch.save(model.state_dict(), path), "
    "or load the file yourself and examine the model that you built."
)
_REPEATED_BYTES = 1 << 26
"""What views that repeat their storage may claim beyond it, all together: a repeated mask is common, a bomb is not."""
_NEVER = frozenset(
    (
        *("builtins", "ctypes", "importlib", "io", "marshal", "multiprocessing", "nt", "operator", "os", "pickle"),
        *("platform", "posix", "pty", "runpy", "shutil", "signal", "socket", "subprocess", "sys", "tempfile"),
        *("threading", "types", "webbrowser"),
    )
)
"""Modules whose functions do things to the machine: no file of weights has a use for them."""


def load(path: Path, *, mmap: bool, allow: Sequence[str] = (), part: IO[bytes] | None = None) -> Any:
    """Load plain values and tensors; a file that asks for any class besides is refused, never obeyed.

    ``allow``: dotted names of classes or functions that the caller vouches for. ``part``: what to read of the file.
    """
    vouched: list[Any] = [(_resolved(name), name) for name in allow]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(vouched):
            warnings.simplefilter("ignore")  # about the age of what the file uses; nothing to tell the reader
            return torch.load(part or path, weights_only=True, mmap=mmap, map_location="cpu")
    except Exception as error:  # bytes that nobody vouches for: the reader may fail in any way
        names = [name for name in _wanted_globals(path, str(error)) if name not in allow]
        if isinstance(error, UnpicklingError) and names:
            shown = f"{', '.join(names[:5])}{', …' if len(names) > 5 else ''}"
            raise CheckpointError(
                f"{path} needs pickled classes ({shown}), which may run any code; reportgen reads weights only.",
                hint=f"{SAVE_WEIGHTS}{_way_on(names)}",
            ) from error
        raise damaged(path, error) from error


def _way_on(names: list[str]) -> str:
    """Return the flags that let the file through, where it asks for nothing that is never let through."""
    if len(names) > 5 or any(name.partition(".")[0] in _NEVER for name in names):
        return ""
    return f" Or, if you trust the file: {' '.join(f'--allow-global {name}' for name in names)}."


def _resolved(name: str) -> Any:
    """Import what a dotted name means."""
    parts = name.split(".")
    if len(parts) < 2 or parts[0] in _NEVER or not all(part.isidentifier() for part in parts):
        raise OptionError(
            f"{name!r} cannot be allowed in a checkpoint.", hint="Expected a class such as argparse.Namespace."
        )
    for i in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:i]))
        except ImportError:
            continue
        for part in parts[i:]:
            found = getattr(found, part, None)
        if callable(found):
            return found
    raise OptionError(f"{name!r} cannot be imported.", hint="Install the package it is from, or leave it out.")


def _wanted_globals(path: Path, message: str) -> list[str]:
    """Name what a refused file wants to import, the classes of other packages first."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # a damaged or an old file: the loader's message names one
        names = re.findall(r"GLOBAL (\S+)", message)
    return sorted(set(names), key=lambda name: (name.startswith(("torch.", "builtins.", "collections.")), name))


def check_archive(path: Path, part: IO[bytes] | None = None) -> None:
    """Refuse, by its directory alone, a zip archive that ``torch.save`` did not write: a file, or a part of it."""
    try:
        with zipfile.ZipFile(part or path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
        raise damaged(path, error) from error
    names = {entry.filename.partition("/")[2] for entry in entries}
    if "constants.pkl" in names:
        raise CheckpointError(
            f"{path} is a TorchScript archive, which is a program; expected weights.",
            hint=f"To run the program, write torchscript:{path}.",
        )
    if "archive_format" in names:
        raise CheckpointError(
            f"{path} is an exported program; expected weights.", hint=f"To run the program, write export:{path}."
        )
    if "data.pkl" not in names:
        raise CheckpointError(f"{path} is a zip archive that torch.save did not write.", hint=SAVE_WEIGHTS)
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        # torch.save never compresses; a record that unfolds to any size is not worth the risk
        raise CheckpointError(f"{path} holds compressed records, which torch.save does not write.", hint=SAVE_WEIGHTS)


def check_tensors(path: Path, named: Iterable[tuple[str, Tensor]]) -> None:
    """Refuse tensors without data or without a shape, and views that claim far more values than were stored."""
    repeated = 0
    for name, tensor in named:
        if tensor.is_nested:
            raise CheckpointError(
                f"{path}: {name} is a nested tensor, whose rows differ in length; expected weights of one shape.",
                hint="Store its rows under names of their own.",
            )
        if tensor.device.type != "cpu":
            raise CheckpointError(f"{path}: {name} has no data (it was saved on the device {tensor.device.type!r}).")
        for part in stored_parts(tensor):
            claimed, held = part.numel() * part.element_size(), part.untyped_storage().nbytes()
            repeated += max(0, claimed - held)
            if repeated > _REPEATED_BYTES:
                raise CheckpointError(
                    f"{path}: {name} claims {claimed} bytes but its storage holds {held}; expected a file that stores "
                    f"its values.",
                    hint="Make the tensor contiguous before you save it.",
                )
        try:
            _check_sparse(tensor)
        except RuntimeError as error:
            raise CheckpointError(f"{path}: {name} is an invalid sparse tensor: {line(error)}.") from error


def _check_sparse(tensor: Tensor) -> None:
    """Raise RuntimeError for a sparse tensor whose indices lead out of it; loading alone accepts such a tensor.

    Done here and not while loading, because the check reads all indices: those must first be known to be stored.
    """
    if tensor.layout is torch.sparse_coo:
        indices, values = stored_parts(tensor)
        torch.sparse_coo_tensor(indices, values, tensor.shape, check_invariants=True)
    elif tensor.layout is not torch.strided:
        outer, inner, values = stored_parts(tensor)
        torch.sparse_compressed_tensor(outer, inner, values, tensor.shape, layout=tensor.layout, check_invariants=True)


def nested_tensors(value: Any, name: str, depth: int = 0) -> Iterable[tuple[str, Tensor]]:
    """Yield the tensors inside plain containers, such as the state of an optimizer, with the way to each."""
    if isinstance(value, Tensor):
        yield name, value
    elif depth < 8 and isinstance(value, Mapping):
        for key, item in value.items():
            yield from nested_tensors(item, f"{name}.{key}", depth + 1)
    elif depth < 8 and isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from nested_tensors(item, f"{name}.{i}", depth + 1)


def damaged(path: Path, error: Exception) -> CheckpointError:
    """Return the error of a file that cannot be read through."""
    return CheckpointError(f"{path} is damaged or cut short: {line(error)}.", hint="Copy or download it again.")


def line(error: Exception) -> str:
    """Return the first line of an error's message, without its full stop."""
    text = next(iter(str(error).splitlines()), "") or type(error).__name__
    return text[:200].rstrip(". ")
