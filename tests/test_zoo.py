"""Every animal of the zoo through examination and rendering, and unharmed afterwards."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import reportgen
from reportgen.document.facts import Report
from reportgen.page.build import build
from reportgen.render.html import to_html

from .zoo import CASES, kinds, sharing, state, training
from .zoo.case import Case

PARTS = ("architecture", "weights", "activations", "gradients", "dataset", "evaluation")
BRIEF = reportgen.Options(trial_budget=0)
pytestmark = pytest.mark.filterwarnings("ignore")  # of torch, about ways to make models that are going out of use


def tensors_of(model: Any) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers as they lie there, and tensors that are plain attributes."""
    for name, module in model.named_modules():
        if not isinstance(module, torch.jit.ScriptModule):
            for key, value in [*module._parameters.items(), *module._buffers.items(), *vars(module).items()]:
                if isinstance(value, Tensor):
                    yield f"{name}.{key}", value


def picture(model: Any) -> dict[str, Any]:
    """All that an examination might have changed, in a form that can be compared."""
    if not isinstance(model, nn.Module):
        return {name: digest(t) for name, t in model.state_dict.items()}
    seen: dict[str, Any] = {name: digest(t) for name, t in tensors_of(model)}
    seen |= {f"{n}: gradient": p.grad for n, p in model.named_parameters()}
    seen |= {f"{n}: trained": p.requires_grad for n, p in model.named_parameters()}
    for name, module in model.named_modules():
        seen[f"{name}: mode"] = getattr(module, "training", None)
        seen[f"{name}: class"] = type(module)
        for table in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks"):
            seen[f"{name}: {table}"] = list(getattr(module, table, ()))
    return seen


def digest(tensor: Tensor) -> object:
    if isinstance(tensor, (nn.UninitializedParameter, nn.UninitializedBuffer)) or tensor.is_meta:
        return str(tensor.device), type(tensor)
    dense = tensor.detach().to_dense() if tensor.layout != torch.strided else tensor.detach()
    return hashlib.sha256(repr((dense.dtype, dense.tolist())).encode()).hexdigest()


def examined(case: Case, options: reportgen.Options) -> tuple[Report, Any]:
    torch.manual_seed(0)
    model = case.build()
    before, rng = picture(model), torch.get_rng_state()
    report = reportgen.examine(model, case.data(), loss=case.loss, options=options)
    after = picture(model)
    assert {k: v for k, v in after.items() if before.get(k) != v} == {}
    assert before.keys() == after.keys()
    assert torch.equal(torch.get_rng_state(), rng)
    return report, model


LONG = ("two thousand layers", "noise alone")
"""Seconds each; for the slow tests."""


def cases(wanted: Callable[[Case], bool], slow: Callable[[str], bool] = LONG.__contains__) -> list[Any]:
    """Return the names of the cases that are wanted, as parameters."""
    names = [name for name, case in CASES.items() if wanted(case)]
    return [pytest.param(name, marks=pytest.mark.slow) if slow(name) else name for name in names]


@pytest.mark.slow
@pytest.mark.parametrize("name", cases(lambda case: True))
def test_what_a_report_says_of_it(name: str) -> None:
    case = CASES[name]
    report, model = examined(case, BRIEF)
    facts = report.architecture
    assert facts is not None
    assert facts.parameters == case.parameters == sum(row.parameters for row in facts.rows)
    assert facts.parameter_bytes == sum(row.parameter_bytes or 0 for row in facts.rows)
    assert facts.trainable == sum(row.trainable for row in facts.rows) <= facts.parameters
    check_coverage(report, case)
    check_pass(report, case)
    for field, value in case.facts.items():
        assert getattr(facts, field) == value, field
    if case.rows is not None:
        assert report.activations is not None
        assert tuple(row.name for row in report.activations.rows) == case.rows
    if case.check is not None:
        case.check(report)
    html = to_html(build(report))
    assert len(html) < 2_000_000
    assert model is not None


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_experiments_leave_it_unharmed_too(name: str) -> None:
    report, _ = examined(CASES[name], reportgen.Options(trial_budget=2.0))
    assert "trials" in {row.part for row in report.coverage}
    failed = {t.name: t.reason for t in report.trials.trials if t.failed} if report.trials is not None else {}
    assert failed == {}


def check_coverage(report: Report, case: Case) -> None:
    """Every part is measured, or is absent for the reason that was expected."""
    found = {row.part: row for row in report.coverage}
    for part in PARTS:
        row = found[part]
        if part in case.absent:
            assert row.status != "measured", part
            assert case.absent[part] in row.reason, (part, row.reason)
        else:
            assert row.status == "measured", (part, row.status, row.reason)
            assert case.remarks.get(part, "") in row.reason, (part, row.reason)


def check_pass(report: Report, case: Case) -> None:
    facts = report.architecture
    assert facts is not None
    rows = {row.name: row for row in facts.rows}
    if case.flops is not None:
        assert facts.flops == case.flops == rows[""].flops
    assert facts.uncounted == list(case.uncounted)
    assert (facts.peak_bytes or 0) >= 0
    for name, n in case.calls.items():
        assert rows[name].calls == n, name
    for name, (shape_in, shape_out) in case.shapes.items():
        assert (rows[name].input_shape, rows[name].output_shape) == (shape_in, shape_out), name
    own = {row.name for row in facts.rows if row.is_leaf or row.parameters}
    scripted = [row.name for row in facts.rows if row.calls == 0 and row.name.startswith(("body", "head"))]
    unused = [row.name for row in facts.rows if row.used is False and row.name in own]
    assert unused == list(case.unused) or set(unused) <= set(scripted)


def is_plain(name: str) -> bool:
    """Tell the cases that keep nothing from call to call: of them equal tensors, flags and hooks say enough."""
    return name in LONG or not any(name in module.CASES for module in (sharing, state, training, kinds))


@pytest.mark.parametrize("name", cases(lambda case: not case.silent, is_plain))
def test_outputs_are_the_same_to_the_bit_afterwards(name: str) -> None:
    case = CASES[name]
    torch.manual_seed(0)
    model = case.build()
    if not isinstance(model, nn.Module) or any(isinstance(p, nn.UninitializedParameter) for p in model.parameters()):
        return
    batch = first(case, model)
    if name in INSIDE:
        batch = replace(batch, fed_as=INSIDE[name], fed_inside=True)
    settle(model, training=False)
    with torch.no_grad():
        expected = list(flat(copy.deepcopy(reportgen_call(model, batch))))
        settle(model, training=True)
        reportgen.examine(model, case.data(), loss=case.loss, options=BRIEF)
        settle(model, training=False)
        found = list(flat(reportgen_call(model, batch)))
    assert len(expected) == len(found)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


INSIDE = {"labels inside the only input": "labels"}
"""Cases whose model finds the target in the dict that it takes."""


def settle(model: nn.Module, *, training: bool) -> None:
    """Set the mode of a model that has one."""
    with suppress(NotImplementedError):  # of an exported program's module
        model.train(training)


def first(case: Case, model: nn.Module) -> Any:
    from reportgen.subject.data import Batch, batches

    data = case.data()
    return Batch(()) if data is None else next(iter(batches(data, model, torch.device("cpu"))))


def reportgen_call(model: nn.Module, batch: Any) -> Any:
    from reportgen.subject.data import call
    from reportgen.subject.wrappers import eagerly

    with eagerly():
        return call(model, batch)


def flat(value: Any) -> Iterator[Tensor]:
    from reportgen.subject.data import tensors

    return tensors(value)


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 60


class Breaks(nn.Module):
    """Raises in the middle of its forward pass, from its n-th call on."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.stem, self.middle, self.at, self.n = nn.Linear(4, 4), Middle(self), at, 0

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        return self.middle(self.stem(x))


class Middle(nn.Module):
    """Where it happens."""

    def __init__(self, owner: Breaks) -> None:
        super().__init__()
        self.owner = [owner]  # in a list: no child of its own child

    def forward(self, x: Tensor) -> Tensor:
        if self.owner[0].n >= self.owner[0].at:
            raise ValueError("on purpose,\nover two lines")
        return x[:, :3]


def test_a_forward_that_raises_at_once_is_one_line_that_names_the_layer() -> None:
    model = Breaks(at=1)
    before = picture(model)
    with pytest.raises(reportgen.ReportgenError) as caught:
        reportgen.examine(model, CASES["plain"].data())
    assert "in layer 'middle' (Middle)" in str(caught.value)
    assert "ValueError: on purpose, over two lines" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert picture(model) == before


def test_a_forward_that_raises_on_the_third_batch_costs_the_rest_of_the_pass() -> None:
    """The first batch runs twice, for structure and for the probe, so the third batch is the fourth call."""
    model = Breaks(at=4)
    before = picture(model)
    report = reportgen.examine(model, CASES["plain"].data() * 3)
    status = {row.part: (row.status, row.failed) for row in report.coverage}
    assert status["architecture"] == status["weights"] == ("measured", False)
    assert status["activations"] == status["dataset"] == ("partial", True)
    assert next(row.reason for row in report.coverage if row.part == "activations").startswith("batch 3: ValueError")
    assert report.subject.n_batches == 2
    assert picture(model) == before


def test_lazy_parameters_stay_lazy_in_the_model_that_was_given() -> None:
    model = CASES["lazy parameters"].build()
    reportgen.examine(model, CASES["lazy parameters"].data())
    assert isinstance(model.lazy.weight, nn.UninitializedParameter)
    assert type(model.lazy) is nn.LazyLinear


def test_one_process_of_distributed_training_is_examined_without_its_wrapper(tmp_path: Any) -> None:
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        model = nn.parallel.DistributedDataParallel(CASES["plain"].build())
        before = picture(model)
        report = reportgen.examine(model, CASES["plain"].data(), loss=nn.functional.cross_entropy)
        assert picture(model) == before
    finally:
        dist.destroy_process_group()
    assert report.subject.wrappers == ["DistributedDataParallel"]
    assert report.architecture is not None
    assert [row.name for row in report.architecture.rows] == ["", "fc"]
    assert all(row.status == "measured" for row in report.coverage if row.part in PARTS)
