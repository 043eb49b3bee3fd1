"""Several processes that examine one model together: their scores are those of one process on all of the data."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
import torch.distributed as dist
from sklearn import metrics
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torch.utils.data.distributed import DistributedSampler

import reportgen
from reportgen.document.evaluation import EvaluationFacts
from reportgen.document.facts import Report
from reportgen.pipeline import processes
from reportgen.probe.distributed import Share, own, share_of
from reportgen.subject.data import Batch

N = 101  # odd: the sampler repeats one sample so that both processes have as many
QUICK = {"trial_budget": 0.0, "pictures": 0}


class Sites(Dataset[dict[str, Any]]):
    """Samples that know where they come from."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"x": self.x[i], "label": self.y[i], "site": "north" if i % 3 else "south"}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(x)
        return out


def made() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(N, 6, generator=generator), torch.randint(3, (N,), generator=generator)


def part(rank: int, batch_size: int = 8) -> DataLoader[Any]:
    data = Sites(*made())
    return DataLoader(data, batch_size, sampler=DistributedSampler(data, 2, rank, shuffle=False))


def picky(output: Tensor, target: Tensor) -> Tensor:
    """A loss that one process cannot compute."""
    if dist.get_rank() == 1:
        raise ValueError("no loss on this one")
    return nn.functional.cross_entropy(output, target)


def work(kind: str, rank: int, folder: Path) -> None:
    """Examine on one of two processes."""
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2)
    torch.set_num_threads(1)
    model: nn.Module = nn.parallel.DistributedDataParallel(Net())
    processes.WAIT = 1.0  # type: ignore[attr-defined]
    options = reportgen.Options(**QUICK, merge_processes=False if kind == "apart" else None)  # type: ignore[arg-type]
    loss = picky if kind == "picky" else nn.CrossEntropyLoss()
    if kind == "alone":  # twice: a round that one began alone is no part of the next
        if rank == 0:
            lone = reportgen.examine(model, part(rank), loss=loss, options=options)
            (folder / "lone.json").write_bytes(msgspec.json.encode(lone))
        dist.barrier()
    report = reportgen.examine(model, part(rank), train_data=part(rank, 5), loss=loss, options=options)
    (folder / f"{rank}.json").write_bytes(msgspec.json.encode(report))
    own_folder = folder / str(rank)
    own_folder.mkdir()
    reportgen.write(report, own_folder / "report.md")
    dist.barrier()
    dist.destroy_process_group()


def run(kind: str, folder: Path) -> list[Report]:
    code = "import sys; from pathlib import Path; from tests.test_distributed import work\n"
    code += "work(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, kind, str(rank), str(folder)],
            cwd=Path(__file__).parent.parent,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    ends = [(process.communicate(timeout=300)[1], process.returncode) for process in started]
    assert [code for _, code in ends] == [0, 0], ends
    return [msgspec.json.decode((folder / f"{rank}.json").read_bytes(), type=Report) for rank in range(2)]


def whole() -> Report:
    data, options = Sites(*made()), reportgen.Options(**QUICK)  # type: ignore[arg-type]
    return reportgen.examine(Net(), DataLoader(data, 8), loss=nn.CrossEntropyLoss(), options=options)


def alike(a: object, b: object) -> None:
    if isinstance(a, dict) and isinstance(b, dict):
        assert a.keys() == b.keys()
        for key in a:
            alike(a[key], b[key])
    elif isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            alike(x, y)
    elif isinstance(a, float):
        assert a == pytest.approx(b, rel=1e-5, abs=1e-7)
    else:
        assert a == b


def told(report: Report, name: str = "evaluation") -> str:
    return next(row.reason for row in report.coverage if row.part == name)


@pytest.mark.slow
def test_both_processes_have_the_scores_of_all_data(tmp_path: Path) -> None:
    reports, one = run("together", tmp_path), whole()
    x, y = made()
    with torch.no_grad():
        z = Net()(x)
    for rank, report in enumerate(reports):
        found = report.evaluation
        assert found is not None
        accuracy, kappa = found.score("accuracy"), found.score("mcc")
        assert accuracy is not None
        assert accuracy.value == pytest.approx(metrics.accuracy_score(y, z.argmax(1)))
        assert kappa is not None
        assert kappa.value == pytest.approx(metrics.matthews_corrcoef(y, z.argmax(1)))
        assert found.n_samples == N
        assert found.loss == pytest.approx(metrics.log_loss(y, z.double().softmax(1)), rel=1e-5)
        assert found.classification is not None
        assert found.classification.confusion == metrics.confusion_matrix(y, z.argmax(1)).tolist()
        alike(msgspec.to_builtins(found), msgspec.to_builtins(one.evaluation))
        alike(msgspec.to_builtins(report.train_evaluation), msgspec.to_builtins(one.evaluation))
        assert told(report) == "scores of the parts of 2 processes, put together"
        assert (report.meta.process, report.meta.processes) == (rank, 2)
        # how many passes there are would hang on the clock of each
        assert report.meta.inference is None
        assert told(report, "latency").startswith("processes that work together")
        # what is not put together is of this process's own samples
        assert report.subject.n_samples == (51, 50)[rank]
    assert (tmp_path / "0" / "report.md").exists()
    assert not (tmp_path / "1" / "report.md").exists()


@pytest.mark.slow
def test_processes_that_are_not_to_wait_for_each_other_tell_of_their_own_part(tmp_path: Path) -> None:
    apart = run("apart", tmp_path)
    assert [r.evaluation.n_samples for r in apart if r.evaluation is not None] == [51, 51]
    assert [r.meta.processes for r in apart] == [1, 1]


@pytest.mark.slow
def test_a_process_that_examines_alone_goes_on(tmp_path: Path) -> None:
    reports = run("alone", tmp_path)
    lone = msgspec.json.decode((tmp_path / "lone.json").read_bytes(), type=Report)
    assert isinstance(lone.evaluation, EvaluationFacts)
    assert lone.evaluation.n_samples == 51
    assert told(lone) == "part 1 of 2 of the data: the other processes did not come within 1 seconds"
    assert [r.evaluation.n_samples for r in reports if r.evaluation is not None] == [N, N]


@pytest.mark.slow
def test_what_fails_on_one_process_is_told_on_all(tmp_path: Path) -> None:
    for report in run("picky", tmp_path):
        assert report.evaluation is None
        assert "process 1: ValueError: no loss on this one" in told(report)


def test_samples_that_fill_up_the_last_batch_are_left_out() -> None:
    x = torch.arange(10.0)[:, None]
    batches = [Batch((x[i : i + 4],), carried={"site": [*"abcdefghij"[i : i + 4]]}) for i in (0, 4, 8)]
    kept = [*own(batches, Share(0, 2, 9))]
    assert [b.n_samples for b in kept] == [4, 4, 1]
    assert kept[-1].carried == {"site": ["i"]}
    assert [b.n_samples for b in own(batches, Share(0, 2, 8))] == [4, 4]
    assert [b.n_samples for b in own(batches, Share(0, 2))] == [4, 4, 2]


def test_without_a_group_nothing_is_merged() -> None:
    data = TensorDataset(torch.zeros(9, 2))
    assert share_of(DataLoader(data, sampler=DistributedSampler(data, 2, 0)), Net(), None) is None
    assert share_of([torch.zeros(3, 6)], Net(), True) is None
