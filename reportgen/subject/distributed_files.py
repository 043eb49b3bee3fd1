"""Folders of ``torch.distributed.checkpoint``: a table of contents (``.metadata``) and the pieces that each rank wrote.

The table is a pickle. It is read by an unpickler that knows the few names which such a table is made of, all of them
stand-ins without any behaviour, and refuses every other one by name. Pieces are files of ``torch.save`` inside of
``.distcp`` files; they are read when a tensor is asked for, and put together as it was before it was sharded.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from ..errors import CheckpointError
from .torch_files import SAVE_WEIGHTS, check_archive, check_tensors, damaged, load

TABLE = ".metadata"
PIECES = ".distcp"
_LARGEST_TABLE = 1 << 29
_SMALL = 1 << 16  # bytes of a value that is no tensor, such as a learning rate, up to which it is read
_METADATA = "torch.distributed.checkpoint.metadata"
_STANDINS = frozenset(
    (
        *((_METADATA, name) for name in ("Metadata", "MetadataIndex", "StorageMeta", "TensorProperties")),
        *((_METADATA, name) for name in ("TensorStorageMetadata", "BytesStorageMetadata", "ChunkStorageMetadata")),
        (_METADATA, "_MEM_FORMAT_ENCODING"),
        ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    )
)
_PATHS = ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")


class Piece(NamedTuple):
    """A part of a tensor, or a value, and where it lies."""

    file: Path
    offset: int
    length: int
    start: tuple[int, ...] = ()
    shape: tuple[int, ...] = ()


class Stored(NamedTuple):
    """A tensor in pieces."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    pieces: list[Piece]


class Contents(NamedTuple):
    """What a folder holds."""

    tree: dict[Any, Any]
    """As it was handed to the saving function: tensors of the meta device in their place, and small plain values."""
    names: dict[int, str]
    """Identity of a tensor in the tree -> name in the table."""
    read: Callable[[str], Tensor]
    """Read the tensor of a name in the table."""
    files: list[Path]


def is_distributed(path: Path) -> bool:
    """Tell whether a path leads to such a folder, its table or one of its pieces."""
    if path.is_dir():
        return (path / TABLE).is_file() or any(p.suffix == PIECES for p in path.iterdir())
    return (path.name == TABLE or path.suffix == PIECES) and path.exists()


def contents(path: Path) -> Contents:
    """Read the table of contents and check all that it claims against the files."""
    folder = path if path.is_dir() else path.parent
    table = folder / TABLE
    if not table.is_file():
        raise CheckpointError(
            f"{folder} holds parts of a distributed checkpoint but no {TABLE}, which tells what they are.",
            hint="It is written last: the save did not finish, or the copy is incomplete.",
        )
    found = _table(table)
    try:
        entries, stored = _field(found, "state_dict_metadata", dict), _field(found, "storage_data", dict)
        places = {_place(index): info for index, info in stored.items()}
        tensors, values = {}, {}
        sizes: dict[Path, int] = {}
        for name, entry in entries.items():
            if not isinstance(name, str):
                raise ValueError(f"{name!r} is no name")
            if _is(entry, "TensorStorageMetadata"):
                tensors[name] = _tensor(name, entry, places, folder, sizes)
            elif (name, None) in places:
                values[name] = _piece(name, places[name, None], folder, sizes)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise damaged(table, error) from error
    if not tensors:
        raise CheckpointError(f"{folder} holds no tensors.", hint=SAVE_WEIGHTS)
    outlines = {name: torch.empty(one.shape, dtype=one.dtype, device="meta") for name, one in tensors.items()}
    plain = {name: value for name, piece in values.items() if (value := _value(piece)) is not None}
    tree = _tree({**outlines, **plain}, _state(found).get("planner_data"))

    def read(name: str) -> Tensor:
        return _assembled(name, tensors[name])

    return Contents(tree, {id(t): name for name, t in outlines.items()}, read, sorted(sizes))


# ---- the table of contents


class _StandIn:
    """Takes the place of any class of the table: keeps what it is given and does nothing."""

    name = ""

    def __init__(self, *given: Any) -> None:
        self.given = given
        self.state: Any = {}

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Table(pickle._Unpickler):  # the one in Python: that in C takes memory for whatever index a file names
    """Builds the table of stand-ins."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self._known: dict[tuple[str, str], Any] = {
            ("torch", "Size"): _sizes,
            ("torch.serialization", "_get_layout"): str,
            ("builtins", "getattr"): _member,
        }
        self._known |= {(module, "Path"): _joined for module in ("pathlib", "pathlib._local")}
        self._known |= {(module, name): _joined for module in ("pathlib", "pathlib._local") for name in _PATHS}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _STANDINS:
            return self._known.setdefault((module, name), type(name, (_StandIn,), {"name": name}))
        if (module, name) in self._known:
            return self._known[module, name]
        if module == "torch" and isinstance(found := getattr(torch, name, None), torch.dtype):
            return found
        raise _ForeignError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise _ForeignError("a persistent id")


class _ForeignError(Exception):
    """The table asks for something that no such table is made of."""


def _sizes(values: Sequence[int] = ()) -> tuple[int, ...]:
    return tuple(values)


def _member(kind: Any, name: Any) -> _StandIn:
    """Stand for the member of an enumeration, which Python up to 3.11.3 writes as an attribute of its class."""
    if not (isinstance(kind, type) and issubclass(kind, _StandIn) and isinstance(name, str)):
        raise _ForeignError("builtins.getattr")
    return kind(name)


def _joined(*parts: str) -> str:
    return "/".join(parts)


def _table(path: Path) -> Any:
    try:
        if path.stat().st_size > _LARGEST_TABLE:
            raise CheckpointError(f"{path} is {path.stat().st_size} bytes long; expected a table of contents.")
        found = _Table(io.BytesIO(path.read_bytes())).load()
    except CheckpointError:
        raise
    except _ForeignError as error:
        raise CheckpointError(
            f"{path} needs pickled classes ({error}), which may run any code; expected a table of contents, which is "
            f"made of names, shapes and places.",
            hint=SAVE_WEIGHTS,
        ) from error
    except Exception as error:  # bytes that nobody vouches for: a pickle may fail in any way
        raise damaged(path, error) from error
    if not _is(found, "Metadata"):
        raise CheckpointError(f"{path} is no table of contents of a distributed checkpoint.")
    return found


def _is(value: Any, name: str) -> bool:
    return isinstance(value, _StandIn) and value.name == name


def _state(value: Any) -> dict[str, Any]:
    state = value.state if isinstance(value, _StandIn) else None
    if not isinstance(state, dict):
        raise ValueError("an entry has no fields")
    return state


def _field(value: Any, name: str, kind: type) -> Any:
    found = _state(value).get(name)
    if not isinstance(found, kind):
        raise ValueError(f"{name} is no {kind.__name__}")
    return found


def _lengths(value: Any) -> tuple[int, ...]:
    """Return what is a shape, or the place of a part in one."""
    if not isinstance(value, tuple) or not all(type(n) is int and 0 <= n < 1 << 62 for n in value):
        raise ValueError(f"{value!r} is no shape"[:100])
    return value


def _place(index: Any) -> tuple[str, tuple[int, ...] | None]:
    state = _state(index)
    offset = state.get("offset")
    return _field(index, "fqn", str), None if offset is None else _lengths(offset)


def _tensor(name: str, entry: Any, places: Mapping[Any, Any], folder: Path, sizes: dict[Path, int]) -> Stored:
    shape, chunks = _lengths(_field(entry, "size", tuple)), _field(entry, "chunks", list)
    dtype = _dtype_of(_state(entry).get("properties"))
    pieces = []
    for chunk in chunks:
        start = _lengths(_field(chunk, "offsets", tuple))
        part: tuple[int, ...] = _lengths(_field(chunk, "sizes", tuple))
        if 0 in part and 0 not in shape:
            continue  # a rank without a share
        info = places.get((name, start), places.get((name, None)))
        if info is None:
            raise ValueError(f"{name} has a part that lies nowhere")
        piece = _piece(name, info, folder, sizes)._replace(start=start, shape=part)
        if torch.Size(part).numel() * dtype.itemsize > piece.length:
            raise ValueError(f"{name} claims more values than are stored")
        pieces.append(piece)
    if not _tiles(shape, pieces):
        raise ValueError(f"the parts of {name} do not make up its shape")
    return Stored(shape, dtype, pieces)


def _dtype_of(properties: Any) -> torch.dtype:
    """Return the type of the values; the properties are written as a tuple, or field by field."""
    state = properties.state if _is(properties, "TensorProperties") else None
    found = state.get("dtype") if isinstance(state, dict) else state[0] if isinstance(state, tuple) and state else None
    if not isinstance(found, torch.dtype):
        raise ValueError("a tensor has no type")
    return found


def _piece(name: str, info: Any, folder: Path, sizes: dict[Path, int]) -> Piece:
    """Return where something lies, inside of a file that is in the folder and long enough."""
    file, offset, length = _field(info, "relative_path", str), _field(info, "offset", int), _field(info, "length", int)
    if _state(info).get("transform_descriptors"):
        raise ValueError(f"{name} was transformed when it was saved ({_state(info)['transform_descriptors']})"[:150])
    if Path(file).name != file or file in ("", ".", "..") or "\\" in file or "\x00" in file:
        raise ValueError(f"{name} points outside the folder: {file!r}")
    place = folder / file
    if place not in sizes:
        sizes[place] = place.stat().st_size if place.is_file() else -1
    if sizes[place] < 0:
        raise CheckpointError(
            f"{folder} lacks {file}, which holds {name}.", hint="Copy the whole folder, of all nodes, to one place."
        )
    if offset < 0 or length < 0 or offset + length > sizes[place]:
        raise ValueError(f"{name} lies beyond the end of {file}")
    return Piece(place, offset, length)


def _tiles(shape: tuple[int, ...], pieces: list[Piece]) -> bool:
    """Tell whether the pieces lie inside of the tensor, do not overlap, and fill it."""
    if any(len(p.start) != len(shape) or len(p.shape) != len(shape) for p in pieces):
        return False
    if any(a + n > whole for p in pieces for a, n, whole in zip(p.start, p.shape, shape, strict=True)):
        return False
    if sum(math.prod(p.shape) for p in pieces) != math.prod(shape):
        return False
    if len(pieces) < 2:
        return True
    low = np.array([p.start for p in pieces], dtype=np.int64)
    high = low + np.array([p.shape for p in pieces], dtype=np.int64)
    return not any(
        bool(((low[i] < high[i + 1 :]) & (low[i + 1 :] < high[i])).all(1).any()) for i in range(len(pieces) - 1)
    )


# ---- the pieces


class _Part(io.RawIOBase):
    """A part of a file, as a file of its own."""

    def __init__(self, piece: Piece) -> None:
        self._file = piece.file.open("rb")
        self._first, self._length, self._at = piece.offset, piece.length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        n = max(0, min(len(view), self._length - self._at))
        self._file.seek(self._first + self._at)
        got = self._file.readinto(view[:n])
        self._at += got
        return got

    def close(self) -> None:
        self._file.close()
        super().close()


def _read(piece: Piece) -> Any:
    with _Part(piece) as part:
        stream = cast(IO[bytes], part)
        check_archive(piece.file, stream)
        stream.seek(0)
        return load(piece.file, mmap=False, part=stream)


def _assembled(name: str, stored: Stored) -> Tensor:
    """Read a tensor whole; while it is put together one piece of it is in memory beside it."""
    whole: Tensor | None = None
    for piece in stored.pieces:
        part = _read(piece)
        if not isinstance(part, Tensor) or part.shape != piece.shape or part.dtype is not stored.dtype:
            told = f"a {type(part).__name__}" if not isinstance(part, Tensor) else f"{part.dtype} {tuple(part.shape)}"
            raise CheckpointError(
                f"{piece.file}: {name} is {told}; expected {stored.dtype} {piece.shape}, as {TABLE} has it."
            )
        check_tensors(piece.file, [(name, part)])
        if len(stored.pieces) == 1:
            return part.detach()
        whole = torch.empty(stored.shape, dtype=stored.dtype) if whole is None else whole
        whole[tuple(slice(a, a + n) for a, n in zip(piece.start, piece.shape, strict=True))] = part.detach()
    return torch.empty(stored.shape, dtype=stored.dtype) if whole is None else whole


def _value(piece: Piece) -> Any:
    """Read a plain value; None for one that is large, or made of classes."""
    if piece.length > _SMALL:
        return None
    try:
        found = _read(piece)
    except CheckpointError:
        return None
    plain = isinstance(found, (bool, int, float, str))
    return found if plain or (isinstance(found, (list, tuple)) and len(found) < 1000) else None


# ---- the tree


def _tree(leaves: Mapping[str, Any], paths: Any) -> dict[Any, Any]:
    """Put everything where it was before the names were flattened; without the way to it, under its flat name."""
    root: dict[Any, Any] = {}
    for name, value in leaves.items():
        at = root
        *way, last = _way(name, paths)
        for key in way:
            held = at.setdefault(key, {})
            at = held if isinstance(held, dict) else {}  # a value where there should be a table: nothing to go on with
        at[last] = value
    return _with_groups(root)


def _way(name: str, paths: Any) -> tuple[str | int, ...]:
    way = paths.get(name) if isinstance(paths, dict) else None
    if not isinstance(way, tuple) or not 0 < len(way) < 20 or not all(type(key) in (str, int) for key in way):
        return (name,)
    return way


def _with_groups(tree: dict[Any, Any]) -> dict[Any, Any]:
    """Make a list of the groups of an optimizer, which are counted."""
    return {
        key: [value[i] for i in sorted(value, key=str)]
        if key == "param_groups" and isinstance(value, dict)
        else _with_groups(value)
        if isinstance(value, dict)
        else value
        for key, value in tree.items()
    }
