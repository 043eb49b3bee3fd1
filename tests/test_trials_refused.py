"""Models and losses that an experiment cannot be made with: a reason in words, no raw error, and no false alarm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import reportgen
from reportgen.document.facts import Report
from reportgen.document.trials import Trial
from reportgen.probe.trials import learning
from reportgen.probe.trials import run as trials
from reportgen.probe.trials.lab import Clock, NotApplicableError
from reportgen.subject.data import Batch

from .zoo.kinds import Net, exported, frozen, program_module, quietly
from .zoo.numbers import dynamic
from .zoo.targets import LossAlone, NeedsLabels

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch, about ways to make models that are going out of use
CE = F.cross_entropy


class Made(nn.Module):
    """A forward function and its layers."""

    def __init__(self, forward: Callable[..., Any], **parts: nn.Module) -> None:
        super().__init__()
        self.run = forward
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, *args: Tensor) -> Any:
        return self.run(self, *args)


def table(*shape: int, n: int = 4) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(8, *shape, generator=generator), torch.arange(8) % 3) for _ in range(n)]


def tokens() -> list[tuple[Tensor, Tensor]]:
    return [
        (torch.randint(50, (8, 5), generator=torch.Generator().manual_seed(i)), torch.arange(8) % 3) for i in range(4)
    ]


def examined(model: Any, data: Any, loss: Any = CE, optimizer: Any = None) -> tuple[Report, dict[str, Trial]]:
    report = reportgen.examine(
        model, data, loss=loss, optimizer=optimizer, options=reportgen.Options(trial_budget=20.0)
    )
    assert report.trials is not None
    assert {t.name: t.reason for t in report.trials.trials if t.failed} == {}
    return report, {t.name: t for t in report.trials.trials}


def rules(report: Report) -> set[str]:
    return {finding.rule for finding in report.findings if finding.severity.value != "info"}


def sparse() -> nn.Module:
    torch.manual_seed(0)
    return Made(lambda s, x: s.fc(s.embed(x).sum(1)), embed=nn.Embedding(50, 4, sparse=True), fc=nn.Linear(4, 3))


def test_sparse_gradients_are_pushed_by_sgd_and_refused_by_adam() -> None:
    model = sparse()
    _, found = examined(model, tokens(), optimizer=torch.optim.SGD(model.parameters(), 0.1))
    assert found["one-step"].numbers["moved"] == found["one-step"].numbers["pushed"] == 3
    assert found["one-step"].numbers["slope"] == pytest.approx(-1, abs=1e-6)
    assert found["one-batch"].reason == "the gradients are sparse, which Adam does not take"
    _, found = examined(model, tokens(), optimizer=torch.optim.Adam(model.parameters(), 0.1))
    assert found["one-step"].reason.startswith("Adam refuses to make a step: RuntimeError")


def test_complex_outputs() -> None:
    torch.manual_seed(0)
    a, b = nn.Linear(4, 8, dtype=torch.complex64), nn.Linear(8, 3, dtype=torch.complex64)
    model = Made(lambda s, x: s.b(s.a(x.to(torch.complex64))), a=a, b=b)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    report, found = examined(model, table(4), lambda out, y: CE(out.abs(), y), optimizer)
    assert found["one-step"].numbers["slope"] == pytest.approx(-1, abs=1e-5)
    assert found["eval-twice"].reason == "the output holds no real floating-point tensor"
    assert found["loss-of-answers"].reason == "the output is no batch of floating-point rows"
    row = next(row for row in report.coverage if row.part == "evaluation")
    assert row.reason == "the model's output is complex"


@pytest.mark.parametrize("make", [dynamic, frozen, lambda: quietly(lambda: torch.jit.script(Net())), exported])
def test_models_without_modules_to_look_into(make: Callable[[], Any]) -> None:
    data = table(7, 4) if make is dynamic else table(4)
    report, found = examined(make(), data)
    assert found["eval-twice"].status == "done"
    assert rules(report) == set()


def test_a_scripted_copy_is_trained_and_the_original_is_not() -> None:
    torch.manual_seed(0)
    model = quietly(lambda: torch.jit.script(Net()))
    weights = [p.detach().clone() for p in model.parameters()]
    report, found = examined(model, table(4), optimizer=torch.optim.SGD(model.parameters(), 0.1))
    step = found["one-step"].numbers
    assert step["trainable"] == step["reached"] == step["held"] == step["moved"] == 4
    assert all(torch.equal(p, w) for p, w in zip(model.parameters(), weights, strict=True))
    assert all(p.grad is None for p in model.parameters())
    assert rules(report) == set()


def test_a_program_of_one_batch_size_is_tried_with_that() -> None:
    model = torch.export.export(Net().eval(), (torch.zeros(8, 4),)).module()
    _, found = examined(model, table(4))
    assert found["eval-twice"].status == "done"
    assert found["neighbours"].reason.startswith("the model refuses a batch of 4 in eval mode: AssertionError")


def test_programs_hold_what_the_optimizer_holds() -> None:
    net = Net()
    program = torch.export.export(net, (torch.zeros(8, 4),))
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for model in (program, program.module()):
        report, _ = examined(model, table(4), optimizer=optimizer) if model is program else (None, None)
        report = report or reportgen.examine(model, table(4), loss=CE, optimizer=optimizer)
        assert report.weights is not None
        assert [row.in_optimizer for row in report.weights.rows] == [True] * 4
        assert "optimizer-missing-params" not in {finding.rule for finding in report.findings}
    assert all("val" in node.meta for node in program.graph.nodes if node.op == "call_function")


def test_lazy_parameters_are_held_by_the_optimizer_of_the_copy() -> None:
    model = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    report, found = examined(model, table(4), optimizer=optimizer)
    assert report.weights is not None
    assert [row.in_optimizer for row in report.weights.rows] == [True] * 4
    assert found["one-step"].numbers["held"] == 4
    assert isinstance(model[0].weight, nn.UninitializedParameter)
    assert optimizer.param_groups[0]["params"][0] is model[0].weight


def test_a_loss_of_probabilities_refuses_what_lies_outside() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 4), nn.Sigmoid())
    data = [(x.sigmoid(), x.sigmoid()) for x, _ in table(4)]
    _, found = examined(model, data, nn.BCELoss())
    assert found["loss-shifted"].reason.startswith("the loss refuses made-up outputs: RuntimeError")
    assert found["loss-of-answers"].status == "done"


def test_categories_among_floats_have_nothing_between_them() -> None:
    torch.manual_seed(0)
    model = Made(
        lambda s, x: s.b(torch.relu(s.a(torch.cat([s.embed(x[:, 0].long()), x[:, 1:]], 1)))),
        embed=nn.Embedding(5, 4),
        a=nn.Linear(7, 8),
        b=nn.Linear(8, 3),
    )
    data = [(torch.cat([(y % 5).float()[:, None], x[:, 1:]], 1), y) for x, y in table(4)]
    _, found = examined(model, data)
    told = "of inputs between and beyond those given, the model refuses a batch of 32 in eval mode: IndexError"
    assert found["affinity"].reason.startswith(told)


def test_branches_side_by_side_need_nothing_between_them() -> None:
    """A factorisation: no affine layer is fed by another, so that a missing activation is out of the question."""
    torch.manual_seed(0)
    towers = Made(lambda s, a, b: (s.left(a) * s.right(b)).sum(1), left=nn.Linear(4, 8), right=nn.Linear(4, 8))
    shared = Made(lambda s, a, b: s.one(a) * s.one(b), one=nn.Linear(4, 3))
    data = [(x, x.flip(0), x[:, 0] * x[:, 1]) for x, _ in table(4)]
    for model in (towers, shared):
        report, found = examined(
            model, data, lambda out, y: (out.sum(-1) - y if out.dim() > 1 else out - y).square().mean()
        )
        assert found["affinity"].reason.startswith("no affine layer feeds the last one")
        assert "missing-nonlinearity" not in {finding.rule for finding in report.findings}
    chain = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 3))
    report, found = examined(chain, table(4))
    assert found["affinity"].numbers["departure"] < 1e-4
    assert "missing-nonlinearity" in {finding.rule for finding in report.findings}


def test_a_model_that_refuses_training_mode() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        if self.training:
            raise ValueError("only for evaluation")
        return self.fc(x)

    report, found = examined(Made(forward, fc=nn.Linear(4, 3)), table(4))
    told = "the model refuses a batch of 32 in training mode: ValueError: only for evaluation"
    assert found["one-step"].reason == told
    row = next(row for row in report.coverage if row.part == "gradients")
    assert (row.status, row.reason) == (
        "partial",
        "in eval mode, as training mode failed: ValueError: only for evaluation",
    )


@pytest.mark.parametrize("kind", [NeedsLabels, LossAlone])
def test_labels_that_a_model_asks_for_are_no_inputs_of_an_experiment(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = kind()
    report, found = examined(model, table(4), None, torch.optim.SGD(model.parameters(), 0.1))
    assert found["one-step"].numbers["slope"] == pytest.approx(-1, abs=1e-6)
    assert not any(key.startswith("input_") and key != "input_spread" for key in found["inputs-permuted"].numbers)
    assert rules(report) == set()


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_sparse_inputs_are_measured_but_not_rearranged(layout: torch.layout) -> None:
    data = [(x.to_sparse(layout=layout), y) for x, y in table(4)]
    report, found = examined(nn.Linear(4, 3), data)
    assert found["eval-twice"].status == "done"
    assert found["neighbours"].reason == "the inputs do not count samples along their first dimension"
    row = next(row for row in report.coverage if row.part == "dataset")
    assert (row.status, row.failed) == ("partial", False)
    assert row.reason.startswith("the inputs are sparse tensors: neither copies")
    assert report.dataset is not None
    assert report.dataset.features[0].stats.count == 4 * 8


def test_outputs_and_targets_that_do_not_match_are_told() -> None:
    half = Made(lambda s, x: s.fc(x)[: max(1, len(x) // 2)], fc=nn.Linear(4, 3))
    _, found = examined(half, table(4))
    assert found["loss-of-answers"].reason == "outputs and targets are neither class scores nor numbers of one size"
    ignored = [Batch((x,), {}, torch.full((8,), -100)) for x, _ in table(4)]
    laboratory = trials.laboratory(nn.Linear(4, 3), CE, (), ignored, [], Clock(60.0), 0)
    with pytest.raises(NotApplicableError, match="no target is a class"):
        learning.shuffled_labels(laboratory)


def test_what_is_copied_into_something_else_is_not_tried() -> None:
    class Odd(nn.Linear):
        def __deepcopy__(self, memo: Any) -> None:
            return None

    report = reportgen.examine(Odd(4, 3), table(4), loss=CE)
    row = next(row for row in report.coverage if row.part == "trials")
    assert (row.reason, row.failed) == ("the model cannot be copied: copying it gave a NoneType", False)


def test_program_modules_take_any_batch_where_they_were_exported_so() -> None:
    _, found = examined(program_module(), table(4))
    assert found["neighbours"].status == "done"
