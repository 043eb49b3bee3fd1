"""Remarks on weights, far reaching activations and residuals: sick and healthy, against figures by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.document.facts import Finding, Meta, Report, Severity, SubjectFacts
from reportgen.health.context import Context
from reportgen.health.rules import contents, extremes, scores
from reportgen.health.thresholds import Thresholds
from reportgen.probe import weights

from .test_rules_units import report_of

LIMITS = Thresholds()
POOR = Context(state="trained", outcome_ok=False, outcome_known=True, real_data=True, n_samples=400, chance=None)
FINE = Context(state="trained", outcome_ok=True, outcome_known=True, real_data=True, n_samples=400, chance=None)
X = torch.randn(400, 16, generator=torch.Generator().manual_seed(1))


def of_weights(model: nn.Module) -> Report:
    subject = SubjectFacts(name="m", kind="model", state="trained")
    return Report(format_version=1, title="", meta=Meta(), subject=subject, weights=weights.of_model(model))


def zeroed(model: nn.Module, name: str, share: float) -> nn.Module:
    with torch.no_grad():
        flat = model.get_parameter(name).view(-1)
        flat[: round(share * len(flat))] = 0.0
    return model


def layers(width: int = 64) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 64))


def test_zeros_of_one_layer_and_of_all() -> None:
    one = of_weights(zeroed(layers(), "2.weight", 0.995))
    (said,) = contents.w_sparsity(one, POOR, LIMITS)
    assert (said.subject, said.severity) == ("2.weight", Severity.WARNING)
    assert said.evidence["share"] == pytest.approx(round(0.995 * 4096) / 4096)
    assert [f.severity for f in contents.w_sparsity(one, FINE, LIMITS)] == [Severity.INFO]
    pruned = layers()
    for name in ("0.weight", "2.weight", "4.weight"):
        zeroed(pruned, name, 0.9)
    (said,) = contents.w_sparsity(of_weights(pruned), POOR, LIMITS)
    assert (said.subject, said.severity, said.evidence["tensors"]) == ("model", Severity.INFO, 3)
    assert list(contents.w_sparsity(of_weights(layers()), POOR, LIMITS)) == []
    assert list(contents.w_sparsity(of_weights(zeroed(layers(), "2.weight", 0.4)), POOR, LIMITS)) == []


def test_odd_rows_of_an_embedding() -> None:
    torch.manual_seed(0)
    healthy = nn.Embedding(500, 32, padding_idx=0)
    assert list(contents.embedding_rows(of_weights(nn.Sequential(healthy)), FINE, LIMITS)) == []
    odd = nn.Embedding(500, 32, padding_idx=0)
    with torch.no_grad():
        odd.weight[7] = 0.0
        odd.weight[9] = odd.weight[8]
        odd.weight[11] *= 20
    (said,) = contents.embedding_rows(of_weights(nn.Sequential(odd)), FINE, LIMITS)
    assert (said.severity, said.evidence) == (Severity.INFO, {"zero": 2, "copies": 1, "far": 1, "rows": 500})
    assert said.detail == {"examples": "11"}


def stem(kernel: Tensor) -> nn.Sequential:
    conv = nn.Conv2d(kernel.shape[1], len(kernel), kernel.shape[2], bias=False)
    with torch.no_grad():
        conv.weight.copy_(kernel)
    return nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))


def test_first_kernels_smooth_and_rough() -> None:
    noise = torch.randn(16, 3, 7, 7, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.avg_pool2d(noise, 3, 1, 1)
    for kernel, rough in ((noise, True), (smooth, False)):
        model = stem(kernel)
        model(torch.zeros(1, 3, 9, 9))
        report = of_weights(model)
        row = report.weights.rows[0] if report.weights is not None else None
        assert row is not None
        w = kernel.double().numpy()
        pairs = np.concatenate([(w[..., 1:] * w[..., :-1]).ravel(), (w[..., 1:, :] * w[..., :-1, :]).ravel()])
        assert row.smoothness == pytest.approx(pairs.mean() / (w**2).mean())
        assert row.smoothness_null == pytest.approx(len(pairs) ** -0.5)
        assert bool(list(contents.w_filter_smoothness(report, FINE, LIMITS))) is rough
    model = stem(torch.randn(16, 3, 3, 3))
    model(torch.zeros(1, 3, 9, 9))
    assert list(contents.w_filter_smoothness(of_weights(model), FINE, LIMITS)) == []


class Config:
    tie_word_embeddings = True


class Language(nn.Module):
    """Speaks of its ends as models of transformers do."""

    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.config = Config()
        self.embedding, self.head = nn.Embedding(50, 8), nn.Linear(8, 50, bias=False)
        if tied:
            self.head.weight = self.embedding.weight

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def get_output_embeddings(self) -> nn.Module:
        return self.head


def test_a_tie_that_broke() -> None:
    model = Language(tied=False)
    (said,) = contents.tie_broken(of_weights(model), FINE, LIMITS)
    a, b = model.embedding.weight.detach().double(), model.head.weight.detach().double()
    assert (said.severity, said.subject) == (Severity.WARNING, "head.weight")
    assert said.evidence["difference"] == pytest.approx(float((a - b).norm() / a.norm()))
    assert list(contents.tie_broken(of_weights(Language(tied=True)), FINE, LIMITS)) == []
    model.config.tie_word_embeddings = False
    assert list(contents.tie_broken(of_weights(model), FINE, LIMITS)) == []


def biased(size: float) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 2))
    with torch.no_grad():
        model[0].bias[:10] = -size
        model[0].bias[10:12] = size
        model[4].bias.fill_(size)
    return model


def test_units_that_their_bias_decides() -> None:
    (said,) = extremes.bias_extreme(report_of(biased(20.0), X), POOR, LIMITS)
    assert (said.subject, said.severity) == ("0", Severity.INFO)
    assert (said.evidence["off"], said.evidence["on"], said.evidence["channels"]) == (10, 2, 40)
    assert list(extremes.bias_extreme(report_of(biased(0.5), X), POOR, LIMITS)) == []
    rare = nn.Sequential(*biased(0.5), nn.Sigmoid())
    with torch.no_grad():
        rare[4].bias.fill_(-20.0)  # type: ignore[union-attr, operator]
    assert list(extremes.bias_extreme(report_of(rare, X), FINE, LIMITS)) == []


def test_a_channel_that_reaches_far() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 40), nn.ReLU(), nn.Linear(40, 40))
    assert list(extremes.outlier_channels(report_of(model, X), FINE, LIMITS)) == []
    with torch.no_grad():
        model[2].weight[5] *= 100
        model[2].bias[5] *= 100
        far = model(X).abs().amax(0)
    (said,) = extremes.outlier_channels(report_of(model, X), FINE, LIMITS)
    assert (said.subject, said.detail["channel"]) == ("2", "5")
    assert said.evidence["reach"] == pytest.approx(float(far.max() / far.median()), rel=1e-5)


class Spot(nn.Module):
    def __init__(self, bright: float) -> None:
        super().__init__()
        self.bright, self.conv = bright, nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        mask = torch.zeros_like(out)
        mask[..., 2, 3] = self.bright
        return out + mask


def test_maps_that_live_in_one_place() -> None:
    torch.manual_seed(0)
    pictures = torch.randn(100, 3, 12, 12)
    sick = report_of(nn.Sequential(Spot(500.0), nn.ReLU()), pictures)
    (said,) = extremes.spatial_concentration(sick, FINE, LIMITS)
    assert said.evidence["concentration"] < 0.02
    assert (
        list(extremes.spatial_concentration(report_of(nn.Sequential(Spot(0.0), nn.ReLU()), pictures), FINE, LIMITS))
        == []
    )


class Block(nn.Module):
    def __init__(self, size: float) -> None:
        super().__init__()
        self.inner, self.size = nn.Linear(16, 16), size

    def forward(self, x: Tensor) -> Tensor:
        return x + self.size * self.inner(x)


def test_blocks_that_drown_what_they_read() -> None:
    def told(*sizes: float) -> list[Finding]:
        torch.manual_seed(0)
        return list(extremes.block_overwrites(report_of(nn.Sequential(*map(Block, sizes)), X), FINE, LIMITS))

    assert told(1.0, 1.0, 1.0) == []
    assert told(100.0, 1.0, 1.0) == []  # the first may
    assert told(1.0, 100.0, 1.0) == []  # one alone too
    (said,) = told(1.0, 100.0, 100.0)
    assert said.evidence["blocks"] == 2


def regression(prediction: Tensor, target: Tensor) -> Report:
    class Given(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    data = DataLoader(TensorDataset(prediction.view(-1, 1), target.view(-1, 1)), 50)
    return reportgen.examine(Given(), data, loss=nn.MSELoss(), options=reportgen.Options(trial_budget=0))


def test_errors_that_grow_and_predictions_of_the_wrong_spread() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(400, generator=rng) * 4 + 1
    noise = torch.randn(400, generator=rng)
    growing, even = regression(x, x + 0.3 * x * noise), regression(x, x + 0.3 * noise)
    (said,) = scores.o_regression_spread(growing, FINE, LIMITS)
    rank = [np.argsort(np.argsort(v)) for v in (x.numpy(), (0.3 * x * noise).abs().numpy())]
    assert said.evidence["correlation"] == pytest.approx(np.corrcoef(*rank)[0, 1], abs=0.02)
    assert list(scores.o_regression_spread(even, FINE, LIMITS)) == []

    shrunk, wild = regression(0.5 * x, x + 0.1 * noise), regression(x + noise, x)
    for report, high in ((shrunk, True), (wild, False)):
        (said,) = scores.o_regression_slope(report, FINE, LIMITS)
        table = report.evaluation.regression if report.evaluation is not None else None
        assert table is not None
        y, given = (np.array([pair[i] for pair in table.sample]) for i in (0, 1))
        assert said.evidence["slope"] == pytest.approx(np.polyfit(given, y, 1)[0])
        assert (said.evidence["slope"] > 1) is high
    assert list(scores.o_regression_slope(even, FINE, LIMITS)) == []


def test_predictions_that_are_all_the_same_have_no_slope() -> None:
    x = torch.linspace(0, 4, 200)
    assert list(scores.o_regression_slope(regression(torch.full((200,), 2.0), x), FINE, LIMITS)) == []
