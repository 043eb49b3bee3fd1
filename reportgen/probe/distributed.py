"""One evaluation by several processes: which part of the data is whose, and how their figures come together."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.utils.data.distributed import DistributedSampler

from ..errors import one_line
from ..subject.data import Batch
from ..subject.shapes import own_part
from .trials.sample import is_by_sample, rows

WAIT = 60.0  # seconds; a process that examines alone goes on without the others after that
_ROUND = "reportgen/round"


@dataclass(frozen=True)
class Share:
    """The part of the data that one of several processes reads: every ``size``-th sample, from the ``rank``-th on."""

    rank: int
    size: int
    n: int | None = None
    """Samples that belong to this process; what its sampler yields beyond them repeats others. None: all it reads."""


def share_of(data: Any, model: nn.Module, merge: bool | None) -> Share | None:
    """Tell which part of the data a loader yields here; None where figures are not to be merged over processes.

    With ``merge`` None they are where the sampler of a loader deals out its samples to all processes of the group.
    """
    if merge is False or not (distributed.is_available() and distributed.is_initialized()):
        return None
    rank, size = distributed.get_rank(), distributed.get_world_size()
    if size < 2:
        return None
    for sampler in _samplers(data):
        # those of Accelerate name the same things otherwise
        parts = getattr(sampler, "num_replicas", getattr(sampler, "num_processes", None))
        if parts == size:
            place = getattr(sampler, "rank", getattr(sampler, "process_index", rank))
            return Share(int(place), size, _own(sampler, model))
    return Share(rank, size) if merge else None


def _samplers(data: Any) -> list[Any]:
    batched = getattr(data, "batch_sampler", None)
    found = (getattr(data, "sampler", None), batched, getattr(batched, "sampler", None))
    return [sampler for sampler in found if sampler is not None]


def _own(sampler: Any, model: nn.Module) -> int | None:
    """Count the samples of this process, without those that fill up its last batch so that all have as many."""
    # the passes of a model in shards must be as many on each process, so that nothing can be left out there
    if type(sampler) is not DistributedSampler or any(own_part(p).shape != p.shape for p in model.parameters()):
        return None
    n = len(sampler.dataset)  # type: ignore[arg-type]  # the sampler has asked for its length itself
    return min(sampler.num_samples, -(-(n - sampler.rank) // sampler.num_replicas))


def own(batches: Iterable[Batch], share: Share | None) -> Iterator[Batch]:
    """Yield the batches without the samples at their end that repeat others."""
    left = None if share is None else share.n
    for batch in batches:
        if left is None or batch.n_samples <= left or not is_by_sample(batch):
            left = None if left is None else max(left - batch.n_samples, 0)
            yield batch
        else:
            if left:
                yield _cut(batch, left)
            return


def _cut(batch: Batch, n: int) -> Batch:
    carried = {
        key: column[:n] if isinstance(column, (list, tuple, Tensor)) and len(column) == batch.n_samples else column
        for key, column in batch.carried.items()
    }
    return replace(rows(batch, torch.arange(n)), carried=carried)


def meet(share: Share, seconds: float = WAIT) -> bool:
    """Wait until all processes of the group are here; False when some were not by then, for each of those that were.

    Nothing is exchanged but by way of the store, so that a process that is alone is not caught in a collective call.
    """
    store = distributed.distributed_c10d._get_default_store()
    number = int(store.compare_set(_ROUND, "", "0"))
    store.set(f"{_ROUND}/{number}/{share.rank}", "here")
    said = "all"
    try:
        store.wait([f"{_ROUND}/{number}/{rank}" for rank in range(share.size)], timedelta(seconds=seconds))
    except RuntimeError:  # the time was up; what keeps the store from answering is raised below
        said = "some"
    # the first to say it decides for all, and those who come later meet in another round
    decided = store.compare_set(f"{_ROUND}/{number}/outcome", "", said)
    store.compare_set(_ROUND, str(number), str(number + 1))
    return bool(decided.decode() == "all")


def gathered(value: Any, size: int) -> list[Any]:
    """Return what all processes hand over here, in the order of their ranks; all of them must call it.

    Raises RuntimeError when what one of them has cannot be sent.
    """
    try:
        sent: bytes | str = pickle.dumps(value)
    except Exception as error:  # told to the others, who wait for it
        sent = f"cannot be sent to other processes: {one_line(error)}"
    found: list[Any] = [None] * size
    distributed.all_gather_object(found, sent)
    trouble = [f"process {rank}: {one}" for rank, one in enumerate(found) if isinstance(one, str)]
    if trouble:
        raise RuntimeError("; ".join(trouble))
    return [pickle.loads(one) for one in found]
