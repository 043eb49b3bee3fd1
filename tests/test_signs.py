"""Losses of labels -1 and 1 that are given 0 and 1, reconstructions handed over as weights, and their look-alikes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import reportgen
from reportgen.document.facts import Finding, Report
from reportgen.health.rules.claims import inputs_are_weights, zero_as_label
from reportgen.page import words_claims, words_trials
from reportgen.probe.trials import run as trials
from reportgen.probe.trials import signs
from reportgen.probe.trials.lab import Clock, Lab, NotApplicableError
from reportgen.subject.data import Batch

pytestmark = pytest.mark.slow  # models are trained, pages are drawn

Loss = Callable[[Any, Tensor], Tensor]


class Two(nn.Module):
    """Two views of a sample, or two samples of a pair, by one net."""

    def __init__(self, width: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net, self.width = nn.Linear(4, width), width

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self.net(x[:, :4]), self.net(x[:, 4:])
        return (a, b) if self.width > 1 else (a[:, 0], b[:, 0])


class Distance(Two):
    def forward(self, x: Tensor) -> Tensor:
        return F.pairwise_distance(*super().forward(x))


class Said(nn.Module):
    """One score a sample, or several."""

    def __init__(self, n: int = 1, *last: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net, self.n = nn.Sequential(nn.Linear(8, n), *last), n

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)[:, 0] if self.n == 1 else self.net(x)


def data(n: int = 64, columns: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 8, generator=generator)
    return Batch((x,), {}, (x[:, :columns] > 0.3).float() if columns else (x[:, 0] > 0).float())


def lab(model: nn.Module, batch: Batch, loss: Loss) -> Lab:
    return trials.laboratory(model, loss, (), [batch], [], Clock(60.0), 0)


def examined(model: nn.Module, batch: Batch, loss: Loss) -> Report:
    options = reportgen.Options(trial_budget=2)
    return reportgen.examine(model, [(batch.args[0], batch.target)], loss=loss, options=options)


def mismatches(report: Report) -> list[Finding]:
    return [f for f in report.findings if f.rule == "loss-mismatch" and f.detail["kind"] != "several labels"]


def hinge(o: Tensor, y: Tensor) -> Tensor:
    return F.relu(1 - y * o).mean()


SICK: dict[str, tuple[nn.Module, Loss, int]] = {
    "hinge": (Said(), hinge, 0),
    "squared hinge": (Said(), lambda o, y: F.relu(1 - y * o).square().mean(), 0),
    "hinge of several": (Said(3), hinge, 3),
    "soft margin": (Said(), nn.SoftMarginLoss(), 0),
    "exponential": (Said(), lambda o, y: (-y * o).exp().mean(), 0),
    "ranking": (Two(1), lambda o, y: F.margin_ranking_loss(*o, y, margin=0.5), 0),
    "ranking without a margin": (Two(1), lambda o, y: F.margin_ranking_loss(*o, y), 0),
    "cosine": (Two(16), lambda o, y: F.cosine_embedding_loss(*o, y), 0),
    "cosine with a margin": (Two(16), lambda o, y: F.cosine_embedding_loss(*o, y, margin=0.3), 0),
    "distance": (Distance(8), nn.HingeEmbeddingLoss(), 0),
}


@pytest.mark.parametrize("name", SICK)
def test_a_label_of_zero_is_none_to_losses_of_signs(name: str) -> None:
    model, loss, columns = SICK[name]
    report = examined(model, data(columns=columns), loss)
    found = mismatches(report)
    assert [f.detail["kind"] for f in found] == ["zero as both" if name == "distance" else "zero as none"]
    assert found[0].severity.value == "error"
    assert "wrong-loss" in {d.cause for d in report.diagnoses if d.severity.rank}
    assert words_trials.RULES["loss-mismatch"][1](found[0]).endswith(".")
    trial = report.tried("zero-as-label")
    assert trial is not None
    assert words_claims.OUTCOMES["zero-as-label"](trial.numbers, {}).endswith(".")


def contrastive(o: Tensor, y: Tensor) -> Tensor:
    return (y * o.square() + (1 - y) * F.relu(1 - o).square()).mean()


def focal(o: Tensor, y: Tensor) -> Tensor:
    each = F.binary_cross_entropy_with_logits(o, y, reduction="none")
    return ((1 - (-each).exp()) ** 2 * each).mean()


def overlap(o: Tensor, y: Tensor) -> Tensor:
    p = o.sigmoid()
    return 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)


HEALTHY: dict[str, tuple[nn.Module, Loss, int]] = {
    "hinge of signs": (Said(), lambda o, y: hinge(o, 2 * y - 1), 0),
    "hinge of several signs": (Said(3), lambda o, y: hinge(o, 2 * y - 1), 3),
    "soft margin of signs": (Said(), lambda o, y: F.soft_margin_loss(o, 2 * y - 1), 0),
    "ranking of signs": (Two(1), lambda o, y: F.margin_ranking_loss(*o, 2 * y - 1), 0),
    "cosine of signs": (Two(16), lambda o, y: F.cosine_embedding_loss(*o, 2 * y - 1), 0),
    "distance of signs": (Distance(8), lambda o, y: F.hinge_embedding_loss(o, 2 * y - 1), 0),
    "contrastive": (Distance(8), contrastive, 0),
    "cross-entropy": (Said(), F.binary_cross_entropy_with_logits, 0),
    "cross-entropy of several": (Said(3), F.binary_cross_entropy_with_logits, 3),
    "focal": (Said(), focal, 0),
    "overlap": (Said(), overlap, 0),
    "square": (Said(), nn.MSELoss(), 0),
    "difference": (Said(), nn.L1Loss(), 0),
    # a target that says which samples count is no label
    "weights of a likeness": (Two(16), lambda o, y: (y * (1 - F.cosine_similarity(*o))).mean(), 0),
    "weights of a reward": (Said(), lambda o, y: -(y * F.logsigmoid(o)).mean(), 0),
    "weights of an error": (Two(16), lambda o, y: (y[:, None] * (o[0] - o[1].detach()) ** 2).mean(), 0),
    "samples left out": (Two(16), lambda o, y: (1 - F.cosine_similarity(*o))[y != 0].sum() / len(y), 0),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_losses_of_zero_and_one_and_of_weights_are_left_alone(name: str) -> None:
    model, loss, columns = HEALTHY[name]
    report = examined(model, data(columns=columns), loss)
    assert report.tried("zero-as-label") is not None
    assert zero_as_label(report) == ""
    assert mismatches(report) == []


def test_shares_of_classes_and_labels_of_signs_are_not_asked() -> None:
    batch = data()
    assert isinstance(batch.target, Tensor)
    with pytest.raises(NotApplicableError, match="not all 0 or 1"):
        signs.zero_as_label(lab(Said(), Batch(batch.args, {}, 2 * batch.target - 1), hinge))
    classes = F.one_hot(batch.target.long(), 2).float()
    with pytest.raises(NotApplicableError, match="one class each"):
        signs.zero_as_label(
            lab(Said(2, nn.Softmax(1)), Batch(batch.args, {}, classes), lambda o, y: -(y * o.log()).sum())
        )


# --- reconstructions --------------------------------------------------------------------------------------------------


def pictures(n: int = 64) -> Batch:
    x = torch.rand(n, 8, generator=torch.Generator().manual_seed(2)).clamp_min(0.3)
    return Batch((x,), {}, x)


def weighed(o: Tensor, y: Tensor) -> Tensor:
    return -(y * o.log_softmax(1)).sum(1).mean()


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), weighed])
def test_a_reconstruction_by_cross_entropy_is_told(loss: Loss) -> None:
    report = examined(Said(8), pictures(), loss)
    found = mismatches(report)
    assert [(f.detail["kind"], f.severity.value) for f in found] == [("inputs as weights", "error")]
    assert words_trials.RULES["loss-mismatch"][1](found[0]).endswith(".")
    trial = report.tried("inputs-as-weights")
    assert trial is not None
    assert words_claims.OUTCOMES["inputs-as-weights"](trial.numbers, {}).endswith(".")


def correlation(o: Tensor, y: Tensor) -> Tensor:
    o, y = (t - t.mean(1, keepdim=True) for t in (o, y))
    return 1 - F.cosine_similarity(o, y).mean()


@pytest.mark.parametrize(
    "loss", [nn.MSELoss(), nn.L1Loss(), correlation, F.binary_cross_entropy_with_logits], ids=range(4)
)
def test_reconstructions_by_distances_are_left_alone(loss: Loss) -> None:
    report = examined(Said(8), pictures(), loss)
    assert report.tried("inputs-as-weights") is not None
    assert inputs_are_weights(report) == {}


def test_shares_and_counts_of_words_may_be_reconstructed_by_a_likelihood() -> None:
    x = pictures().args[0]
    shares = x / x.sum(1, keepdim=True)
    sparse = torch.zeros(64, 40)
    sparse[torch.arange(64), torch.arange(64) % 40] = 0.7
    counts = torch.randint(0, 4, (64, 8), generator=torch.Generator().manual_seed(3)).float()
    for width, x in ((8, shares), (40, sparse), (8, counts)):
        net = nn.Linear(width, width)
        assert inputs_are_weights(examined(net, Batch((x,), {}, x), weighed)) == {}
