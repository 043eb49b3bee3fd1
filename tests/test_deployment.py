"""The model in use: times of forward passes, and exports that are held against the model's own outputs."""

from __future__ import annotations

import importlib.util
import itertools

import msgspec
import pytest
import torch
from torch import Tensor, nn

import reportgen
from reportgen.document.deployment import DeploymentFacts, Export, GroupTime, InferenceTimes, Latency
from reportgen.page import build
from reportgen.page.blocks import Table
from reportgen.page.sections import deployment as page
from reportgen.probe import deployment, latency
from reportgen.probe.deployment import apart
from reportgen.probe.steps import NotMeasuredError
from reportgen.subject.data import Batch
from tests import builders


class Counted(nn.Module):
    """Remembers the batch sizes that it was called with."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.sizes: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        out: Tensor = self.layer(x)
        return out


def test_every_batch_size_is_run_and_told() -> None:
    model = Counted().eval()
    times = latency.measure(model, [Batch((torch.randn(20, 4),)) for _ in range(2)], budget=30.0)
    assert [row.batch_size for row in times.rows] == [1, 2, 4, 8, 16, 32]
    for row in times.rows:
        # two runs to warm up come before those that are timed, and one to weigh them after
        assert model.sizes.count(row.batch_size) == row.runs + 3
        assert 0 < row.p50 <= row.p95
        assert row.runs >= 5
        assert row.peak_bytes is not None
    assert times.machine
    assert times.groups == []


def test_the_memory_of_a_pass_on_a_processor_is_that_of_its_tensors() -> None:
    model = nn.Sequential(nn.Linear(10, 100), nn.ReLU(), nn.Linear(100, 3)).eval()
    found = latency.measure(model, [Batch((torch.randn(8, 10),))], 0.2)
    # most when the second activation stands beside what it was made of: 2 x 100 numbers a sample
    assert [(row.batch_size, row.peak_bytes) for row in found.rows] == [(n, 2 * 100 * 4 * n) for n in (1, 2, 4, 8)]


def test_without_time_one_size_is_run_and_the_rest_is_told() -> None:
    times = latency.measure(Counted().eval(), [Batch((torch.randn(20, 4),))], budget=0.0)
    assert [row.batch_size for row in times.rows] == [1]
    assert times.out_of_time


def test_a_few_sizes_are_timed_unasked_in_a_tenth_of_what_was_spent() -> None:
    model = Counted().eval()
    times = latency.measure(model, [Batch((torch.randn(20, 4),))], None, spent=20.0)
    assert [row.batch_size for row in times.rows] == [1, 4, 16]
    assert not times.out_of_time
    for row in times.rows:  # one to see how long it takes, one to weigh
        assert model.sizes.count(row.batch_size) == row.runs + 2
        assert 3 <= row.runs <= 20
        assert row.peak_bytes == row.batch_size * 2 * 4
    assert times.weighed == "tensors"


def test_what_is_too_slow_for_timing_unasked_is_known_after_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    class Slow(Counted):
        """Takes a tenth of a second a sample by a clock of its own."""

        def forward(self, x: Tensor) -> Tensor:
            nonlocal now
            now += 0.1 * len(x)
            return super().forward(x)

    monkeypatch.setattr(latency.time, "perf_counter", lambda: now)
    model, batch = Slow().eval(), Batch((torch.randn(20, 4),))
    times = latency.measure(model, [batch], None, spent=10.0)
    assert [(row.batch_size, round(row.p50, 3)) for row in times.rows] == [(1, 0.1)]
    assert times.out_of_time
    assert model.sizes[-1] == 4
    assert model.sizes.count(4) == 1
    model.sizes.clear()
    with pytest.raises(NotMeasuredError, match="unasked"):
        latency.measure(model, [batch], None, spent=4.0)
    assert model.sizes == [1]
    now = 0.0
    latency.measure(model, [batch], None, spent=1e6)
    assert now <= latency.USUAL + 0.1 * 16  # and the run that says it is too slow


def test_a_model_of_one_batch_size_is_timed_at_this() -> None:
    times = latency.measure(Fixed().eval(), [Batch((torch.randn(3, 4),))], None, spent=10.0)
    assert [row.batch_size for row in times.rows] == [3]


def test_samples_of_a_group_are_run_alone() -> None:
    class Deep(nn.Module):
        """Does a hundred times the work where the first number is above zero."""

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(200 if float(x[0, 0]) > 0 else 2):
                x = x + x.sin() @ torch.ones(64, 64)
            return x

    x = torch.cat([torch.ones(5, 64), -torch.ones(5, 64)])
    batch = Batch((x,), carried={"site": ["slow"] * 5 + ["fast"] * 5})
    times = latency.measure(Deep().eval(), [batch], budget=5.0)
    assert [(g.key, g.value, g.n) for g in times.groups] == [("site", "slow", 3), ("site", "fast", 3)]


def test_groups_that_a_batch_carries_are_timed_without_being_asked_for() -> None:
    batch = Batch((torch.randn(20, 4),), carried={"site": ["a"] * 12 + ["b"] * 8})
    model = Counted().eval()
    times = latency.measure(model, [batch], budget=None)
    assert (times.rows, times.out_of_time) == ([], True)
    assert {(g.value, g.n) for g in times.groups} == {("a", 3), ("b", 3)}
    # one that says that sizes are too slow, then three samples of each in three rounds, and two runs to warm up
    assert model.sizes == [1] * (1 + 2 * 3 * 3 + 2)


def test_the_time_for_groups_is_dealt_out_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    now = itertools.count()
    monkeypatch.setattr(latency.time, "perf_counter", lambda: next(now) / 100)
    batch = Batch((torch.randn(60, 4),), carried={"site": [str(i % 15) for i in range(60)]})
    times = latency.measure(Counted().eval(), [batch], budget=None)
    assert len(times.groups) == 15  # each once or twice, instead of the first ones alone
    assert {g.n for g in times.groups} <= {1, 2, 3}


@pytest.mark.parametrize(("budget", "timed"), [(None, True), (0.0, False)])
def test_the_slowest_groups_are_in_a_report_unless_nothing_is_to_be_timed(budget: float | None, timed: bool) -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.layer(x)
            return out

    data = [{"x": torch.randn(8, 4), "label": torch.arange(8) % 2, "site": ["a", "b"] * 4}] * 2
    options = reportgen.Options(trial_budget=0, pictures=0, inference_budget=budget)
    report = reportgen.examine(Named(), data, options=options)
    assert (report.meta.inference is not None) == timed
    assert ("latency" in {row.part for row in report.coverage}) == timed
    if timed:
        tables = {
            block.id for section in build.build(report).sections for block in section.blocks if isinstance(block, Table)
        }
        assert "slowest-groups" in tables


def test_an_export_gives_the_same_outputs_for_any_batch() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 2))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    facts = deployment.measure(model, [Batch((torch.randn(6, 4),))], budget=60.0)
    program, onnx = facts.exports
    assert (program.kind, program.status, program.any_batch) == ("torch.export", "works", True)
    assert program.difference is not None
    assert program.difference < 1e-6
    assert facts.n_samples == 3
    assert onnx.kind == "ONNX"
    if importlib.util.find_spec("onnx") is None:
        assert (onnx.status, onnx.reason.partition(":")[0]) == ("not tried", "not installed")
    assert model.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())


class Branching(nn.Module):
    """Takes a way that hangs on the values: no program can hold it."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if float(x.sum()) > 0 else x


class Fixed(nn.Module):
    """Has its batch size in a reshape."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(3, 2, 2).sum(2)


def test_what_cannot_be_exported_says_why() -> None:
    facts = deployment.measure(Branching(), [Batch((torch.randn(3, 4),))], budget=60.0)
    program, onnx = facts.exports
    assert program.status == "failed"
    assert program.reason
    assert onnx.status == "not tried"


def test_a_batch_size_inside_of_the_model_is_found() -> None:
    facts = deployment.measure(Fixed(), [Batch((torch.randn(3, 4),))], budget=60.0)
    assert (facts.exports[0].status, facts.exports[0].any_batch) == ("works", False)


def test_without_time_left_onnx_is_not_tried() -> None:
    facts = deployment.measure(nn.Linear(4, 2), [Batch((torch.randn(3, 4),))], budget=1e-9)
    assert facts.exports[1] == Export(kind="ONNX", status="not tried", reason="the time given was up")


@pytest.mark.parametrize(
    ("found", "wanted", "gap"),
    [
        (torch.tensor([1.0, 4.0]), torch.tensor([1.0, 5.0]), 0.2),
        ([torch.zeros(2)], (torch.zeros(2),), 0.0),
        (torch.zeros(3), torch.zeros(2), None),
        (torch.tensor([float("nan")]), torch.tensor([1.0]), float("inf")),
        ({"a": torch.ones(1), "n": torch.tensor(3)}, {"a": torch.ones(1) * 2, "n": torch.tensor(3)}, 0.5),
    ],
)
def test_outputs_are_compared_by_the_largest(found: object, wanted: object, gap: float | None) -> None:
    assert apart(found, wanted) == (None if gap is None else pytest.approx(gap))


def test_an_examination_exports_only_on_request_and_times_unless_told_not_to() -> None:
    model, data = nn.Linear(4, 2), [(torch.randn(8, 4), torch.randint(2, (8,))) for _ in range(2)]
    plain = reportgen.examine(model, data, options=reportgen.Options(trial_budget=0))
    assert plain.meta.inference is not None
    assert plain.deployment is None
    untimed = reportgen.examine(model, data, options=reportgen.Options(trial_budget=0, inference_budget=0))
    assert untimed.meta.inference is None
    asked = reportgen.Options(trial_budget=0, inference_budget=0.01, export_budget=30.0)
    report = reportgen.examine(model, data, options=asked)
    assert report.meta.inference is not None
    assert report.deployment is not None
    assert report.deployment.exports[0].status == "works"
    assert {"latency", "export"} <= {row.part for row in report.coverage}
    # but for times, which stand in meta, all reports are the same
    left = {"meta", "deployment", "coverage", "findings", "diagnoses"}
    for field in set(report.__struct_fields__) - left:
        assert getattr(report, field) == getattr(plain, field) == getattr(untimed, field), field


def test_times_and_exports_are_shown() -> None:
    times = InferenceTimes(
        machine="A Processor (cpu)",
        threads=2,
        rows=[Latency(batch_size=8, runs=40, p50=0.004, p95=0.005), Latency(batch_size=16, runs=9, p50=0.5, p95=0.9)],
        groups=[GroupTime(key="site", value="a", n=3, seconds=0.002)],
        out_of_time=True,
    )
    exports = DeploymentFacts(n_samples=3, exports=[Export(kind="torch.export", status="differs", difference=0.4)])
    report = builders.smallest()
    assert page.section(report) is None
    meta = msgspec.structs.replace(report.meta, inference=times)
    section = page.section(msgspec.structs.replace(report, meta=meta, deployment=exports))
    assert section is not None
    tables = {b.id: b for b in section.blocks if isinstance(b, Table)}
    assert [cell.text for cell in tables["latency"].rows[0]] == ["8", "40", "4 ms", "5 ms", "2,000"]
    assert "A Processor (cpu), 2 threads" in tables["latency"].note
    assert tables["slowest-groups"].rows[0][3].text == "2 ms"
    assert tables["exports"].rows[0][1].tone == "error"
