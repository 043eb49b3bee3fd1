"""Attention recomputed from hooks, against the weights that the modules themselves return."""

import math

import pytest
import torch
from torch import Tensor, nn

import reportgen
from reportgen.document.facts import AttentionRow, Report
from reportgen.probe.attention import AttentionProbe


def rows_of(model: nn.Module, *args: Tensor, **kwargs: Tensor) -> list[AttentionRow]:
    probe = AttentionProbe(model.eval())
    handles = probe.attach()
    with torch.no_grad():
        model(*args, **kwargs)
    for handle in handles:
        handle.remove()
    assert not probe.reasons
    return probe.rows()


def entropy_of(weights: Tensor, visible: Tensor) -> Tensor:
    """Return the mean normalised entropy by head from weights (H, Q, K)."""
    entropy = -(weights.double() * weights.double().clamp(min=1e-300).log()).sum(-1) / visible.double().log()
    return entropy.mean(1)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_torch_attention(batch_first: bool, separate: bool, masked: bool) -> None:
    torch.manual_seed(0)
    kdim = 12 if separate else None
    module = nn.MultiheadAttention(16, 4, batch_first=batch_first, kdim=kdim, vdim=kdim).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(4)
    query, key = torch.randn(3, 20, 16), torch.randn(3, 24, kdim or 16)
    hidden = torch.zeros(3, 24, dtype=torch.bool)
    hidden[:, 20:] = masked
    if not batch_first:
        query, key = query.transpose(0, 1), key.transpose(0, 1)
    (row,) = rows_of(module, query, key, key, key_padding_mask=hidden)
    with torch.no_grad():
        _, weights = module(query, key, key, key_padding_mask=hidden, average_attn_weights=False)
    visible = torch.tensor(20 if masked else 24)
    torch.testing.assert_close(
        torch.tensor(row.entropy).double(), entropy_of(weights[0], visible), rtol=1e-4, atol=1e-5
    )
    assert (row.n_queries, row.causal, row.mask_known) == (20, False, True)
    assert max(row.entropy) <= 1.0 + 1e-6


def test_a_causal_mask_counts_only_the_keys_before() -> None:
    module = nn.MultiheadAttention(16, 2, batch_first=True).eval()
    with torch.no_grad():
        module.in_proj_weight.zero_()  # every visible key alike
    x, mask = torch.randn(2, 30, 16), torch.triu(torch.ones(30, 30, dtype=torch.bool), 1)
    (row,) = rows_of(module, x, x, x, attn_mask=mask)
    assert row.entropy == pytest.approx([1.0, 1.0])
    assert row.logit_max == 0.0
    assert row.n_queries == 23  # those that see fewer than eight keys say nothing


class Attention(nn.Module):
    """As transformer libraries write it: a fused or three single projections, heads by reshaping."""

    def __init__(self, names: tuple[str, ...], causal: bool = False) -> None:
        super().__init__()
        self.num_heads, self.names = 4, names
        for name in names:
            setattr(self, name, nn.Linear(32, 96 if len(names) == 1 else 32))
        if causal:
            self.register_buffer("mask", torch.tril(torch.ones(1, 1, 40, 40)))

    def forward(self, x: Tensor) -> Tensor:
        parts = [getattr(self, name)(x) for name in self.names]
        q, k, v = parts[0].chunk(3, -1) if len(parts) == 1 else parts
        q, k, v = (t.unflatten(-1, (4, 8)).transpose(1, 2) for t in (q, k, v))
        scores = q @ k.transpose(-1, -2) / math.sqrt(8)
        if hasattr(self, "mask"):
            scores = scores.masked_fill(self.mask[:, :, : x.shape[1], : x.shape[1]] == 0, -math.inf)
        self.weights = scores.softmax(-1)
        return (self.weights @ v).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("names", [("qkv",), ("c_attn",), ("q_proj", "k_proj", "v_proj"), ("query", "key", "value")])
@pytest.mark.parametrize("causal", [False, True])
def test_projections_of_other_libraries(names: tuple[str, ...], causal: bool) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(Attention(names, causal))
    x = 2 * torch.randn(3, 32, 32)
    (row,) = rows_of(model, x)
    weights = model[0].weights[0]  # (H, Q, K)
    visible = torch.arange(1, 33) if causal else torch.full((32,), 32)
    kept = visible >= 8
    wanted = entropy_of(weights[:, kept], visible[kept])
    torch.testing.assert_close(torch.tensor(row.entropy).double(), wanted, rtol=1e-4, atol=1e-5)
    assert (row.name, row.causal, row.mask_known) == ("0", causal, causal)


def test_rotated_queries_are_left_alone_and_told() -> None:
    class RotaryEmbedding(nn.Module):
        pass

    model = nn.Sequential(Attention(("q_proj", "k_proj", "v_proj")))
    model.add_module("rotary", RotaryEmbedding())
    probe = AttentionProbe(model)
    assert probe.attach() == []
    assert "changed after their projection" in probe.reasons[0]


def test_odd_calls_cost_the_row_and_not_the_model() -> None:
    module = nn.MultiheadAttention(8, 2, add_bias_kv=True).eval()
    probe = AttentionProbe(nn.Sequential(module))
    handles = probe.attach()
    x = torch.randn(9, 2, 8)
    with torch.no_grad():
        module(x, x, x)
    for handle in handles:
        handle.remove()
    assert probe.rows() == []
    assert "added keys" in probe.reasons[0]


class Own(nn.Module):
    """Attention from one fused layer, which orders heads and parts as it likes."""

    def __init__(self, order: str = "part, head", scale: float = 0.5) -> None:
        super().__init__()
        self.num_heads, self.order, self.scale = 4, order, scale
        self.qkv = nn.Conv1d(16, 48, 1) if order == "channels" else nn.Linear(16, 48)
        self.out = nn.Linear(16, 3)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if self.order == "channels":
            parts = self.qkv(x.transpose(1, 2)).unflatten(1, (3, 4, 4)).transpose(-1, -2).unbind(1)
        elif self.order == "head, part":
            parts = self.qkv(x).unflatten(-1, (4, 3, 4)).permute(3, 0, 2, 1, 4).unbind(0)
        else:
            parts = self.qkv(x).unflatten(-1, (3, 4, 4)).permute(2, 0, 3, 1, 4).unbind(0)
        q, k, v = parts
        scores = q @ k.transpose(-1, -2) * self.scale
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None], -math.inf)
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2).mean(1))


def examined(model: nn.Module, masked: bool = False) -> Report:
    torch.manual_seed(3)
    with torch.no_grad():
        model.qkv.weight.mul_(8)
    batches: list[dict[str, Tensor]] = []
    for _ in range(2):
        mask = torch.arange(16) < torch.tensor([[9], [16], [12], [16]])
        batch = {"x": torch.randn(4, 16, 16), "labels": torch.arange(4) % 3}
        batches.append({**batch, "mask": mask} if masked else batch)
    return reportgen.examine(model, batches, options=reportgen.Options(trial_budget=0, inference_budget=0))


@pytest.mark.parametrize("order", ["part, head", "channels"])
def test_what_is_recomputed_agrees_with_what_the_operators_did(order: str) -> None:
    report = examined(Own(order))
    assert report.activations is not None
    assert report.attention is not None
    (row,), (layer,) = report.activations.attention, report.attention.layers
    assert row.mask_known is False  # nothing on the module tells of a mask
    assert report.activations.remarks == []
    assert len(layer.entropy) == len(row.entropy) == 4


@pytest.mark.parametrize(
    ("model", "masked", "why"),
    [
        (Own("head, part"), False, "in a way of its own"),
        (Own(scale=0.25), False, "in a way of its own"),
        (Own(), True, "a mask is handed in"),
    ],
)
def test_what_the_operators_did_otherwise_is_not_recomputed(model: nn.Module, masked: bool, why: str) -> None:
    """Neither how a fused layer orders its parts nor a scale nor a mask can be seen on the projection."""
    report = examined(model, masked)
    assert report.activations is not None
    assert report.attention is not None
    assert report.activations.attention == []
    (remark,) = report.activations.remarks
    assert why in remark
    assert len(report.attention.layers) == 1


def test_attention_without_a_softmax_over_keys_is_not_recomputed() -> None:
    """Keys are summed up once for all queries, as linear attention does."""

    class Linear(Own):
        def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
            q, k, v = self.qkv(x).unflatten(-1, (3, 4, 4)).permute(2, 0, 3, 1, 4).unbind(0)
            return self.out((q @ (k.softmax(-2).transpose(-1, -2) @ v)).transpose(1, 2).flatten(2).mean(1))

    report = examined(Linear())
    assert report.activations is not None
    assert report.activations.attention == []
    (remark,) = report.activations.remarks
    assert "no softmax" in remark


def test_a_mask_that_is_handed_in_is_known_to_be_unknown() -> None:
    class Told(Own):
        is_causal = False

    model = Told()
    probe = AttentionProbe(nn.ModuleList([model]).eval())
    handles = probe.attach()
    for mask in (None, torch.ones(2, 16, dtype=torch.bool)):
        with torch.no_grad():
            model(torch.randn(2, 16, 16), mask)
        assert [row.mask_known for row in probe.rows()] == [mask is None]
    for handle in handles:
        handle.remove()
