"""Figures of channels, quantisation, norms and embeddings against hand formulas; healthy and sick."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reportgen.document.matrices import Filters
from reportgen.probe import weights
from reportgen.probe.matrices import chance_cosine, distribution, embedding, filters, gains, quantisation, rows_of
from reportgen.probe.sweep import sweep


def filters_of(x: Tensor, folding: Tensor | None = None) -> Filters:
    return filters(rows_of(sweep(x), x[0].numel()), x, folding)


def test_the_three_figures_of_the_tutorials_are_theirs() -> None:
    torch.manual_seed(0)
    w = torch.randn(32, 4, 3, 3) * 0.1
    w[3] *= 1e-3
    found, a = filters_of(w), w.double().numpy().reshape(32, -1)
    assert found.diversity_raw == pytest.approx(a.mean(1).std(ddof=1), rel=1e-9)
    assert found.diversity == pytest.approx(a.mean(1).std(ddof=1) * 6 / np.sqrt((a**2).mean()), rel=1e-9)
    assert found.dead_raw == pytest.approx((abs(a).max(1) < 0.01).mean())
    pearson = np.corrcoef(a)[np.triu_indices(32, 1)]
    assert found.correlation_raw == pytest.approx(np.sort(pearson)[-5:].mean(), rel=1e-4)
    unit = a / np.linalg.norm(a, axis=1, keepdims=True)
    cosine = (unit @ unit.T)[np.triu_indices(32, 1)]
    assert found.largest_cosine == pytest.approx(cosine.max(), rel=1e-4)
    assert found.dimensions == pytest.approx(min(1 / (cosine**2).mean(), 36), rel=1e-4)


@pytest.mark.parametrize("shape", [(64, 27), (512, 4608), (96, 1024), (4096, 64)])
@pytest.mark.parametrize("scale", [1e-4, 1.0])
def test_random_filters_of_any_scale_are_healthy(shape: tuple[int, int], scale: float) -> None:
    torch.manual_seed(1)
    found = filters_of(torch.randn(shape) * scale)
    assert (found.dead, found.zero, found.copies, found.similar) == (0, 0, 0, 0)
    assert found.diversity == pytest.approx(1, abs=4 * math.sqrt(0.5 / shape[0]))


@pytest.mark.parametrize("scale", [2.0**-110, 2.0**100])
def test_cosines_have_no_scale(scale: float) -> None:
    torch.manual_seed(1)
    w = torch.randn(64, 128)
    w[7] = w[9] + 0.01 * torch.randn(128)
    near, far = filters_of(w), filters_of(w * scale)
    assert near.similar == far.similar == 1
    for name in ("largest_cosine", "dimensions", "correlation_raw"):
        assert getattr(far, name) == pytest.approx(getattr(near, name), rel=1e-5)


def test_chance_is_that_of_random_directions() -> None:
    """The largest |cosine| of random filters lies below the line, and the line is that of the Beta law."""
    for n, d, known in ((32, 9, None), (64, 27, 0.757), (64, 147, 0.367), (64, 576, 0.189)):
        if known is not None:  # computed at 1 %; at 0.1 % the line is a little higher
            assert known < chance_cosine(n, d) < known * 1.2
        torch.manual_seed(n)
        largest = []
        for _ in range(40):
            u = nn.functional.normalize(torch.randn(n, d).double())
            largest.append(float((u @ u.T).fill_diagonal_(0).abs().max()))
        assert max(largest) < chance_cosine(n, d)
        assert max(largest) > 0.6 * chance_cosine(n, d)


def test_copies_and_near_copies_are_found() -> None:
    torch.manual_seed(2)
    w = torch.randn(64, 576)
    w[10], w[20], w[30] = w[1], w[1], w[2] * 1.7 + torch.randn(576) * 0.01
    w[40] = -w[5]  # of opposite sign: two different rectified units
    found = filters_of(w)
    assert found.copies == 2
    assert found.similar == 3
    assert filters_of(torch.randn(16, 9)).similar is None  # chance alone makes nine values alike


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_copies_are_found_among_all_channels_of_a_large_layer(dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    w = (torch.randn(5000, 1024) * 0.02).to(dtype)
    w[4001], w[7] = w[13], w[4999]
    w[100:104] = 0
    found = filters_of(w)
    assert (found.copies, found.zero, found.dead) == (2, 4, 4)
    assert found.compared < 5000


def test_dead_filters_are_relative_to_the_others_and_behind_the_norm() -> None:
    w = torch.randn(32, 64) * 1e-5
    assert filters_of(w).dead == 0
    assert filters_of(w).dead_raw == 1.0  # the raw form calls a small scale dead
    factors = torch.ones(32, dtype=torch.float64)
    factors[:3] = 1e-6
    found = filters_of(w, factors)
    assert (found.dead, found.zero, found.folded) == (3, 0, True)


def sqnr(x: np.ndarray, scale: np.ndarray | float, levels: int) -> float:
    q = np.clip(np.round(x / scale), -levels, levels) * scale
    return float(10 * np.log10((x**2).sum() / ((x - q) ** 2).sum()))


def test_quantisation_is_rounding_to_nearest() -> None:
    torch.manual_seed(4)
    w = torch.randn(64, 256) * torch.logspace(-2, 0, 64)[:, None]
    a = w.double().numpy()
    found = quantisation(w, float(w.abs().max()))
    assert found is not None
    assert found.int8_tensor == pytest.approx(sqnr(a, abs(a).max() / 127, 127), abs=0.01)
    assert found.int8_channel == pytest.approx(sqnr(a, abs(a).max(1, keepdims=True) / 127, 127), abs=0.01)
    g = a.reshape(-1, 128)
    assert found.int4_group == pytest.approx(sqnr(g, abs(g).max(1, keepdims=True) / 7, 7), abs=0.01)
    assert found.int8_channel > found.int4_group
    assert quantisation(torch.zeros(4, 4), 0.0) is None
    whole = quantisation(torch.randint(-7, 8, (8, 128)).float().index_fill_(1, torch.tensor([0]), 7), 7.0)
    assert whole is not None
    assert whole.int4_group is None  # nothing is lost


def test_tails_and_half_precision() -> None:
    torch.manual_seed(5)
    normal, box = torch.randn(200, 150), torch.rand(200, 150)
    told = distribution(sweep(normal), normal.dtype)
    assert told is not None
    assert told.exact
    assert told.kurtosis == pytest.approx(0, abs=0.1)
    assert 0.8 < (told.outlier or 0) < 1.3
    flat = distribution(sweep(box), box.dtype)
    assert flat is not None
    assert flat.kurtosis == pytest.approx(-1.2, abs=0.05)
    normal[0, 0] = 70_000
    wide = distribution(sweep(normal), normal.dtype)
    assert wide is not None
    assert wide.fp16_overflow
    tiny = distribution(sweep(torch.where(box < 0.25, 1e-9, box)), box.dtype)
    assert tiny is not None
    assert tiny.fp16_lost == pytest.approx(float((box < 0.25).float().mean()), abs=1e-6)


def test_two_of_four_is_known_and_other_zeros_are_not() -> None:
    torch.manual_seed(6)
    w = torch.randn(64, 256)
    groups = w.view(-1, 4)
    pruned = torch.where(groups.abs().argsort(1).argsort(1) < 2, 0.0, groups).view(64, 256)
    assert distribution(sweep(pruned), w.dtype).pattern == "2:4"  # type: ignore[union-attr]
    assert distribution(sweep(torch.where(torch.rand(64, 256) < 0.5, 0.0, w)), w.dtype).pattern is None  # type: ignore[union-attr]
    assert distribution(sweep(w), w.dtype).pattern is None  # type: ignore[union-attr]


def test_gains_of_a_norm() -> None:
    g = torch.ones(100)
    g[:3], g[3], g[4] = 1e-6, 30, -1
    found = gains(g)
    assert found is not None
    assert (found.near_zero, found.negative, found.around_zero) == (3, 1, False)
    assert found.largest == pytest.approx(30)
    assert gains(torch.randn(100) * 0.1).around_zero  # type: ignore[union-attr]


def test_rows_of_an_embedding() -> None:
    torch.manual_seed(7)
    w = torch.randn(3000, 64)
    w[0], w[5], w[6], w[9] = 0, w[7], w[7], w[9] * 10
    found = embedding(rows_of(sweep(w), 64), w)
    assert (found.rows, found.zero, found.copies, found.far, found.far_examples) == (3000, 1, 2, 1, [9])
    assert found.norm_median == pytest.approx(float(w.norm(dim=1).median()), rel=1e-5)


# ---- what is told from names


def test_stacked_matrices_are_measured_apart() -> None:
    torch.manual_seed(8)
    state = {
        "layers.0.self_attn.in_proj_weight": torch.cat([torch.randn(32, 32) * s for s in (1, 2, 3)]),
        "rnn.weight_ih_l0": torch.cat([torch.randn(16, 8) * s for s in (1, 2, 3, 4)]),
        "rnn.weight_hh_l0": torch.cat([torch.randn(16, 16) * s for s in (1, 2, 3, 4)]),
        "mlp.gate_up_proj.weight": torch.cat([torch.randn(64, 32), torch.randn(64, 32) * 5]),
    }
    rows = {row.name: row for row in weights.of_tensors(state).facts.rows}
    for name, tensor in state.items():
        parts = rows[name].matrices
        for part, piece in zip(parts, tensor.chunk(len(parts)), strict=True):
            assert part.rms == pytest.approx(float(piece.double().square().mean().sqrt()), rel=1e-9)
    assert [p.part for p in rows["layers.0.self_attn.in_proj_weight"].matrices] == ["query", "key", "value"]
    assert len(rows["rnn.weight_ih_l0"].matrices) == 4
    assert [p.part for p in rows["mlp.gate_up_proj.weight"].matrices] == ["gate", "up"]


def test_fewer_heads_for_keys_are_told_from_the_output_projection() -> None:
    torch.manual_seed(9)

    def parts(name: str, channels: int, output: str, read: int, width: int = 32) -> list[tuple[str, int]]:
        state = {f"h.0.{name}.weight": torch.randn(channels, width), f"h.0.{output}.weight": torch.randn(width, read)}
        facts = weights.of_tensors(state).facts
        (row,) = (row for row in facts.rows if name in row.name)
        whole = state[row.name]
        if len(row.matrices) > 1:
            for matrix, piece in zip(row.matrices, whole.split([m.channels for m in row.matrices]), strict=True):
                assert matrix.rms == pytest.approx(float(piece.double().square().mean().sqrt()), rel=1e-9)
        return [(m.part, m.channels) for m in row.matrices]

    assert parts("attn.qkv_proj", 48, "attn.o_proj", 32) == [("query", 32), ("key", 8), ("value", 8)]
    assert parts("attn.qkv_proj", 192, "attn.o_proj", 64) == [("query", 64), ("key", 64), ("value", 64)]  # wide heads
    assert parts("attn.qkv", 96, "attn.proj", 32) == [("query", 32), ("key", 32), ("value", 32)]
    assert parts("attn.qkv_proj", 49, "attn.o_proj", 32) == [("", 49)]
    # these lie head by head: thirds of them would be a mixture
    assert parts("self_attention.query_key_value", 96, "self_attention.dense", 32) == [("", 96)]
    assert parts("attention.wqkv", 48, "attention.wo", 32) == [("", 48)]
    # GPT-BigCode: one head for keys, and the weight lies inputs first
    state = {"h.0.attn.c_attn.weight": torch.randn(32, 48), "h.0.attn.c_attn.bias": torch.zeros(48)}
    state |= {"h.0.attn.c_proj.weight": torch.randn(32, 32), "h.0.attn.c_proj.bias": torch.zeros(32)}
    row = weights.of_tensors(state).facts.rows[0]
    assert [(m.part, m.channels) for m in row.matrices] == [("query", 32), ("key", 8), ("value", 8)]


def test_kinds_are_told_from_names() -> None:
    def kind(name: str, *shape: int) -> str:
        state = {"stem.weight": torch.zeros(8, 3, 3, 3), name: torch.zeros(shape)}
        return weights.of_tensors(state).facts.rows[1].kind

    assert kind("model.layers.3.self_attn.q_proj.weight", 8, 8) == "attention query"
    assert kind("model.layers.3.self_attn.o_proj.weight", 8, 8) == "attention output"
    assert kind("model.layers.3.mlp.down_proj.weight", 8, 8) == "mlp down"
    assert kind("encoder.layer.0.attention.self.key.weight", 8, 8) == "attention key"
    assert kind("encoder.layer.0.attention.output.dense.weight", 8, 8) == "attention output"
    assert kind("blocks.0.attn.qkv.weight", 24, 8) == "attention qkv"
    assert kind("model.embed_tokens.weight", 9, 8) == "embedding"
    assert kind("transformer.h.0.ln_1.weight", 8) == "norm"
    assert kind("model.layers.0.input_layernorm.weight", 8) == "norm"
    assert kind("conv1.weight", 8, 3, 3, 3) == "convolution"
    assert kind("features.1.weight", 8, 1, 3, 3) == "depthwise convolution"
    assert kind("lm_head.weight", 9, 8) == "head"
    assert kind("linear.weight", 9, 8) == "linear"


def test_layers_that_store_inputs_first_are_turned() -> None:
    conv = nn.ConvTranspose2d(6, 40, 3)
    with torch.no_grad():
        conv.weight[:, 7] = 0
    for facts in (weights.of_tensors(conv.state_dict()).facts, weights.of_model(conv)):
        (matrix,) = facts.rows[0].matrices
        assert (matrix.channels, matrix.fan_in, facts.rows[0].fan_in) == (40, 54, 54)
        assert matrix.filters is not None
        assert matrix.filters.zero == 1
    state = {"h.0.attn.c_attn.weight": torch.randn(16, 48), "h.0.attn.c_attn.bias": torch.zeros(48)}
    state |= {"h.0.attn.c_proj.weight": torch.randn(16, 16), "h.0.attn.c_proj.bias": torch.zeros(16)}
    state["h.0.attn.c_proj.weight"][:, 3] = 0
    rows = weights.of_tensors(state).facts.rows
    assert [m.channels for m in rows[0].matrices] == [16, 16, 16]
    assert rows[2].matrices[0].filters.zero == 1  # type: ignore[union-attr]


@pytest.mark.parametrize("bare", [True, False])
def test_a_batch_norm_is_folded_into_the_layer_before_it(bare: bool) -> None:
    model = nn.Sequential()
    model.add_module("conv1", nn.Conv2d(3, 32, 3))
    model.add_module("bn1", nn.BatchNorm2d(32))
    with torch.no_grad():
        model.bn1.weight[:4] = 1e-7  # type: ignore[union-attr, operator]
    state = dict(sorted(model.state_dict().items()))  # as a file has it that keeps no order
    facts = weights.of_tensors(state).facts if bare else weights.of_model(model)
    found = next(row for row in facts.rows if row.name == "conv1.weight")
    assert found.before_norm
    assert found.matrices[0].filters is not None
    assert (found.matrices[0].filters.dead, found.matrices[0].filters.folded) == (4, True)


def test_nothing_is_derived_beside_nan() -> None:
    w = torch.randn(64, 64)
    w[0, 0] = math.nan
    row = weights.of_tensors({"a.weight": w}).facts.rows[0]
    assert row.stats is not None
    assert row.stats.nan == 1
    assert row.matrices == []
    assert row.distribution is None
    assert row.at_default_init is False


def test_ctrl_c_keeps_what_was_read() -> None:
    def tick(n_bytes: int) -> None:
        seen.append(n_bytes)
        if len(seen) == 2:
            raise KeyboardInterrupt

    seen: list[int] = []
    found = weights.of_tensors({f"w{i}.weight": torch.ones(4, 4) for i in range(5)}, tick=tick)
    assert (found.read, found.tensors, len(found.facts.rows)) == (2, 5, 2)
    assert seen == [64, 64]
