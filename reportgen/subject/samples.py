"""Data sets that yield samples and not batches, put together to batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from ..errors import DataError
from .signature import TARGET_KEYS

BATCH = 32


def loader_of(data: Any, remarks: list[str]) -> Iterable[Any]:
    """Return a loader of batches for a Dataset, and enter a remark; all other data as they are.

    An IterableDataset may yield either. Its first item is asked: with a target for each row it is a batch, with one
    number for a target it is a sample. Raises DataError where neither can be told.
    """
    if not isinstance(data, Dataset):
        found: Iterable[Any] = data
        return found
    if not isinstance(data, IterableDataset):
        remarks.append(f"the data set yields samples; they were read {BATCH} at a time")
        return DataLoader(data, batch_size=BATCH)
    items = iter(data)
    first = next(items, None)
    if first is None:
        return []
    rest = chain([first], items)
    told = _is_batch(first)
    if told is None:
        raise DataError(
            f"{type(data).__name__} may yield samples or batches, and its first item does not tell which.",
            hint="Give DataLoader(data, batch_size=32) for samples, DataLoader(data, batch_size=None) for batches.",
        )
    if told:
        return rest
    remarks.append(f"the data set yields samples; they were read {BATCH} at a time")
    return DataLoader(_Stream(rest), batch_size=BATCH)


class _Stream(IterableDataset[Any]):
    """Items of an iterator, as a data set that a DataLoader takes."""

    def __init__(self, items: Iterable[Any]) -> None:
        self._items = items

    def __iter__(self) -> Any:
        return iter(self._items)


def _is_batch(item: Any) -> bool | None:
    target: Any = None
    first: Any = item
    if isinstance(item, Mapping):
        target = next((item[key] for key in TARGET_KEYS if key in item), None)
        first = next((value for key, value in item.items() if key not in TARGET_KEYS), None)
    elif isinstance(item, (list, tuple)) and len(item) > 1:
        first, target = item[0], item[-1]
    if isinstance(target, (int, float, str)) or (isinstance(target, Tensor) and not target.dim()):
        return False
    if isinstance(first, Tensor) and isinstance(target, Tensor) and first.dim() and len(first) == len(target):
        return True
    return None
