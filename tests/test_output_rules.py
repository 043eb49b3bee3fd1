"""What a model can put out, against its loss and its targets: each fault through the front door, and what fits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.document.facts import Finding, Report, Severity
from reportgen.health.context import context_of
from reportgen.health.thresholds import Thresholds
from reportgen.page.wording import describe

pytestmark = pytest.mark.usefixtures("without_learning")
RULES = {"output-range", "probabilities-as-scores", "loss-mismatch", "loss-broadcast", "loss-blind", "loss-sign"}


def examined(model: nn.Module, x: Tensor, y: Tensor, loss: Any) -> Report:
    return reportgen.examine(model, DataLoader(TensorDataset(x, y), 64), loss=loss)


def found(report: Report) -> list[Finding]:
    return [f for f in report.findings if f.rule in RULES and f.severity is not Severity.INFO]


def inputs(n: int = 256) -> Tensor:
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(0))


def body(width: int, *more: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, width), *more)


X = inputs()
CLASSES = X[:, :4].argmax(1)
YES = (X[:, :1] > 0).float()
NUMBERS = X[:, :1] * 2


class Softcap(nn.Module):
    """Scores bounded far out, as large language models do it."""

    def forward(self, x: Tensor) -> Tensor:
        return 30 * torch.tanh(x / 30)


def by_token(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output.flatten(0, 1), target.flatten())


def by_hand(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output, target)


def likelihood(output: Tensor, target: Tensor) -> Tensor:
    return F.nll_loss(output, target)


def squared(output: Tensor, target: Tensor) -> Tensor:
    return ((output - target) ** 2).mean()


def squeezed(output: Tensor, target: Tensor) -> Tensor:
    return F.mse_loss(output.squeeze(1), target.float())


def of_shares(output: Tensor, target: Tensor) -> Tensor:
    """Multinomial likelihood of the items of a sample, as in recommending."""
    return -(target * output.log()).sum(1).mean()


LOGITS = nn.BCEWithLogitsLoss()


def masked_bce(output: Tensor, target: Tensor) -> Tensor:
    """-1 stands for what nobody looked for."""
    told = F.binary_cross_entropy_with_logits(output, target.clamp_min(0), reduction="none")
    return (told * (target >= 0)).sum() / (target >= 0).sum()


SICK: dict[str, tuple[nn.Module, Tensor, Any, str, str]] = {
    "softmax, own function": (body(4, nn.Softmax(1)), CLASSES, by_hand, "probabilities-as-scores", "double-softmax"),
    "sigmoid, few samples": (body(1, nn.Sigmoid()), YES, LOGITS, "probabilities-as-scores", "double-softmax"),
    "sigmoid on classes": (
        body(4, nn.Sigmoid()),
        CLASSES,
        nn.CrossEntropyLoss(),
        "output-range",
        "wrong-output-activation",
    ),
    "relu on classes": (body(4, nn.ReLU()), CLASSES, by_hand, "output-range", "wrong-output-activation"),
    "relu on logits": (body(1, nn.ReLU()), YES, LOGITS, "output-range", "wrong-output-activation"),
    "relu on numbers": (body(1, nn.ReLU()), NUMBERS, nn.MSELoss(), "output-range", "wrong-output-activation"),
    "tanh on numbers": (body(1, nn.Tanh()), NUMBERS, nn.MSELoss(), "output-range", "wrong-output-activation"),
    "softmax of one unit": (body(1, nn.Softmax(1)), YES, nn.BCELoss(), "output-range", "wrong-output-activation"),
    "softmax on many labels": (
        body(3, nn.Softmax(1)),
        (X[:, :3] > 0).float(),
        nn.BCELoss(),
        "output-range",
        "wrong-output-activation",
    ),
    "likelihood of scores": (body(4), CLASSES, likelihood, "loss-mismatch", "wrong-loss"),
    "targets of -1 and 1": (body(1), YES * 2 - 1, LOGITS, "loss-mismatch", "wrong-loss"),
    "number of the class": (body(1), CLASSES, squeezed, "loss-mismatch", "wrong-loss"),
    "one column": (body(1), YES, nn.CrossEntropyLoss(), "loss-blind", "wrong-loss"),
    "broadcast by hand": (body(1), NUMBERS[:, 0], squared, "loss-broadcast", "loss-shape-broadcast"),
    "negated": (body(1), NUMBERS, lambda o, y: -F.mse_loss(o, y), "loss-sign", "loss-sign-flipped"),
}


@pytest.mark.parametrize("case", SICK)
def test_a_misfit_is_found_and_named(case: str) -> None:
    model, target, loss, rule, cause = SICK[case]
    report = examined(model, X, target, loss)
    assert rule in {f.rule for f in found(report)}
    assert cause in {d.cause for d in report.diagnoses if d.severity is not Severity.INFO}
    assert all(describe(f) for f in found(report))


def heads_in(inputs: Tensor, told: Tensor, seed: int = 0) -> nn.Module:
    """Return four linear heads, all fitted to the same numbers."""
    torch.manual_seed(seed)
    model = nn.Linear(inputs.shape[1], 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        (model(inputs) - told).square().mean().backward()
        optimizer.step()
    return model


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize(
    ("loss", "seen", "expected"),
    [
        (nn.MSELoss(), False, "warning"),  # the action taken decides, and no head is picked by it
        (F.smooth_l1_loss, False, "warning"),
        (nn.MSELoss(), True, "info"),  # an ensemble of four that works
        (lambda o, y: F.mse_loss(o, y.expand_as(o)), False, None),  # meant
        (lambda o, y: (o - y).abs().mean(), False, None),  # nor does torch warn here
    ],
)
def test_several_outputs_drawn_to_one_target_are_told_where_torch_warns(loss: Any, seen: bool, expected: Any) -> None:
    value = X[:, 0] + 0.2 * X[:, 1]
    target = (value if seen else torch.where(X[:, 2] > 0, value, -value))[:, None]
    report = examined(heads_in(X, target), X, target, loss)
    severities = {f.rule: str(f.severity) for f in report.findings}
    assert severities.get("loss-broadcast") == expected
    assert all(describe(f) for f in report.findings if f.rule == "loss-broadcast")
    if expected == "warning":
        assert "loss-shape-broadcast" in {d.cause for d in report.diagnoses}


HEALTHY: dict[str, tuple[nn.Module, Tensor, Any]] = {
    "masked": (body(1), torch.where(X[:, :1] > 0.8, -torch.ones(1), YES), masked_bce),
    "scores": (body(4), CLASSES, nn.CrossEntropyLoss()),
    "smoothed": (body(4), CLASSES, nn.CrossEntropyLoss(label_smoothing=0.1)),
    "log-probabilities": (body(4, nn.LogSoftmax(1)), CLASSES, nn.NLLLoss()),
    "log-probabilities into cross-entropy": (body(4, nn.LogSoftmax(1)), CLASSES, nn.CrossEntropyLoss()),
    "soft cap": (body(4, Softcap()), CLASSES, nn.CrossEntropyLoss()),
    "logits": (body(1), YES, LOGITS),
    "logits, soft cap": (body(1, Softcap()), YES, LOGITS),
    "probabilities": (body(1, nn.Sigmoid()), YES, nn.BCELoss()),
    "numbers": (body(1), NUMBERS, nn.MSELoss()),
    "positive numbers": (body(1, nn.ReLU()), NUMBERS.abs(), nn.MSELoss()),
    "shares": (body(1, nn.Sigmoid()), NUMBERS.sigmoid(), nn.MSELoss()),
    "squeezed by the loss": (body(1), NUMBERS[:, 0], squeezed),
    "many labels": (body(3), (X[:, :3] > 0).float(), LOGITS),
    "softened classes": (body(4, nn.Softmax(1)), F.one_hot(CLASSES, 4) * 0.9 + 0.025, nn.MSELoss()),
    "likelihood of shares": (body(3, nn.Softmax(1)), (X[:, :3] > 0).float(), of_shares),
    "rebuilt": (body(6), X, nn.L1Loss()),
    "counts": (body(1), (X[:, 0] * 30).round().long().abs(), squeezed),
}


@pytest.mark.parametrize("case", HEALTHY)
def test_what_fits_raises_nothing(case: str) -> None:
    assert [f.rule for f in found(examined(HEALTHY[case][0], X, *HEALTHY[case][1:]))] == []


def test_tokens_too() -> None:
    tokens = torch.randint(9, (64, 5), generator=torch.Generator().manual_seed(0))
    target = (tokens + 1) % 9
    plain = nn.Sequential(nn.Embedding(9, 8), nn.Linear(8, 9))
    assert found(examined(plain, tokens, target, by_token)) == []
    twice = nn.Sequential(plain, nn.Softmax(-1))
    assert {f.rule for f in found(examined(twice, tokens, target, by_token))} == {"probabilities-as-scores"}


def test_distances_that_are_small_where_right_are_no_flipped_loss() -> None:
    class Siamese(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.fc = nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            return (self.fc(x[:, :3]) - self.fc(x[:, 3:])).norm(dim=1)

    def contrastive(distance: Tensor, same: Tensor) -> Tensor:
        return (same * distance**2 + (1 - same) * (2 - distance).relu() ** 2).mean()

    report = examined(Siamese(), X, YES[:, 0], contrastive)
    assert found(report) == []
    assert not context_of(report, Thresholds()).outcome_known  # the sign of a distance is no answer
    assert context_of(examined(body(1), X, YES, LOGITS), Thresholds()).outcome_known


def test_an_end_of_a_range_that_rounding_left_is_about_zero() -> None:
    evidence = {"low": 4.25e-18, "high": 1.0, "outside": 0.3, "target_min": -2.0, "target_max": 2.0}
    told = Finding(
        rule="output-range", severity=Severity.WARNING, subject="output", section="evaluation", evidence=evidence
    )
    assert describe(told).startswith("The last activation reaches from ~0 to 1;")


@pytest.mark.parametrize(("reach", "alarmed"), [(1.0, False), (0.8, True)])
def test_values_at_the_very_end_of_a_range_are_within_it(reach: float, alarmed: bool) -> None:
    """The last bin of a histogram begins at the largest value, and reaches beyond it."""
    y = torch.rand(len(X), 1, generator=torch.Generator().manual_seed(0)) * 0.9
    y[::3] = 1.0

    class Bounded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = body(1)

        def forward(self, x: Tensor) -> Tensor:
            return reach * self.body(x).sigmoid()

    assert [f.rule for f in found(examined(Bounded(), X, y, nn.MSELoss()))] == ["output-range"] * alarmed
