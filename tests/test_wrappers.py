"""Replicated models and recomputed passes: one row a module, one count a pass, and nobody waits for anybody."""

from __future__ import annotations

import gc
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import reportgen
from reportgen.document.facts import Report

from .zoo.training import Checkpointed, Regularised

pytestmark = pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # of passes in eval mode
OPTIONS = reportgen.Options(trial_budget=2.0)


def data(seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(6, 4, generator=generator), torch.arange(6) % 3) for _ in range(2)]


def examined(model: nn.Module, seed: int = 0, **more: Any) -> Report:
    return reportgen.examine(model, data(seed), loss=nn.functional.cross_entropy, options=OPTIONS, **more)


def counts(report: Report) -> dict[str, int]:
    """How many gradients arrived at the output of each layer."""
    assert report.gradients is not None
    return {row.name: row.stats.count for row in report.gradients.outputs}


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_recomputed_pass_counts_once(reentrant: bool) -> None:
    torch.manual_seed(0)
    report = examined(Checkpointed(reentrant=reentrant))
    torch.manual_seed(0)
    model = Checkpointed(reentrant=False)
    model.forward = lambda x: model.head(model.body(model.stem(x)))  # type: ignore[method-assign]
    plain = examined(model)
    assert counts(report) == counts(plain) == {"stem": 48, "body.0": 96, "body.1": 96, "head": 36}
    for facts in (report, plain):
        assert facts.gradients is not None
        assert facts.gradients.mode == "train"
        assert facts.architecture is not None
    assert report.gradients is not None
    assert plain.gradients is not None
    norms = [(a.stats, b.stats) for a, b in zip(report.gradients.rows, plain.gradients.rows, strict=True)]
    assert all(a is not None and b is not None and a.sum == pytest.approx(b.sum, rel=1e-5, abs=1e-9) for a, b in norms)
    assert report.activations is not None
    assert [row.calls for row in report.activations.rows] == [2, 2, 2, 2]  # two batches


def test_data_parallel_is_taken_off() -> None:
    torch.manual_seed(0)
    model = Regularised()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    report = examined(nn.DataParallel(model), optimizer=optimizer)
    assert report.subject.wrappers == ["DataParallel"]
    assert report.weights is not None
    assert all(row.in_optimizer for row in report.weights.rows)
    assert int(model.norm.num_batches_tracked) == 0


def _process(rank: int, folder: str) -> None:
    import torch.distributed as dist

    # who waits for a process that does not come gives up, and fails
    store, patience = f"file://{folder}/store", timedelta(seconds=240)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=patience)
    try:
        _examine_and_train(rank, folder)
        dist.barrier()
    finally:
        gc.collect()  # a replica that outlives its group may abort the process at its end
        dist.destroy_process_group()


def _examine_and_train(rank: int, folder: str) -> None:
    """Two ranks examine, each its own data; then the first alone, while the other trains on."""
    torch.manual_seed(0)
    model = nn.parallel.DistributedDataParallel(Regularised())
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    report = examined(model, seed=rank, optimizer=optimizer)
    assert report.subject.wrappers == ["DistributedDataParallel"]
    assert report.weights is not None
    assert all(row.in_optimizer for row in report.weights.rows)
    if rank == 0:
        examined(model)
    for x, y in data(rank):  # the gradients of both ranks are still averaged afterwards
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    torch.save([p.detach() for p in model.parameters()], Path(folder, f"{rank}.pt"))


@pytest.mark.slow
def test_two_processes_of_distributed_training(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_process, (str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert len(first) == 6
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
