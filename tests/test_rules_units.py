"""Rules on units, heads and blocks: real small models, sick and healthy, through the probe."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from msgspec import structs
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from reportgen.document.facts import Finding, Meta, Report, Severity, SubjectFacts, WeightFacts, WeightRow
from reportgen.document.history import ParameterRun
from reportgen.document.stats import TensorStats
from reportgen.health.causes import diagnose
from reportgen.health.context import Context
from reportgen.health.rules import units
from reportgen.health.thresholds import Thresholds
from reportgen.probe import stream
from reportgen.probe.activations import ActivationProbe
from reportgen.probe.attention_facts import facts_of
from reportgen.probe.attention_maps import AttentionWatch
from reportgen.subject.data import Batch

from .test_rules_model import FALL, run

BROKEN = Context(state="trained", outcome_ok=False, outcome_known=True, real_data=True, n_samples=400, chance=None)
FINE = Context(state="trained", outcome_ok=True, outcome_known=True, real_data=True, n_samples=400, chance=None)


def report_of(model: nn.Module, x: Tensor) -> Report:
    watcher = ActivationProbe(model.eval())
    with watcher.attached():
        stream.run(model, [Batch((part,)) for part in x.split(50)], watcher.next_batch, {}, 0)
    subject = SubjectFacts(name="m", kind="model", inputs="real")
    return Report(format_version=1, title="", meta=Meta(), subject=subject, activations=watcher.facts())


def found(rule: Iterator[Finding]) -> list[tuple[str, Severity]]:
    return [(f.subject, f.severity) for f in rule]


def mlp(activation: type[nn.Module], *, gain: float = 1.0, bias: float = 0.0) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 64), activation(), nn.Linear(64, 64), activation(), nn.Linear(64, 3))
    with torch.no_grad():
        model[2].weight.mul_(gain)
        model[2].bias.add_(bias)
    return model


X = torch.randn(400, 16, generator=torch.Generator().manual_seed(1))
LIMITS = Thresholds()


@pytest.mark.parametrize("activation", [nn.GELU, nn.SiLU])
def test_smooth_rectifiers_that_never_leave_their_flat_end(activation: type[nn.Module]) -> None:
    sick = report_of(mlp(activation, bias=-30.0), X)
    assert found(units.dead_smooth(sick, BROKEN, LIMITS)) == [("3", Severity.ERROR)]
    assert found(units.dead_smooth(report_of(mlp(activation), X), BROKEN, LIMITS)) == []


@pytest.mark.parametrize("activation", [nn.Tanh, nn.Sigmoid, nn.Hardtanh])
def test_saturated_units(activation: type[nn.Module]) -> None:
    sick = report_of(mlp(activation, gain=1000.0), X)
    assert found(units.saturation(sick, BROKEN, LIMITS)) == [("3", Severity.WARNING)]
    assert found(units.saturation(sick, FINE, LIMITS)) == [("3", Severity.INFO)]
    assert found(units.saturation(report_of(mlp(activation), X), BROKEN, LIMITS)) == []
    # a model that beats a guess, though its training loss stayed near that of one
    stuck = structs.replace(sick, training=run([1.1 - 0.01 * e for e in range(20)]))
    assert found(units.saturation(stuck, FINE, LIMITS)) == [("3", Severity.WARNING)]
    learned = structs.replace(sick, training=run(FALL))
    assert found(units.saturation(learned, FINE, LIMITS)) == [("3", Severity.INFO)]


def test_a_saturated_output_layer_is_a_confident_one() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 1), nn.Sigmoid())
    with torch.no_grad():
        model[2].weight.mul_(1000)
    assert found(units.saturation(report_of(model, X), BROKEN, LIMITS)) == []


class Encoder(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.MultiheadAttention(16, 4, batch_first=True) for _ in range(2))
        with torch.no_grad():
            for layer in self.layers:
                layer.in_proj_weight.mul_(scale)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + layer(x, x, x, need_weights=False)[0]
        return x


def test_heads_frozen_on_one_key() -> None:
    tokens = torch.randn(100, 24, 16, generator=torch.Generator().manual_seed(2))
    sick = report_of(Encoder(12.0), tokens)
    ((_, severity),) = found(units.attention_collapse(sick, BROKEN, LIMITS))
    assert severity == Severity.WARNING
    assert found(units.attention_collapse(report_of(Encoder(1.0), tokens), BROKEN, LIMITS)) == []


@pytest.mark.parametrize(
    ("start", "cause"),
    [
        (0.14, "lr-too-high"),  # a twelfth of what it is, as it is drawn for 16 inputs
        (1.5, "saturated-activations"),
        (0.005, "saturated-activations"),  # far from usual at the start too
    ],
)
def test_heads_whose_weights_the_steps_drove_away(start: float, cause: str) -> None:
    tokens = torch.randn(100, 24, 16, generator=torch.Generator().manual_seed(2))
    sick = report_of(Encoder(12.0), tokens)
    stats = TensorStats(count=768, sum=0.0, m2=768 * 1.7**2)
    about: dict[str, Any] = {"module": "MultiheadAttention", "shape": [48, 16], "trainable": True}
    rows, runs = [], []
    for i in range(2):
        name = f"layers.{i}.in_proj_weight"
        rows.append(WeightRow(name=name, role="weight", dtype="float32", fan_in=16, stats=stats, **about))
        runs.append(ParameterRun(name=name, is_matrix=True, start_rms=start, **about))
    sick = structs.replace(sick, weights=WeightFacts(rows=rows), training=structs.replace(run(FALL), parameters=runs))
    (finding,) = units.attention_collapse(sick, BROKEN, LIMITS)
    assert [d.cause for d in diagnose([finding])] == [cause]


class Block(nn.Module):
    def __init__(self, size: float) -> None:
        super().__init__()
        self.inner, self.size = nn.Linear(16, 16), size

    def forward(self, x: Tensor) -> Tensor:
        return x + self.size * self.inner(x)


def test_blocks_that_change_nothing_inform() -> None:
    report = report_of(nn.Sequential(Block(1.0), Block(1e-6)), X)
    assert found(units.idle_block(report, BROKEN, LIMITS)) == [("1", Severity.INFO)]


def test_rows_without_variance_inform() -> None:
    x = torch.randn(40, 10, 16)
    assert found(units.layer_norm_noise(report_of(nn.Sequential(nn.LayerNorm(16)), x), BROKEN, LIMITS)) == []
    x[:, ::2] = 1.0
    (finding,) = units.layer_norm_noise(report_of(nn.Sequential(nn.LayerNorm(16)), x), BROKEN, LIMITS)
    assert finding.severity == Severity.INFO
    assert 0.3 < finding.evidence["share"] < 0.7


def test_a_few_values_far_beyond_the_rest_inform() -> None:
    x = X.clone()
    assert found(units.massive_activation(report_of(nn.Sequential(nn.ReLU()), x), BROKEN, LIMITS)) == []
    x[:, 3] = 5000.0
    assert found(units.massive_activation(report_of(nn.Sequential(nn.ReLU()), x), BROKEN, LIMITS)) == [
        ("0", Severity.INFO)
    ]


class Written(nn.Module):
    """Two layers of attention in plain arithmetic, under a causal mask, in one of the ways to write a softmax."""

    def __init__(self, scale: float, soft: Callable[[Tensor], Tensor], hidden: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.qkv = nn.ModuleList(nn.Linear(16, 48) for _ in range(2))
        self.scale, self.soft, self.hidden = scale, soft, hidden

    def forward(self, x: Tensor) -> Tensor:
        above = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        for layer in self.qkv:
            q, k, v = layer(x).unflatten(2, (3, 2, 8)).permute(2, 0, 3, 1, 4)
            x = x + (self.soft((q @ k.mT * self.scale).masked_fill(above, self.hidden)) @ v).transpose(1, 2).flatten(2)
        return x


@pytest.mark.parametrize(
    ("soft", "hidden"),
    [
        (lambda s: s.softmax(-1), -1e9),
        (lambda s: torch.softmax(s, 3), -torch.inf),
        (lambda s: functional.softmax(s, dim=-1), -1e4),
        (nn.Softmax(-1), torch.finfo(torch.float32).min),
        (lambda s: torch.special.softmax(s, -1), -torch.inf),
        (lambda s: s.flatten(0, 1).softmax(-1).unflatten(0, s.shape[:2]), -1e9),
    ],
)
def test_attention_in_plain_arithmetic_is_judged_where_the_model_fails(
    soft: Callable[[Tensor], Tensor], hidden: float
) -> None:
    tokens = torch.randn(100, 24, 16, generator=torch.Generator().manual_seed(2))

    def examined(scale: float) -> Report:
        model = Written(scale, soft, hidden)
        seen = AttentionWatch(model, len(tokens))
        with torch.no_grad(), Operators(seen):
            model(tokens)
        return structs.replace(report_of(model, tokens), attention=facts_of(seen, model, Batch((tokens,))))

    sick, well = examined(60.0), examined(8**-0.5)
    assert found(units.attention_collapse(sick, BROKEN, LIMITS)) == [("model", Severity.WARNING)]
    assert found(units.attention_collapse(sick, FINE, LIMITS)) == []
    assert found(units.attention_collapse(well, BROKEN, LIMITS)) == []
    # by the logits themselves, of the first sample
    q, k, _ = Written(1.0, soft, hidden).qkv[0](tokens[0]).unflatten(1, (3, 2, 8)).permute(1, 2, 0, 3)
    logits = q @ k.mT * 60
    by_hand = torch.stack([logits[:, i, : i + 1].std(1, correction=0) for i in range(7, 24)], 1).mean(1)
    assert sick.attention is not None
    assert sick.attention.layers[0].logit_std == pytest.approx(by_hand.tolist(), rel=1e-4)


class Operators(TorchDispatchMode):
    def __init__(self, seen: AttentionWatch) -> None:
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.seen.see(func, args, kwargs or {}, out, "")
        return out
