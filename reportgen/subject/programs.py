"""Programs in files: ``torchscript:model.pt`` and ``export:model.pt2``.

Such a file is a program, and to examine it is to run it. So it is never taken for one by its content alone: who names
it says in front what it is.
"""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path

import torch

from ..errors import TargetError, one_line
from .wrappers import ExportedProgram

FORMS = {"torchscript": "constants.pkl", "export": "archive_format"}
"""What is written before the colon, and the entry of the archive that tells."""


def is_program(target: str) -> bool:
    """Tell whether a target names a program in a file."""
    return target.partition(":")[0] in FORMS


def load(target: str) -> torch.nn.Module | ExportedProgram:
    """Read the program that a target names, onto the CPU."""
    form, _, name = target.partition(":")
    path = Path(name)
    _check_archive(path, form)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the age of TorchScript; nothing to tell the reader
            if form == "export":
                return torch.export.load(path)
            script: torch.nn.Module = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
            return script
    except Exception as error:  # bytes that nobody vouches for: the reader may fail in any way
        raise TargetError(
            f"{path} cannot be loaded: {one_line(error)}", hint="Save it anew with this torch."
        ) from error


def _check_archive(path: Path, form: str) -> None:
    made = {"torchscript": "torch.jit.save", "export": "torch.export.save"}
    try:
        with zipfile.ZipFile(path) as archive:
            names = {entry.partition("/")[2] for entry in archive.namelist()}
    except FileNotFoundError as error:
        raise TargetError(f"{path} does not exist; expected a file that {made[form]} wrote.") from error
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise TargetError(f"{path} is no file that {made[form]} wrote: {one_line(error)}.") from error
    if FORMS[form] in names:
        return
    other = next((kind for kind, entry in FORMS.items() if entry in names), None)
    hint = f"Write {other}:{path}." if other else "A file of weights alone is named without a word before it."
    raise TargetError(f"{path} is no file that {made[form]} wrote.", hint=hint)
