"""Weights that are cut into several files: an index beside its shards, or a folder of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import CheckpointError
from .layouts import NOT_WEIGHTS
from .torch_files import damaged

INDEX_SUFFIX = ".index.json"
_WHOLE = (
    *("model.safetensors", "diffusion_pytorch_model.safetensors", "pytorch_model.bin"),
    *("adapter_model.safetensors", "adapter_model.bin"),
)
_SHARD = re.compile(r"(?P<stem>.+)-(?P<i>\d{5})-of-(?P<n>\d{5})\.(safetensors|bin)")
_ARGUMENTS = re.compile(r"(^|_)args\.")  # of the trainer of a hub
_LARGEST_INDEX = 1 << 28
WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")


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


def is_of_hub(name: str) -> bool:
    """Tell whether a file bears a name that model hubs give to weights, beside which they put a configuration."""
    return name in _WHOLE or name.endswith(INDEX_SUFFIX) or _SHARD.fullmatch(name) is not None


def holds_weights(folder: Path) -> bool:
    """Tell whether a folder holds weights as model hubs have them, beside whatever else."""
    return any((folder / name).is_file() for name in _WHOLE) or any(folder.glob(f"*{INDEX_SUFFIX}"))


def place_of(folder: Path) -> Path:
    """Return the file that stands for the weights of a folder: an index, the one of a known name, a first shard."""
    files = sorted(p.name for p in folder.iterdir() if p.is_file())
    indices = [f for f in files if f.endswith(INDEX_SUFFIX)]
    # as the library of the hub does it: safetensors before pickles, the whole before the parts of an adapter
    ordered = sorted(indices, key=lambda f: (".safetensors" not in f, f))
    for name in (*(f for f in _WHOLE[:1] if f in files), *ordered, *(f for f in _WHOLE if f in files)):
        return folder / name
    first = [f for f in files if (found := _SHARD.fullmatch(f)) and int(found["i"]) == 1]
    if len(first) == 1:
        return folder / first[0]
    inside = [f for f in files if Path(f).suffix in WEIGHT_SUFFIXES]
    weights = [f for f in inside if not NOT_WEIGHTS.search(f) and not _ARGUMENTS.search(f)]
    if len(weights) == 1:
        return folder / weights[0]
    if not inside:  # of a pipeline, each part in a folder of its own
        inside = sorted(f.name for f in folder.iterdir() if f.is_dir() and holds_weights(f))
    hint = f"Name one of its files: {', '.join(inside[:3])}{', …' if len(inside) > 3 else ''}." if inside else ""
    raise CheckpointError(f"{folder} is a directory; expected a checkpoint file.", hint=hint)


def weight_map(path: Path) -> dict[str, Path]:
    """Read an index: name of a tensor -> the shard that holds it, all of them in the folder of the index."""
    try:
        if path.stat().st_size > _LARGEST_INDEX:
            raise CheckpointError(f"{path} is {path.stat().st_size} bytes long; expected an index of shards.")
        found: Any = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, error) from error
    table = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(table, dict) or not table or not all(isinstance(v, str) for v in table.values()):
        raise CheckpointError(f"{path} has no weight_map; expected an index of shards such as model{INDEX_SUFFIX}.")
    if any("\ud800" <= letter <= "\udfff" for pair in table.items() for text in pair for letter in text):
        raise CheckpointError(f"{path} holds names that are no text; expected an index of shards.")
    shards = {}
    for name in sorted(set(table.values())):
        if Path(name).name != name or name in ("", ".", "..") or "\\" in name or "\x00" in name:
            raise CheckpointError(f"{path} points outside its folder: {name!r}; expected names of files beside it.")
        shards[name] = path.parent / name
    lost = [name for name, shard in shards.items() if not shard.is_file()]
    if lost:
        shown = f"{', '.join(lost[:3])}{', …' if len(lost) > 3 else ''}"
        raise CheckpointError(
            f"{path} lists {len(shards)} shards, of which {len(lost)} are missing: {shown}.",
            hint="Download the whole folder.",
        )
    return {name: shards[file] for name, file in table.items()}


def siblings(path: Path) -> list[Path]:
    """Return all shards of the set that a file belongs to by its name; none for a file that stands alone."""
    found = _SHARD.fullmatch(path.name)
    if found is None or int(found["n"]) < 2:
        return []
    n, suffix = int(found["n"]), path.suffix
    parts = [path.with_name(f"{found['stem']}-{i:05d}-of-{n:05d}{suffix}") for i in range(1, n + 1)]
    lost = [p.name for p in parts if not p.is_file()]
    if lost:
        raise CheckpointError(
            f"{path.parent} lacks {len(lost)} of {n} shards: {', '.join(lost[:3])}{', …' if len(lost) > 3 else ''}.",
            hint="Download the whole folder.",
        )
    return parts
