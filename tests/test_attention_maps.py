"""Attention by head as it is seen in a pass, against what eager implementations hand out."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import reportgen
from reportgen.document.attention import AttentionFacts
from reportgen.page.blocks import Table
from reportgen.page.build import build
from reportgen.page.sections import attention as attention_page
from reportgen.probe import forward
from reportgen.probe.attention_facts import facts_of
from reportgen.probe.attention_maps import AttentionWatch
from reportgen.render.html import to_html
from reportgen.subject.data import Batch
from reportgen.subject.vision import prepare


def watched(model: nn.Module, *args: Any, **kwargs: Any) -> AttentionWatch:
    watch = forward.observe(model.eval(), Batch(args, kwargs)).attention
    assert watch is not None
    assert watch.reasons == []
    return watch


def check(watch: AttentionWatch, wanted: list[Tensor], tolerance: float = 1e-5) -> None:
    """Compare with weights (H, Q, K) of sample 0, layer by layer."""
    assert len(watch.seen) == len(wanted)
    for seen, weights in zip(watch.seen, wanted, strict=True):
        weights = weights.double()
        visible = (weights > 0).any(0).sum(-1)
        torch.testing.assert_close(
            seen.maps.double(), weights * visible[:, None], rtol=0, atol=tolerance * len(visible)
        )
        entropy = torch.special.entr(weights).sum(-1) / visible.clamp(min=2).log()
        wanted_entropy = entropy[:, visible > 1].mean(1)
        torch.testing.assert_close(seen.entropy.double(), wanted_entropy, rtol=0, atol=max(tolerance, 1e-5))


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("mask", ["none", "padding", "causal", "float"])
def test_torch_attention(batch_first: bool, need_weights: bool, mask: str) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attn = nn.MultiheadAttention(16, 4, batch_first=batch_first)

        def forward(self, x: Tensor) -> Tensor:
            return self.attn(x, x, x, need_weights=need_weights, **given)[0]

    torch.manual_seed(0)
    x = 3 * torch.randn((3, 10, 16) if batch_first else (10, 3, 16))
    given: dict[str, Any] = {}
    if mask == "padding":
        given["key_padding_mask"] = torch.arange(10).expand(3, 10) >= torch.tensor([[6], [9], [10]])
    elif mask == "causal":
        given["attn_mask"] = torch.ones(10, 10, dtype=torch.bool).triu(1)
    elif mask == "float":
        given["attn_mask"] = torch.randn(10, 10)
    model = Net().eval()
    with torch.no_grad():
        _, weights = model.attn(x, x, x, average_attn_weights=False, **given)
    watch = watched(model, x)
    check(watch, [weights[0]])
    assert bool(watch.seen[0].causal) == (mask == "causal")


def test_layers_of_the_encoder_are_seen_where_torch_would_fuse_them() -> None:
    torch.manual_seed(0)
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2).eval()
    x, wanted = torch.randn(2, 9, 16), []
    with torch.no_grad():
        y = x
        for layer in model.layers:
            wanted.append(layer.self_attn(y, y, y, average_attn_weights=False)[1][0])
            y = layer(y)
    check(watched(model, x), wanted)


class Sdpa(nn.Module):
    def __init__(self, key_heads: int = 4, **given: Any) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(16, 32), nn.Linear(16, 8 * key_heads), nn.Linear(16, 8 * key_heads)
        self.key_heads, self.given = key_heads, given

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = self.q(x), self.k(x), self.v(x)
        q, k, v = (t.unflatten(-1, (-1, 8)).transpose(1, 2) for t in (q, k, v))
        return 3 * q, k, v

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        y = F.scaled_dot_product_attention(q, k, v, enable_gqa=self.key_heads != 4, **self.given)
        return y.transpose(1, 2).flatten(2)


@pytest.mark.parametrize(
    ("key_heads", "given"),
    [
        (4, {}),
        (4, {"scale": 0.7}),
        (4, {"is_causal": True}),
        (2, {"is_causal": True}),
        (1, {}),
        (4, {"attn_mask": torch.ones(12, 12, dtype=torch.bool).tril(2)}),
        (4, {"attn_mask": torch.linspace(-2, 2, 144).reshape(12, 12)}),
        (4, {"attn_mask": torch.linspace(-2, 2, 2 * 4 * 144).reshape(2, 4, 12, 12)}),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scaled_dot_products_in_code(key_heads: int, given: dict[str, Any], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    given = {k: v.to(dtype) if isinstance(v, Tensor) and v.is_floating_point() else v for k, v in given.items()}
    model = Sdpa(key_heads, **given).to(dtype)
    x = torch.randn(2, 12, 16, dtype=dtype)
    with torch.no_grad():
        q, k, _ = model.split(x)
        logits = q @ k.repeat_interleave(4 // key_heads, 1).transpose(-1, -2) * given.get("scale", 8**-0.5)
    mask = given.get("attn_mask")
    if given.get("is_causal"):
        mask = torch.ones(12, 12, dtype=torch.bool).tril()
    if mask is not None:
        logits = logits.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else logits + mask
    check(watched(model, x), [logits.softmax(-1)[0]])


class TimmAttention(nn.Module):
    """As vision transformers are written: one layer makes all three, with norms after it, fused or not."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.num_heads, self.fused = 4, fused
        self.qkv, self.proj = nn.Linear(32, 96), nn.Linear(32, 32)
        self.q_norm, self.k_norm, self.drop = nn.LayerNorm(8), nn.LayerNorm(8), nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).reshape(*x.shape[:2], 3, 4, 8).permute(2, 0, 3, 1, 4).unbind(0)
        q, k = self.q_norm(q), self.k_norm(k)
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = self.drop((q * 8**-0.5 @ k.transpose(-2, -1)).softmax(dim=-1)) @ v
        return self.proj(y.transpose(1, 2).reshape(x.shape))


def test_fused_and_written_out_are_the_same() -> None:
    torch.manual_seed(0)
    fused, plain, x = TimmAttention(True), TimmAttention(False), 2 * torch.randn(3, 11, 32)
    plain.load_state_dict(fused.state_dict())
    one, two = watched(fused, x), watched(plain, x)
    assert [one.seen[0].fused, two.seen[0].fused] == [True, False]
    torch.testing.assert_close(one.seen[0].maps, two.seen[0].maps, rtol=0, atol=1e-5)
    torch.testing.assert_close(one.seen[0].entropy, two.seen[0].entropy, rtol=0, atol=1e-5)
    torch.testing.assert_close(one.seen[0].spread, two.seen[0].spread, rtol=1e-4, atol=1e-5)


def test_torchvision_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare()
    from torchvision.models import SwinTransformer, VisionTransformer

    torch.manual_seed(0)
    vit = VisionTransformer(16, 4, 2, 4, 32, 64).eval()
    x, wanted = torch.randn(2, 3, 16, 16), []

    def weights(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        wanted.append(nn.MultiheadAttention.forward(module, *args, average_attn_weights=False)[1][0])  # type: ignore[arg-type]

    handles = [layer.self_attention.register_forward_hook(weights) for layer in vit.encoder.layers]
    with torch.no_grad():
        vit(x)
    for handle in handles:
        handle.remove()
    check(watched(vit, x), wanted)

    swin = SwinTransformer([2, 2], 16, [2], [2], [4, 4]).eval()
    softmax, told = F.softmax, []
    monkeypatch.setattr(F, "softmax", lambda *a, **k: told.append(softmax(*a, **k)) or told[-1])
    with torch.no_grad():
        swin(x)
    monkeypatch.undo()
    watch = watched(swin, x)
    assert [s.windows for s in watch.seen] == [4, 4]  # of 8 × 8 patches
    for seen, weights_seen in zip(watch.seen, told, strict=True):
        first = weights_seen[0].double()
        visible = (first > 0).any(0).sum(-1)
        torch.testing.assert_close(seen.maps.double(), first * visible[:, None], rtol=0, atol=1e-5)
    assert watch.no_rollout == "attention is by windows"


def transformer(name: str) -> tuple[Callable[[str], nn.Module], dict[str, Tensor]]:
    prepare()
    import transformers as hf

    ids = torch.randint(50, (2, 12), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[0, 9:] = 0
    common = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    made: dict[str, tuple[Any, Any, dict[str, Tensor]]] = {
        "bert": (hf.BertModel, hf.BertConfig(vocab_size=50, **common), {"input_ids": ids, "attention_mask": mask}),
        "gpt2": (
            hf.GPT2LMHeadModel,
            hf.GPT2Config(vocab_size=50, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0),
            {"input_ids": ids},
        ),
        "llama": (
            hf.LlamaForCausalLM,
            hf.LlamaConfig(vocab_size=50, num_key_value_heads=2, **common),
            {"input_ids": ids},
        ),
        "vit": (
            hf.ViTModel,
            hf.ViTConfig(image_size=16, patch_size=4, **common),
            {"pixel_values": torch.randn(2, 3, 16, 16)},
        ),
    }
    kind, config, inputs = made[name]

    def make(implementation: str) -> nn.Module:
        torch.manual_seed(0)
        model = kind._from_config(config, attn_implementation=implementation).eval()
        for parameter in model.parameters():
            parameter.data *= 4  # of a fresh model all weights are nearly alike
        return model

    return make, inputs


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "vit"])
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_models_of_transformers(name: str, implementation: str) -> None:
    make, inputs = transformer(name)
    with torch.no_grad():
        wanted = [w[0] for w in make("eager")(**inputs, output_attentions=True).attentions]
    watch = watched(make(implementation), **inputs)
    check(watch, wanted)
    assert all(s.fused == (implementation == "sdpa") for s in watch.seen)
    assert all(bool(s.causal) == (name in ("gpt2", "llama")) for s in watch.seen)
    rolled = np.eye(wanted[0].shape[-1])
    for weights in wanted:
        rolled = (weights.mean(0).double().numpy() + np.eye(len(rolled))) / 2 @ rolled
    assert watch.rolled is not None
    np.testing.assert_allclose(watch.rolled.numpy(), rolled, atol=1e-5)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    ("name", "more", "tokens"),
    [
        ("vit_tiny_patch16_224", {}, 17),
        ("deit_tiny_distilled_patch16_224", {}, 18),
        ("vit_tiny_patch16_224", {"qk_norm": True, "reg_tokens": 4, "global_pool": "avg"}, 21),
    ],
)
def test_vision_transformers_of_timm(name: str, more: dict[str, Any], tokens: int, fused: bool) -> None:
    prepare()
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    size = {"img_size": 16, "patch_size": 4, "embed_dim": 32, "depth": 3, "num_heads": 4, "num_classes": 5}
    model = timm.create_model(name, **size, **more).eval()
    wanted = []

    def by_hand(attention: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        x = args[0]
        q, k, _ = attention.qkv(x).reshape(*x.shape[:2], 3, 4, 8).permute(2, 0, 3, 1, 4).unbind(0)
        q, k = attention.q_norm(q), attention.k_norm(k)
        wanted.append((q @ k.transpose(-2, -1) * 8**-0.5).softmax(-1)[0])

    for block in model.blocks:
        block.attn.qkv.weight.data *= 8  # of a fresh model all weights are nearly alike
        block.attn.fused_attn = fused
    handles = [block.attn.register_forward_hook(by_hand) for block in model.blocks]
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    watch = watched(model, x)
    check(watch, wanted)
    assert [s.fused for s in watch.seen] == [fused] * 3
    assert watch.seen[0].n_keys == tokens
    rolled = np.eye(tokens)
    for weights in wanted:
        rolled = (weights.mean(0).double().numpy() + np.eye(tokens)) / 2 @ rolled
    assert watch.rolled is not None
    np.testing.assert_allclose(watch.rolled.numpy(), rolled, atol=1e-5)
    found = facts_of(watch, model, Batch((x,))).rollout
    assert found is not None
    assert found.grid == [4, 4]
    assert found.query == "first"
    np.testing.assert_allclose(found.weights, rolled[0, -16:], atol=1e-4)


def test_one_sequence_that_attends_to_another_is_not_rolled_out() -> None:
    model = nn.Transformer(16, 2, 1, 1, 32, batch_first=True)
    watch = watched(model, torch.randn(2, 5, 16), torch.randn(2, 5, 16))
    assert [(s.n_queries, s.n_keys) for s in watch.seen] == [(5, 5), (5, 5), (5, 5)]
    assert watch.no_rollout == "one sequence attends to another"


def test_other_softmaxes_are_no_attention() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.head = nn.Linear(8, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.gate(x).softmax(-1)).softmax(1)

    for shape in ((3, 8), (3, 5, 8)):
        assert not watched(Gated(), torch.randn(shape)).found


def test_too_many_weights_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from reportgen.probe import attention_maps

    monkeypatch.setattr(attention_maps, "_ELEMENTS", 100)
    watch = forward.observe(Sdpa().eval(), Batch((torch.randn(2, 12, 16),))).attention
    assert watch is not None
    assert watch.seen == []
    assert watch.reasons == ["the model: weights of one sample are 576 numbers, too many to be computed anew"]


def facts(model: nn.Module, x: Tensor) -> AttentionFacts:
    return facts_of(watched(model, x), model, Batch((x,)))


def test_a_class_token_is_left_out_of_the_grid() -> None:
    prepare()
    from torchvision.models import VisionTransformer

    torch.manual_seed(0)
    found = facts(VisionTransformer(16, 4, 3, 2, 16, 32), torch.rand(2, 3, 16, 16)).rollout
    assert found is not None
    assert (found.query, found.grid, len(found.weights), found.layers) == ("first", [4, 4], 16, 3)
    assert found.picture is not None
    assert found.image is not None
    assert sum(found.weights) < 1


def test_pictures_stay_in_their_number_and_name_their_heads() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(64, 32, 32, batch_first=True)
    found = facts(nn.TransformerEncoder(layer, 9), torch.randn(2, 40, 64))
    shown = [i for i, told in enumerate(found.layers) if told.picture is not None]
    assert shown == [0, 2, 3, 5, 6, 8]
    assert found.refused == 3
    assert found.layers[0].shown == list(range(0, 32, 2))
    assert found.layers[0].size == [24, 24]
    assert sum(len(told.picture.data) for told in found.layers if told.picture is not None) <= found.budget
    assert found.rollout is not None
    assert found.rollout.query == "mean"
    assert sum(found.rollout.weights) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("causal", [True, False])
def test_even_attention_is_the_measure_of_the_rollout(causal: bool) -> None:
    class Even(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(Sdpa(is_causal=causal) for _ in range(3))
            self.down = nn.Linear(32, 16)

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = x + self.down(layer(x))
            return x

    model = Even()
    for layer in model.layers:
        nn.init.zeros_(layer.k.weight)
    found = facts(model, torch.randn(2, 7, 16)).rollout
    assert found is not None
    assert found.weights == pytest.approx(found.even, rel=1e-3)
    seen = np.tril(np.ones((7, 7))) if causal else np.ones((7, 7))
    step = (seen / seen.sum(1, keepdims=True) + np.eye(7)) / 2
    rolled = step @ step @ step
    np.testing.assert_allclose(found.even, rolled[-1] if causal else rolled.mean(0), rtol=1e-3)


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.attn, self.head = nn.Embedding(9, 16), Sdpa(is_causal=True), nn.Linear(32, 9)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.attn(self.embed(tokens)))


def test_a_report_shows_attention_of_real_data_only() -> None:
    torch.manual_seed(0)
    options = reportgen.Options(trial_budget=0)
    tokens = torch.randint(9, (4, 10))
    report = reportgen.examine(Tiny(), [tokens], options=options)
    assert report.attention is not None
    assert report.attention.tokens == tokens[0].tolist()
    assert [(told.name, told.heads, told.causal) for told in report.attention.layers] == [("attn", 4, True)]
    page = to_html(build(report)).decode()
    ids = re.findall(r'\sid="?([^" >]+)', page)
    assert len(ids) == len(set(ids))
    assert "Where each head looks" in page
    assert f"token {tokens[0, 0]}" in page
    assert [row.status for row in report.coverage if row.part == "attention"] == ["measured"]
    noise = reportgen.examine(Tiny(), options=reportgen.Options(trial_budget=0, input_size=[10]))
    assert noise.attention is None
    assert not [row for row in noise.coverage if row.part == "attention"]


def test_attention_is_left_as_it_was() -> None:
    torch.manual_seed(0)
    model, x, seen = TimmAttention(False).eval(), torch.randn(2, 7, 32), []
    handle = model.register_forward_hook(lambda module, args, output: seen.append(output.clone()))
    watched(model, x)
    handle.remove()
    with torch.no_grad():
        assert torch.equal(seen[-1], model(x))


def test_inputs_of_noise_and_reports_without_pictures_do_not_pay_for_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    class Counted(forward.AttentionWatch):
        def __init__(self, model: nn.Module, n_samples: int) -> None:
            made.append(n_samples)
            super().__init__(model, n_samples)

    monkeypatch.setattr(forward, "AttentionWatch", Counted)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    options = reportgen.Options(trial_budget=0, input_size=[12, 16])
    assert reportgen.examine(layer, options=options).attention is None
    data = [torch.randn(4, 12, 16)]
    assert reportgen.examine(layer, data, options=reportgen.Options(trial_budget=0, pictures=0)).attention is None
    assert made == []
    report = reportgen.examine(layer, data, options=reportgen.Options(trial_budget=0))
    assert made
    assert report.attention is not None
    # one table for what both measurements say of a layer
    section = attention_page.section(report)
    assert section is not None
    assert [b.id for b in section.blocks if isinstance(b, Table)] == ["attention-entropy"]
    without = attention_page.section(msgspec.structs.replace(report, attention=None))
    assert without is not None
    assert [b.id for b in without.blocks if isinstance(b, Table)] == ["attention-rows"]
