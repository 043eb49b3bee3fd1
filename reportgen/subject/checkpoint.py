"""Reading weights from files, lazily, and without ever running code that a file brings along.

Layouts that are understood: a state dict as it is; a training checkpoint that holds one under a usual key; names with
the prefixes that wrappers add. ``Checkpoint.layout`` says what was found, so that nothing is done behind anyone's back.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import CheckpointError
from . import distributed_files, hub_config, shards
from .depth import by_depth
from .layouts import Scalar, find_state, is_optimizer, of_sequence, optimizers_in, scalars
from .pages import Pages
from .shards import LazyTensors
from .torch_files import SAVE_WEIGHTS, check_archive, check_tensors, damaged, line, load, nested_tensors

_PREFIXES = ("module.", "_orig_mod.", "model.")  # DataParallel, torch.compile, Lightning
_LEGACY_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the pickled number that begins files of torch < 1.6

_STRANGERS = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the file itself", "Fetch it with 'git lfs pull'."),
    (b"<", "is an HTML or XML page, perhaps that of a failed download", "Download the file itself."),
    (b"\x89HDF", "is an HDF5 file", "Convert it to safetensors."),
    (b"\x1f\x8b", "is compressed with gzip", "Unpack it."),
    (b"7z\xbc\xaf", "is a 7-Zip archive", "Unpack it."),
    (b"GGUF", "is a GGUF file, with weights packed for llama.cpp", "Examine the checkpoint that it was made from."),
    (b"\x93NUMPY", "is an array of NumPy", "Save a state dict of tensors: torch.save({'name': tensor, ...}, path)."),
)
_USUAL_TYPES = {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"}
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
    optimizers: tuple[Mapping[str, Any], ...] = ()
    """State dicts of optimizers that stood beside the weights: 'state' and 'param_groups'."""
    pages: Pages = field(default_factory=Pages)
    """Where the file lies in memory; ``pages.release(tensor)`` gives the memory of a tensor back."""
    config: hub_config.Found | None = None
    """What a config.json beside weights of a model hub says."""
    sketched: Mapping[str, Tensor] | None = None
    """Where reading a tensor is work: the same names, with tensors of the meta device."""

    @property
    def outlines(self) -> Mapping[str, Tensor]:
        """Tensors that may be asked for shape and type at no cost."""
        return self.tensors if self.sketched is None else self.sketched


def read(path: str | Path, allow: Sequence[str] = ()) -> Checkpoint:
    """Read the weights of a safetensors file or of one that ``torch.save`` wrote, whatever its suffix.

    An index of shards, one of several numbered shards, or a folder as model hubs have them stand for all of their
    shards; a folder of ``torch.distributed.checkpoint``, or any file in it, for all of its pieces. ``allow``: dotted
    names of pickled classes that the caller vouches for.
    """
    path = Path(path)
    if distributed_files.is_distributed(path) and not (path.is_dir() and shards.holds_weights(path)):
        return _from_pieces(path)
    if path.is_dir():
        return _with_optimizer(read(shards.place_of(path), allow), path)
    config = hub_config.beside(path) if shards.is_of_hub(path.name) else None
    return replace(_read_place(path, allow), config=config)


def _read_place(path: Path, allow: Sequence[str]) -> Checkpoint:
    """Read a file, or all of the shards that it stands for."""
    if path.name.endswith(shards.INDEX_SUFFIX) and path.is_file():
        return _from_shards(path, shards.weight_map(path), allow)
    parts = shards.siblings(path)
    if parts:
        files = [_read_file(part, allow, part_of_many=True) for part in parts]
        found = {name: part for part, file in zip(parts, files, strict=True) for name in file.tensors}
        return _from_shards(path, found, allow)
    return _read_file(path, allow)


def _read_file(path: Path, allow: Sequence[str], *, part_of_many: bool = False) -> Checkpoint:
    """Read one file; of a part of many the names stay as they are: what all have in common is not known yet."""
    head = _head(path)
    for start, what, hint in _STRANGERS:
        if head.lstrip().startswith(start):
            raise CheckpointError(f"{path} {what}; expected a checkpoint.", hint=hint)
    if head.startswith(b"PK\x03\x04"):
        check_archive(path)
        return _from_object(path, load(path, mmap=True, allow=allow), mapped=True, named=part_of_many)
    if _LEGACY_MAGIC in head[:32]:
        return _from_object(path, load(path, mmap=False, allow=allow), mapped=False, named=part_of_many)
    if head[8:9] == b"{" or path.suffix == ".safetensors":
        return _read_safetensors(path, named=part_of_many)
    if head.startswith(b"\x80"):
        raise CheckpointError(f"{path} is a pickle that torch.save did not write.", hint=SAVE_WEIGHTS)
    raise CheckpointError(
        f"{path} is no checkpoint; expected a safetensors file or one that torch.save wrote (.pt, .pth, .ckpt, .bin)."
    )


def _from_shards(path: Path, where: Mapping[str, Path], allow: Sequence[str]) -> Checkpoint:
    """Join shards; each is opened when the first of its tensors is asked for, and stays mapped."""
    files: dict[Path, Mapping[str, Tensor]] = {}
    pages = Pages()

    def read_one(name: str) -> Tensor:
        shard = where[name]
        if shard not in files:
            file = _read_file(shard, allow, part_of_many=True)
            files[shard] = file.tensors
            pages.add([shard])
        if name not in files[shard]:
            raise CheckpointError(f"{path} says that {shard.name} holds {name}, but it does not.")
        return files[shard][name]

    stored, note = _without_prefixes(by_depth(where))
    n = len(set(where.values()))
    return Checkpoint(path, LazyTensors(stored, read_one), f"{n} shards{note}", pages=pages)


def _from_pieces(path: Path) -> Checkpoint:
    """Find weights and optimizers in a distributed checkpoint; tensors are read when they are asked for."""
    folder = path if path.is_dir() else path.parent
    held = distributed_files.contents(path)
    found: Mapping[Any, Any] = held.tree
    while (
        len(inner := [v for v in found.values() if isinstance(v, Mapping)]) == 1
        and not find_state(found, further=False)[0]
    ):
        found = inner[0]  # what an application handed over as one object
    state, layout = find_state(found, further=False)
    if not state:
        names = ", ".join(map(repr, list(found)[:5]))
        raise CheckpointError(f"{folder} holds no state dict: its keys are {names}.", hint=SAVE_WEIGHTS)
    stored, note = _without_prefixes(by_depth(state))  # what is not sharded comes last in the table
    places = {name: held.names[id(state[old])] for name, old in stored.items()}
    optimizers = tuple(
        {**one, "state": {key: _lazy(value, held) for key, value in one["state"].items()}}
        for one in optimizers_in(found)
    )
    return Checkpoint(
        folder,
        LazyTensors(places, held.read),
        f"distributed checkpoint in {len(held.files)} files, {layout}{note}",
        {key: value for key, value in found.items() if isinstance(key, str) and isinstance(value, Scalar)},
        optimizers,
        sketched={name: state[old] for name, old in stored.items()},
    )


def _with_optimizer(file: Checkpoint, folder: Path) -> Checkpoint:
    """Add the state of the optimizer that a trainer left beside the weights; one that cannot be read is passed over."""
    for path in (folder / "optimizer.pt", folder / "optimizer.bin"):
        if not path.is_file():
            continue
        try:
            check_archive(path)
            found = load(path, mmap=True)
            check_tensors(path, nested_tensors(found, "optimizer"))
        except CheckpointError:
            continue
        if is_optimizer(found):
            file.pages.add([path])
            layout = f"{file.layout}, optimizer of {path.name}"
            return replace(file, optimizers=(*file.optimizers, found), layout=layout)
    return file


def _lazy(moments: Any, held: distributed_files.Contents) -> Any:
    """Let the moments of a parameter be read when they are asked for."""
    if not isinstance(moments, Mapping) or not all(isinstance(v, Tensor) for v in moments.values()):
        return moments
    return LazyTensors({key: held.names[id(value)] for key, value in moments.items()}, held.read)


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
        raise CheckpointError(f"{checkpoint.path} does not fit the model: {line(error)}.", hint=_FITS) from error
    return done


# ---- what kind of file it is


def _head(path: Path) -> bytes:
    """Return the first bytes of a file that exists and is not empty."""
    if path.exists() and not path.is_file():
        raise CheckpointError(f"{path} is no regular file; expected a checkpoint file.")
    try:
        with path.open("rb") as file:
            head = file.read(256)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist; expected a checkpoint file.") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise CheckpointError(f"{path} cannot be read: {line(error)}.") from error
    if not head:
        raise CheckpointError(f"{path} is empty; expected a checkpoint file.")
    return head


# ---- safetensors


def _read_safetensors(path: Path, *, named: bool) -> Checkpoint:
    try:
        file: Any = safe_open(path, framework="pt", device="cpu")
        names: list[str] = list(file.keys())
        extra: dict[str, Scalar] = dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise damaged(path, error) from error
    if not names:
        raise CheckpointError(f"{path} holds no tensors.")
    strange = _of_unknown_types(file, names)
    if len(strange) == len(names):
        kinds = ", ".join(sorted(set(strange.values())))
        raise CheckpointError(f"{path} holds no tensor of a type that torch {torch.__version__} knows: {kinds}.")
    names = [name for name in names if name not in strange]

    def read_one(name: str) -> Tensor:
        try:
            tensor: Tensor = file.get_tensor(name)
        except (SafetensorError, RuntimeError, TypeError, ValueError, AttributeError, OSError) as error:
            raise CheckpointError(f"{path}: {name} cannot be read: {line(error)}.") from error
        return tensor

    stored, note = _without_prefixes(by_depth(names), named=named)
    if strange:
        note += (
            f", left out of types that torch does not know: {len(strange)} of {', '.join(sorted({*strange.values()}))}"
        )
    pages = Pages()
    pages.add([path])
    return Checkpoint(path, LazyTensors(stored, read_one), "safetensors" + note, extra, pages=pages)


def _of_unknown_types(file: Any, names: Sequence[str]) -> dict[str, str]:
    """Map tensors of types that torch cannot hold to these types; one of each type is tried."""
    kinds = {name: str(file.get_slice(name).get_dtype()) for name in names}
    strange = set()
    for kind in set(kinds.values()) - _USUAL_TYPES:
        try:
            file.get_tensor(next(name for name in names if kinds[name] == kind))
        except (SafetensorError, RuntimeError, TypeError, ValueError, AttributeError):
            strange.add(kind)
    return {name: kind for name, kind in kinds.items() if kind in strange}


# ---- files of torch.save


def _from_object(path: Path, found: Any, *, mapped: bool, named: bool) -> Checkpoint:
    """Find the state dict in what a file of ``torch.save`` holds."""
    found = of_sequence(found)
    if not isinstance(found, Mapping):
        raise CheckpointError(f"{path} holds a {type(found).__name__}; expected a state dict.", hint=SAVE_WEIGHTS)
    state, layout = find_state(found)
    extra = {key: value for key, value in scalars(found).items() if key not in state}
    if not state:
        keys = ", ".join(repr(key) for key in list(found)[:5])
        what = f"its keys are {keys}{', …' if len(found) > 5 else ''}" if found else "it is an empty dictionary"
        what += ", as an optimizer has them" if is_optimizer(found) else ""
        raise CheckpointError(f"{path} holds no state dict: {what}.", hint=SAVE_WEIGHTS)
    averaged = state.get("n_averaged")
    if averaged is not None and all(name.startswith("module.") for name in state if name != "n_averaged"):
        extra["n_averaged"] = int(averaged)  # torch.optim.swa_utils.AveragedModel
        state = {name: tensor for name, tensor in state.items() if name != "n_averaged"}
    optimizers = optimizers_in(found)
    beside = [pair for i, one in enumerate(optimizers) for pair in nested_tensors(one, f"optimizer {i}")]
    check_tensors(path, [*state.items(), *beside])
    stored, note = _without_prefixes(state, named=named)
    pages = Pages()
    if mapped:
        pages.add([path])
    tensors = {name: state[old] for name, old in stored.items()}
    return Checkpoint(path, tensors, layout + note, extra, optimizers, pages)


# ---- names


def _without_prefixes(names: Iterable[str], *, named: bool = False) -> tuple[dict[str, str], str]:
    """Map names without the wrappers' prefixes to those in the file; a prefix goes only when all names carry it."""
    stored = {name: name for name in names}
    taken = ""
    if named:
        return stored, ""
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


def _shape(tensor: Tensor) -> str:
    kind = "quantized " if tensor.is_quantized else "" if tensor.layout is torch.strided else "sparse "
    return kind + ("×".join(map(str, tensor.shape)) or "scalar")
