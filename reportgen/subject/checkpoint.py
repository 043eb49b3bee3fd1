"""Reading weights from files, lazily, and without ever running code that a file brings along.

Layouts that are understood: a state dict as it is; a training checkpoint that holds one under a usual key; names with
the prefixes that wrappers add. ``Checkpoint.layout`` says what was found, so that nothing is done behind anyone's back.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import CheckpointError

Scalar = float | int | str

_KEYS = ("model_state_dict", "state_dict", "model", "net", "network", "module")
_AVERAGED_KEYS = ("state_dict_ema", "model_ema")
_NOT_WEIGHTS = re.compile(r"optim|sched|rng|random|scaler", re.IGNORECASE)
_PREFIXES = ("module.", "_orig_mod.", "model.")  # DataParallel, torch.compile, Lightning
_LEGACY_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the pickled number that begins files of torch < 1.6
_REPEATED_BYTES = 1 << 26
"""What views that repeat their storage may claim beyond it, all together: a repeated mask is common, a bomb is not."""

_STRANGERS = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the file itself", "Fetch it with 'git lfs pull'."),
    (b"<", "is an HTML or XML page, perhaps that of a failed download", "Download the file itself."),
    (b"\x89HDF", "is an HDF5 file", "Convert it to safetensors."),
    (b"\x1f\x8b", "is compressed with gzip", "Unpack it."),
)
_SAVE_WEIGHTS = (
    "Save the weights alone, torch.save(model.state_dict(), path), "
    "or load the file yourself and examine the model that you built."
)
_FITS = "Build the model as it was when the file was written, or name another file."


@dataclass(frozen=True)
class Checkpoint:
    """Weights of a file by name, and what stood beside them."""

    path: Path
    tensors: Mapping[str, Tensor]
    """Of the CPU. Read from the file when they are asked for, so iterate instead of keeping them all."""
    layout: str
    """What was found and what was done to the names, in words."""
    extra: dict[str, Scalar] = field(default_factory=dict)
    """Plain scalars beside the weights: epoch, step, best accuracy."""


class LazyTensors(Mapping[str, Tensor]):
    """Tensors read one by one; ``stored`` maps each name to the one that the file knows."""

    def __init__(self, stored: Mapping[str, str], read_one: Callable[[str], Tensor]) -> None:
        self._stored = stored
        self._read_one = read_one

    def __getitem__(self, name: str) -> Tensor:
        return self._read_one(self._stored[name])

    def __contains__(self, name: object) -> bool:
        return name in self._stored

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)


def read(path: str | Path) -> Checkpoint:
    """Read the weights of a safetensors file or of one that ``torch.save`` wrote, whatever its suffix."""
    path = Path(path)
    head = _head(path)
    for start, what, hint in _STRANGERS:
        if head.lstrip().startswith(start):
            raise CheckpointError(f"{path} {what}; expected a checkpoint.", hint=hint)
    if head.startswith(b"PK\x03\x04"):
        _check_archive(path)
        return _from_object(path, _load(path, mmap=True))
    if _LEGACY_MAGIC in head:
        return _from_object(path, _load(path, mmap=False))
    if head[8:9] == b"{" or path.suffix == ".safetensors":
        return _read_safetensors(path)
    if head.startswith(b"\x80"):
        raise CheckpointError(f"{path} is a pickle that torch.save did not write.", hint=_SAVE_WEIGHTS)
    raise CheckpointError(
        f"{path} is no checkpoint; expected a safetensors file or one that torch.save wrote (.pt, .pth, .ckpt, .bin)."
    )


def load_into(model: torch.nn.Module, checkpoint: Checkpoint) -> str:
    """Load the weights into the model, all of them or, when names or shapes differ, none; return what was done.

    One prefix that all names of one side carry is added or taken off. May be absent from the file: a name tied to one
    that is there (safetensors stores such a tensor once) and the batch counter of a batch norm, which old files lack.
    """
    own = {name: value for name, value in model.state_dict(keep_vars=True).items() if isinstance(value, Tensor)}
    renamed, done = _fit_names(own, checkpoint.tensors)
    missing, unexpected = _missing(own, renamed), [name for name in renamed if name not in own]
    tensors = {name: checkpoint.tensors[stored] for name, stored in renamed.items() if name in own}
    reshaped = [
        f"{name} (model {_shape(own[name])}, file {_shape(tensor)})"
        for name, tensor in tensors.items()
        if not torch.nn.parameter.is_lazy(own[name]) and _shape(own[name]) != _shape(tensor)
    ]
    problems = [
        f"{len(names)} {what}: {', '.join(names[:5])}{', …' if len(names) > 5 else ''}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped))
        if names
    ]
    if problems:
        raise CheckpointError(f"{checkpoint.path} does not fit the model: {'; '.join(problems)}.", hint=_FITS)
    try:
        model.load_state_dict(tensors, strict=False)  # names were compared above
    except RuntimeError as error:
        raise CheckpointError(f"{checkpoint.path} does not fit the model: {_line(error)}.", hint=_FITS) from error
    return done


# ---- what kind of file it is


def _head(path: Path) -> bytes:
    """Return the first bytes of a file that exists and is not empty."""
    if path.is_dir():
        inside = sorted(p.name for p in path.iterdir() if p.suffix in {".safetensors", ".pt", ".pth", ".ckpt", ".bin"})
        hint = f"Name one of its files: {', '.join(inside[:3])}{', …' if len(inside) > 3 else ''}." if inside else ""
        raise CheckpointError(f"{path} is a directory; expected a checkpoint file.", hint=hint)
    if path.exists() and not path.is_file():
        raise CheckpointError(f"{path} is no regular file; expected a checkpoint file.")
    try:
        with path.open("rb") as file:
            head = file.read(256)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist; expected a checkpoint file.") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise CheckpointError(f"{path} cannot be read: {_line(error)}.") from error
    if not head:
        raise CheckpointError(f"{path} is empty; expected a checkpoint file.")
    return head


def _check_archive(path: Path) -> None:
    """Refuse, by its directory alone, a zip archive that ``torch.save`` did not write."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
        raise _damaged(path, error) from error
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
        raise CheckpointError(f"{path} is a zip archive that torch.save did not write.", hint=_SAVE_WEIGHTS)
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        # torch.save never compresses; a record that unfolds to any size is not worth the risk
        raise CheckpointError(f"{path} holds compressed records, which torch.save does not write.", hint=_SAVE_WEIGHTS)


# ---- safetensors


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        file: Any = safe_open(path, framework="pt", device="cpu")
        names: list[str] = list(file.keys())
        extra: dict[str, Scalar] = dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if not names:
        raise CheckpointError(f"{path} holds no tensors.")

    def read_one(name: str) -> Tensor:
        try:
            tensor: Tensor = file.get_tensor(name)
        except (SafetensorError, RuntimeError, TypeError, ValueError, AttributeError, OSError) as error:
            raise CheckpointError(f"{path}: {name} cannot be read: {_line(error)}.") from error
        return tensor

    stored, note = _without_prefixes(names)
    return Checkpoint(path, LazyTensors(stored, read_one), "safetensors" + note, extra)


# ---- files of torch.save


def _load(path: Path, *, mmap: bool) -> Any:
    """Load plain values and tensors; a file that asks for any class besides is refused, never obeyed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the age of what the file uses; nothing to tell the reader
            return torch.load(path, weights_only=True, mmap=mmap, map_location="cpu")
    except Exception as error:  # bytes that nobody vouches for: the reader may fail in any way
        if isinstance(error, UnpicklingError) and (names := _wanted_globals(path, str(error))):
            shown = f"{', '.join(names[:5])}{', …' if len(names) > 5 else ''}"
            raise CheckpointError(
                f"{path} needs pickled classes ({shown}), which may run any code; reportgen reads weights only.",
                hint=_SAVE_WEIGHTS,
            ) from error
        raise _damaged(path, error) from error


def _wanted_globals(path: Path, message: str) -> list[str]:
    """Name what a refused file wants to import, the classes of other packages first."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # a damaged or an old file: the loader's message names one
        names = re.findall(r"GLOBAL (\S+)", message)
    return sorted(set(names), key=lambda name: (name.startswith(("torch.", "builtins.", "collections.")), name))


def _from_object(path: Path, found: Any) -> Checkpoint:
    """Find the state dict in what a file of ``torch.save`` holds."""
    if not isinstance(found, Mapping):
        raise CheckpointError(f"{path} holds a {type(found).__name__}; expected a state dict.", hint=_SAVE_WEIGHTS)
    state, layout = _find_state(found)
    extra = {key: value for key, value in _scalars(found).items() if key not in state}
    if not state:
        keys = ", ".join(repr(key) for key in list(found)[:5])
        what = f"its keys are {keys}{', …' if len(found) > 5 else ''}" if found else "it is an empty dictionary"
        raise CheckpointError(f"{path} holds no state dict: {what}.", hint=_SAVE_WEIGHTS)
    averaged = state.get("n_averaged")
    if averaged is not None and all(name.startswith("module.") for name in state if name != "n_averaged"):
        extra["n_averaged"] = int(averaged)  # torch.optim.swa_utils.AveragedModel
        state = {name: tensor for name, tensor in state.items() if name != "n_averaged"}
    _check_tensors(path, state)
    stored, note = _without_prefixes(state)
    return Checkpoint(path, {name: state[old] for name, old in stored.items()}, layout + note, extra)


def _find_state(found: Mapping[Any, Any]) -> tuple[dict[str, Tensor], str]:
    """Return the tensors and the words that say where they were; no tensors when there is no state dict."""
    parts = {key: value for key, value in found.items() if _is_state(key, value)}
    for key in (*_KEYS, *_AVERAGED_KEYS):
        if key in parts:
            averages = [name for name in _AVERAGED_KEYS if name in parts]
            note = f" ({', '.join(map(repr, averages))} left aside: averaged weights)" if averages else ""
            if key in _AVERAGED_KEYS:
                note = " (averaged weights)"
            return _tensors(parts[key]), f"{key!r} of a training checkpoint{note}"
    parts = {key: value for key, value in parts.items() if not _NOT_WEIGHTS.search(key)}
    if len(parts) == 1:
        ((key, value),) = parts.items()
        return _tensors(value), f"{key!r} of a training checkpoint"
    if parts:
        names = " and ".join(map(repr, parts))
        joined = {f"{key}.{name}": t for key, value in parts.items() for name, t in _tensors(value).items()}
        return joined, f"{names} of a training checkpoint, joined under these names"
    tensors = _tensors(found)
    others = sum(not isinstance(value, Tensor | Scalar) for value in found.values())
    return tensors, "state dict" + (f" (entries that are no tensors left out: {others})" if others else "")


def _is_state(key: object, value: object) -> bool:
    """Tell whether an entry is a state dict of its own. Only the extra state of modules may be something else in it."""
    if not isinstance(key, str) or key.endswith("_extra_state") or not isinstance(value, Mapping) or not value:
        return False
    if not all(isinstance(name, str) for name in value):
        return False
    kinds = [isinstance(v, Tensor) for name, v in value.items() if not name.endswith("_extra_state")]
    return bool(kinds) and all(kinds)


def _tensors(found: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {
        name: value.detach() for name, value in found.items() if isinstance(name, str) and isinstance(value, Tensor)
    }


def _scalars(found: Mapping[Any, Any]) -> dict[str, Scalar]:
    """Return the plain scalars beside the weights. One alone in a tensor counts, as ``best_acc1`` often is."""
    plain = {key: value for key, value in found.items() if isinstance(key, str) and isinstance(value, Scalar)}
    loose = {key: value.item() for key, value in _tensors(found).items() if value.dim() == 0 and value.is_cpu}
    return plain | loose


def _check_tensors(path: Path, state: Mapping[str, Tensor]) -> None:
    """Refuse tensors without data, and views that claim far more values than were stored."""
    repeated = 0
    for name, tensor in state.items():
        if tensor.device.type != "cpu":
            raise CheckpointError(f"{path}: {name} has no data (it was saved on the device {tensor.device.type!r}).")
        for part in _parts(tensor):
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
            raise CheckpointError(f"{path}: {name} is an invalid sparse tensor: {_line(error)}.") from error


def _parts(tensor: Tensor) -> tuple[Tensor, ...]:
    """Return the dense tensors that a tensor is made of."""
    if tensor.layout is torch.sparse_coo:
        return tensor._indices(), tensor._values()
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return tensor.crow_indices(), tensor.col_indices(), tensor.values()
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return tensor.ccol_indices(), tensor.row_indices(), tensor.values()
    return (tensor,)


def _check_sparse(tensor: Tensor) -> None:
    """Raise RuntimeError for a sparse tensor whose indices lead out of it; loading alone accepts such a tensor.

    Done here and not while loading, because the check reads all indices: those must first be known to be stored.
    """
    if tensor.layout is torch.sparse_coo:
        indices, values = _parts(tensor)
        torch.sparse_coo_tensor(indices, values, tensor.shape, check_invariants=True)
    elif tensor.layout is not torch.strided:
        outer, inner, values = _parts(tensor)
        torch.sparse_compressed_tensor(outer, inner, values, tensor.shape, layout=tensor.layout, check_invariants=True)


# ---- names


def _without_prefixes(names: Iterable[str]) -> tuple[dict[str, str], str]:
    """Map names without the wrappers' prefixes to those in the file; a prefix goes only when all names carry it."""
    stored = {name: name for name in names}
    taken = ""
    while prefix := next((p for p in _PREFIXES if all(n.startswith(p) and len(n) > len(p) for n in stored)), None):
        stored = {name.removeprefix(prefix): old for name, old in stored.items()}
        taken += prefix
    return stored, f", prefix {taken!r} taken off all names" if taken else ""


def _fit_names(own: Mapping[str, Tensor], names: Iterable[str]) -> tuple[dict[str, str], str]:
    """Map the model's names to the file's, shifted by the prefix that fits best, and say what was done."""
    names = list(names)
    off, on = _shift(names, own), _shift(own, names)
    choices = [({name: name for name in names}, "names as they are")]
    if all(name.startswith(off) for name in names):
        choices.append(({name.removeprefix(off): name for name in names}, f"prefix {off!r} taken off all names"))
    if all(name.startswith(on) for name in own):
        choices.append(({on + name: name for name in names}, f"prefix {on!r} added to all names"))

    def misfits(choice: tuple[dict[str, str], str]) -> int:
        return len(_missing(own, choice[0])) + sum(name not in own for name in choice[0])

    return min(choices, key=misfits)


def _shift(long: Iterable[str], short: Iterable[str]) -> str:
    """Return the commonest prefix, up to a dot, after which a name of ``long`` is one of ``short``; '' when none is."""
    known = set(short)
    prefixes = Counter(
        name[: dot.end()] for name in long for dot in re.finditer(r"\.", name) if name[dot.end() :] in known
    )
    return prefixes.most_common(1)[0][0] if prefixes else ""


def _missing(own: Mapping[str, Tensor], there: Iterable[str]) -> list[str]:
    """List the model's names that the file must have and has not."""
    names = set(there)
    present = {id(own[name]) for name in names if name in own}
    return [
        name
        for name, tensor in own.items()
        if name not in names and id(tensor) not in present and not name.endswith("num_batches_tracked")
    ]


# ---- words


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path} is damaged or cut short: {_line(error)}.", hint="Copy or download it again.")


def _shape(tensor: Tensor) -> str:
    kind = "quantized " if tensor.is_quantized else "" if tensor.layout is torch.strided else "sparse "
    return kind + ("×".join(map(str, tensor.shape)) or "scalar")


def _line(error: Exception) -> str:
    """Return the first line of an error's message, without its full stop."""
    text = next(iter(str(error).splitlines()), "") or type(error).__name__
    return text[:200].rstrip(". ")
