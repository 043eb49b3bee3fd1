"""The monitor around replicated and sharded models: one log, names as the user knows them, figures of one process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import torch
import torch.distributed as dist
from torch import nn

import reportgen
from reportgen.document.history import History
from reportgen.training.journal import read_journal

STEPS = 30


def _train(kind: str, rank: int, world: int, folder: Path) -> None:
    """Train on one process: what rank 0 sees of the same data is what every other sees."""
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=world)
    torch.manual_seed(0)
    model: nn.Module = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.BatchNorm1d(16), nn.Linear(16, 3))
    if kind == "ddp":
        model = nn.parallel.DistributedDataParallel(model)
    elif kind == "fsdp":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        fully_shard(model, mesh=init_device_mesh("cpu", (world,)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor = reportgen.Monitor(model, optimizer, log=folder / "run.jsonl")
    generator = torch.Generator().manual_seed(0)
    with monitor:
        for epoch in monitor.epochs(range(2)):
            for _ in range(STEPS // 2):
                x = torch.randn(8, 6, generator=generator)
                loss = nn.functional.cross_entropy(model(x), (x[:, 0] > 0).long())
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                monitor.log(train_loss=loss)
            monitor.log(epoch=epoch, val_loss=1.0)
    (folder / f"{rank}.json").write_bytes(msgspec.json.encode(monitor.history()))
    dist.destroy_process_group()


def _run(kind: str, world: int, folder: Path) -> list[History]:
    code = "import sys; from pathlib import Path; from tests.test_monitor_distributed import _train\n"
    code += "_train(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))"
    root = Path(__file__).parent.parent
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, kind, str(rank), str(world), str(folder)],
            cwd=root,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    ends = [(process.communicate(timeout=300)[1], process.returncode) for process in started]
    assert [code for _, code in ends] == [0] * world, ends
    # a bar is drawn on a terminal only, and by the first rank
    assert not any("epoch" in error for error, _ in ends)
    return [msgspec.json.decode((folder / f"{rank}.json").read_bytes(), type=History) for rank in range(world)]


NAMES = ["0.weight", "0.bias", "2.weight", "2.bias", "3.weight", "3.bias"]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "world"), [("ddp", 1), ("ddp", 2), ("fsdp", 2)])
def test_a_model_on_several_processes(kind: str, world: int, tmp_path: Path) -> None:
    histories = _run(kind, world, tmp_path)
    for history in histories:
        assert history.steps == STEPS
        assert [p.name for p in history.parameters] == NAMES
        assert [row.name for row in history.layers] == ["0", "1", "2", "3"]
        assert all(p.changed and p.n_grad_none == 0 for p in history.parameters)
        assert history.loop is not None
        assert (history.loop.n_stale, history.loop.n_clipped) == (0, 0)
    read = read_journal(tmp_path / "run.jsonl")
    assert read.interrupted == ""
    assert read.steps == STEPS
    notes = [e.detail for e in read.events]
    assert ["sharded" in note for note in notes] == ([True] if kind == "fsdp" else [])
    if kind == "ddp":
        # the same data on each process: the gradients are those of a run without any of it
        alone = tmp_path / "alone"
        alone.mkdir()
        (single,) = _run("none", 1, alone)
        norms = [h.get("gradient_norm", "step") for h in (single, histories[0], read)]
        first = norms[0]
        assert first is not None
        assert all(n is not None and n.y == pytest.approx(first.y, rel=1e-4) for n in norms)
