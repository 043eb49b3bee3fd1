"""Matrices stacked in one tensor are cut as the layers that read them do, and told by names and shapes alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from reportgen.document.facts import WeightRow
from reportgen.probe import weights
from reportgen.subject.hub_config import Heads

WIDTH, INNER, EXPERTS = 64, 96, 4


def rows_of(tensors: dict[str, Tensor], heads: Heads | None = None, spectra: str = "off") -> dict[str, WeightRow]:
    facts = weights.of_tensors(tensors, heads=heads, spectra=spectra).facts  # type: ignore[arg-type]
    return {row.name: row for row in facts.rows}


def scaled(*shape: int, by: float) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(round(by * 10))) * by


def agree(row: WeightRow, expected: dict[str, Tensor]) -> None:
    """Every part has the figures of the matrix (channels, values) that was put there."""
    assert [m.part for m in row.matrices] == list(expected)
    for matrix, own in zip(row.matrices, expected.values(), strict=True):
        assert (matrix.channels, matrix.fan_in) == tuple(own.shape)
        assert matrix.rms == pytest.approx(float(own.double().square().mean().sqrt()), rel=1e-6)
        assert matrix.filters is not None
        assert matrix.filters.norm_high == pytest.approx(float(own.double().norm(dim=1).max()), rel=1e-6)
        assert matrix.filters.diversity_raw == pytest.approx(float(own.double().mean(1).std()), rel=1e-4)
        if matrix.spectrum is not None:
            assert matrix.spectrum.norm == pytest.approx(float(torch.linalg.matrix_norm(own.double(), 2)), rel=1e-4)


Q, K, V = (scaled(WIDTH, WIDTH, by=by) for by in (1.0, 2.0, 4.0))
SMALL_K, SMALL_V = scaled(16, WIDTH, by=2.0), scaled(16, WIDTH, by=4.0)
THREE = {"query": Q, "key": K, "value": V}
FEW = {"query": Q, "key": SMALL_K, "value": SMALL_V}


@pytest.mark.parametrize(
    ("qkv", "output", "expected"),
    [
        ("model.layers.0.self_attn.qkv_proj", "model.layers.0.self_attn.o_proj", FEW),  # Phi-3
        ("transformer.blocks.0.attn.Wqkv", "transformer.blocks.0.attn.out_proj", THREE),  # MPT
        ("transformer.blocks.0.norm_attn_norm.attn.Wqkv", "transformer.blocks.0.norm_attn_norm.attn.out_proj", FEW),
        ("layers.0.attn.Wqkv", "layers.0.attn.Wo", THREE),  # ModernBERT
        ("model.layers.0.self_attn.W_pack", "model.layers.0.self_attn.o_proj", THREE),  # Baichuan
        ("blocks.0.attn.qkv", "blocks.0.attn.proj", THREE),  # timm
    ],
)
def test_query_key_and_value_one_after_the_other(qkv: str, output: str, expected: dict[str, Tensor]) -> None:
    tensors = {f"{qkv}.weight": torch.cat(list(expected.values())), f"{output}.weight": torch.randn(WIDTH, WIDTH)}
    agree(rows_of(tensors, spectra="exact")[f"{qkv}.weight"], expected)


def test_codegen_is_told_by_its_names() -> None:
    q, k, v = (x.view(4, -1, WIDTH) for x in (Q, K, V))
    stacked = torch.cat([q, v, k], 1).reshape(-1, WIDTH)
    name = "transformer.h.3.attn.qkv_proj.weight"
    beside = {"transformer.h.3.attn.out_proj.weight": Q, "transformer.h.3.mlp.fc_in.weight": torch.randn(256, WIDTH)}
    row = rows_of({name: stacked} | beside)[name]
    agree(row, THREE)
    assert rows_of(beside)["transformer.h.3.mlp.fc_in.weight"].kind == "mlp up"


def test_query_key_and_value_of_a_convolution() -> None:
    q, k, v = (scaled(128, WIDTH, by=by) for by in (1.0, 2.0, 4.0))
    tensors = {
        "downs.0.attn.to_qkv.weight": torch.cat([q, k, v])[..., None, None],
        "downs.0.attn.to_out.0.weight": torch.randn(WIDTH, 128, 1, 1),
    }
    agree(rows_of(tensors)["downs.0.attn.to_qkv.weight"], {"query": q, "key": k, "value": v})


def test_a_convolution_whose_heads_are_not_known_stays_whole() -> None:
    tensors = {
        "input_blocks.1.1.qkv.weight": torch.randn(3 * WIDTH, WIDTH, 1),
        "input_blocks.1.1.proj_out.weight": torch.randn(WIDTH, WIDTH, 1),
    }
    row = rows_of(tensors)["input_blocks.1.1.qkv.weight"]
    assert (row.kind, [m.part for m in row.matrices]) == ("attention qkv, not cut apart", [""])


def test_gate_and_up_are_cut() -> None:
    gate, up = scaled(INNER, WIDTH, by=1.0), scaled(INNER, WIDTH, by=3.0)
    for name, down in (
        ("model.layers.0.mlp.gate_up_proj.weight", "model.layers.0.mlp.down_proj.weight"),  # Phi-3
        ("encoder.layers.0.mlp.dense_h_to_4h.weight", "encoder.layers.0.mlp.dense_4h_to_h.weight"),  # ChatGLM 2
        ("layers.0.mlp.Wi.weight", "layers.0.mlp.Wo.weight"),  # ModernBERT
    ):
        rows = rows_of({name: torch.cat([gate, up]), down: torch.randn(WIDTH, INNER)})
        agree(rows[name], {"gate": gate, "up": up})
        assert rows[down].kind == "mlp down"


def test_a_layer_without_a_gate_stays_whole() -> None:
    name = "h.0.mlp.dense_h_to_4h.weight"  # BLOOM, GPT-NeoX
    rows = rows_of({name: torch.randn(256, WIDTH), "h.0.mlp.dense_4h_to_h.weight": torch.randn(WIDTH, 256)})
    assert [m.part for m in rows[name].matrices] == [""]


def test_the_input_of_mamba_is_no_attention() -> None:
    state, gate = scaled(128, WIDTH, by=1.0), scaled(128, WIDTH, by=3.0)
    out = {"layers.0.mixer.out_proj.weight": torch.randn(WIDTH, 128)}
    name = "layers.0.mixer.in_proj.weight"
    row = rows_of({name: torch.cat([state, gate])} | out)[name]
    assert row.kind == "state space input"
    agree(row, {"state": state, "gate": gate})
    steering, steps = scaled(2 * 16, WIDTH, by=5.0), scaled(8, WIDTH, by=7.0)
    second = out | {"layers.0.mixer.dt_bias": torch.randn(8)}
    row = rows_of({name: torch.cat([gate, state, steering, steps])} | second)[name]
    agree(row, {"gate": gate, "state": state, "steering": steering, "steps": steps})


# ---- experts


def experts(channels: int, length: int, first: float) -> list[Tensor]:
    return [scaled(channels, length, by=first + i) for i in range(EXPERTS)]


GATES, UPS, DOWNS = experts(INNER, WIDTH, 1.0), experts(INNER, WIDTH, 11.0), experts(WIDTH, INNER, 21.0)


def named(*parts: tuple[str, list[Tensor]]) -> dict[str, Tensor]:
    return {
        f"expert {i + 1} of {EXPERTS}" + (f": {name}" if name else ""): tensors[i]
        for i in range(EXPERTS)
        for name, tensors in parts
    }


def gate_and_up(turned: bool, interleaved: bool) -> Tensor:
    pairs = [torch.stack(p, 1).flatten(0, 1) if interleaved else torch.cat(p) for p in zip(GATES, UPS, strict=True)]
    stacked = torch.stack(pairs)
    return stacked.transpose(1, 2).contiguous() if turned else stacked


@pytest.mark.parametrize("spectra", ["off", "exact"])
@pytest.mark.parametrize(
    ("turned", "interleaved"), [(False, False), (True, False), (True, True)], ids=["Mixtral", "Llama 4", "gpt-oss"]
)
def test_experts_in_one_tensor_are_cut_apart(turned: bool, interleaved: bool, spectra: str) -> None:
    owner = "model.layers.0.mlp.experts."
    downs = torch.stack(DOWNS)
    tensors = {
        f"{owner}gate_up_proj": gate_and_up(turned, interleaved),
        f"{owner}down_proj": downs.transpose(1, 2).contiguous() if turned else downs,
    }
    if interleaved:
        tensors[f"{owner}gate_up_proj_bias"] = torch.randn(EXPERTS, 2 * INNER)
    rows = rows_of(tensors, spectra=spectra)
    agree(rows[f"{owner}gate_up_proj"], named(("gate", GATES), ("up", UPS)))
    agree(rows[f"{owner}down_proj"], named(("", DOWNS)))
    assert [rows[f"{owner}{leaf}"].kind for leaf in ("gate_up_proj", "down_proj")] == ["mlp gate and up", "mlp down"]
    whole = torch.cat([x.flatten() for x in (*GATES, *UPS)]).double()
    stats = rows[f"{owner}gate_up_proj"].stats
    assert stats is not None
    assert (stats.count, stats.min, stats.max) == (whole.numel(), float(whole.min()), float(whole.max()))
    assert stats.std == pytest.approx(float(whole.std(correction=0)), rel=1e-6)
    assert rows[f"{owner}down_proj"].fan_in == INNER


def test_experts_one_after_the_other() -> None:
    owner = "transformer.blocks.0.ffn."  # DBRX
    tensors = {
        f"{owner}router.layer.weight": torch.randn(EXPERTS, WIDTH),
        f"{owner}experts.mlp.w1": torch.cat(GATES),
        f"{owner}experts.mlp.v1": torch.cat(UPS),
        f"{owner}experts.mlp.w2": torch.cat([x.T for x in DOWNS]),
    }
    rows = rows_of(tensors)
    for leaf, expected, kind in (("w1", GATES, "mlp gate"), ("v1", UPS, "mlp up"), ("w2", DOWNS, "mlp down")):
        agree(rows[f"{owner}experts.mlp.{leaf}"], named(("", expected)))
        assert rows[f"{owner}experts.mlp.{leaf}"].kind == kind


def test_experts_apart_from_each_other_are_told_by_the_router() -> None:
    owner = "model.layers.0.mlp."
    tensors = {
        f"{owner}gate.weight": torch.randn(EXPERTS, WIDTH),
        f"{owner}experts.gate_proj": torch.stack([x.T for x in GATES]),
        f"{owner}experts.up_proj": torch.stack([x.T for x in UPS]),
        f"{owner}experts.down_proj": torch.stack([x.T for x in DOWNS]),
    }
    rows = rows_of(tensors)
    agree(rows[f"{owner}experts.up_proj"], named(("", UPS)))
    agree(rows[f"{owner}experts.down_proj"], named(("", DOWNS)))


def test_of_very_many_experts_some_are_measured_and_named() -> None:
    tensors = {
        "mlp.experts.gate_up_proj": torch.randn(64, 2 * 16, WIDTH),
        "mlp.experts.down_proj": torch.randn(64, WIDTH, 16),
    }
    row = rows_of(tensors)["mlp.experts.gate_up_proj"]
    assert [m.part for m in row.matrices][::2] == [f"expert {i} of 64: gate" for i in range(1, 64, 8)]
    assert row.stats is not None
    assert row.stats.count == 64 * 32 * WIDTH


def test_each_expert_of_a_file_is_a_layer_of_its_own() -> None:
    row = rows_of({"model.layers.0.block_sparse_moe.experts.1.w1.weight": torch.randn(INNER, WIDTH)})
    (only,) = row.values()
    assert (only.kind, [m.part for m in only.matrices]) == ("mlp gate", [""])
