"""Healthy models under losses that are not in the units of their targets, and other things that once looked sick."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import reportgen
from reportgen.document.history import History, Series
from reportgen.health.context import Context
from reportgen.health.rules.optimizer import update_ratio
from reportgen.health.thresholds import Thresholds
from reportgen.page.blocks import Section, Table
from reportgen.page.build import build

from .test_page_sections import section

X = torch.randn(400, 5, generator=torch.Generator().manual_seed(0))
WEIGHTS = torch.tensor([1.0, -2.0, 0.5, 0.0, 1.0])


def hinge(output: Tensor, target: Tensor) -> Tensor:
    return functional.relu(1 - output * target).mean()


def trained(
    target: Tensor, loss: Callable[[Tensor, Tensor], Tensor], width: int, rate: float = 0.02
) -> reportgen.Report:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 24), nn.GELU(), nn.Linear(24, width))
    optimizer = torch.optim.Adam(model.parameters(), rate)
    batches = [(X[i : i + 40], target[i : i + 40]) for i in range(0, 400, 40)]
    history = reportgen.fit(model, batches, batches, loss=loss, optimizer=optimizer, epochs=12, progress=False)
    return reportgen.examine(model, batches, loss=loss, optimizer=optimizer, history=history)


def serious(report: reportgen.Report) -> list[str]:
    return [d.cause for d in report.diagnoses if d.severity is not reportgen.Severity.INFO]


def labels(shown: Section) -> set[str]:
    return {
        row[0].text for block in shown.blocks if isinstance(block, Table) and block.id == "scores" for row in block.rows
    }


def test_a_margin_is_no_prediction() -> None:
    report = trained(torch.sign(X @ WEIGHTS).unsqueeze(1), hinge, 1)
    assert serious(report) == []
    shown = section(build(report), "evaluation")
    assert "outputs need not be near their targets" in shown.intro
    assert not {"R²", "MAE"} & labels(shown)


def test_a_prediction_in_the_units_of_its_targets_keeps_its_score() -> None:
    report = trained((X @ WEIGHTS).unsqueeze(1), nn.MSELoss(), 1)
    shown = section(build(report), "evaluation")
    assert "outputs need not" not in shown.intro
    assert labels(shown) >= {"R²", "MAE"}


@pytest.mark.slow
def test_a_log_rate_is_no_prediction() -> None:
    rate = (0.4 * X @ WEIGHTS).exp().unsqueeze(1)
    counts = torch.poisson(rate, generator=torch.Generator().manual_seed(1))
    assert serious(trained(counts, nn.PoissonNLLLoss(), 1, 0.005)) == []


@pytest.mark.slow
def test_logits_of_soft_labels_are_no_prediction() -> None:
    soft = (X @ torch.randn(5, 3, generator=torch.Generator().manual_seed(2))).softmax(1)
    assert serious(trained(soft, nn.CrossEntropyLoss(), 3)) == []


def test_a_prediction_that_explains_nothing_is_still_an_error() -> None:
    def mine(output: Tensor, target: Tensor) -> Tensor:
        return ((output - target) ** 2).mean()

    noise = torch.randn(400, 1, generator=torch.Generator().manual_seed(3))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 24), nn.ReLU(), nn.Linear(24, 1))
    history = History(epochs=5, steps=50, series=[Series(name="train_loss", axis="epoch", x=[], y=[], n=0)])
    report = reportgen.examine(model, [(X + 3, noise + 8)], loss=mine, history=history)
    assert "o-baseline-skill" in {f.rule for f in report.findings if f.severity is reportgen.Severity.ERROR}


def test_samples_that_the_loss_leaves_out_do_not_leak() -> None:
    graph, labels = X[:80], (X[:80, 0] > 0).long()
    given, training = labels.clone(), labels.clone()
    chosen = torch.randperm(80, generator=torch.Generator().manual_seed(4))
    given[chosen[:40]], training[chosen[40:]] = -100, -100
    model = nn.Linear(5, 2)
    with torch.no_grad():
        model.weight.zero_()
        model.weight[1, 0] = 5.0
    report = reportgen.examine(model, [(graph, given)], train_data=[(graph, training)], loss=nn.CrossEntropyLoss())
    assert not {"d-overlap", "d-label-mapping"} & {f.rule for f in report.findings}
    assert serious(report) == []


@pytest.mark.filterwarnings("ignore")  # torch says that its integer tensors will go
def test_ranges_taken_over_the_batch_are_no_mixing() -> None:
    model = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 2)))
    report = reportgen.examine(model, [(X[:40], torch.randint(2, (40,)))])
    assert "batch-mixing" not in {d.cause for d in report.diagnoses}


def test_a_line_search_takes_steps_of_any_size() -> None:
    def history(name: str) -> History:
        points = Series(name="update_ratio", axis="step", x=[1, 2, 3, 4], y=[0.5] * 4, n=4)
        return History(series=[points], steps=4, optimizer=name)

    def found(name: str) -> int:
        report = reportgen.examine(None, history=history(name))
        context = Context(
            state="trained", outcome_ok=False, outcome_known=False, real_data=False, n_samples=0, chance=None
        )
        return len(list(update_ratio(report, context, Thresholds())))

    assert (found("LBFGS"), found("SGD")) == (0, 1)


def test_without_a_loss_the_experiments_say_so() -> None:
    report = reportgen.examine(nn.Linear(5, 2), [(X[:40], torch.randint(2, (40,)))])
    assert report.trials is not None
    (one_step,) = [trial for trial in report.trials.trials if trial.name == "one-step"]
    assert "loss" in one_step.reason
    assert "Error" not in one_step.reason
