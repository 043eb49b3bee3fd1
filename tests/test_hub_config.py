"""config.json beside weights: it settles how attention is cut where shapes agree, and hurts nothing where it lies."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import to_builtins
from safetensors.torch import save_file
from torch import Tensor

import reportgen
from reportgen.document.facts import Report, WeightRow
from reportgen.options import Options
from reportgen.page.build import build
from reportgen.subject import hub_config

HEADS, SIZE, WIDTH = 4, 32, 128
OUTPUT = "model.layers.0.self_attn.dense.weight"


def parts(kv: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return query, key and value of known, different scales."""
    torch.manual_seed(0)
    return (
        torch.randn(HEADS, SIZE, WIDTH) * 1.0,
        torch.randn(kv, SIZE, WIDTH) * 2.0,
        torch.randn(kv, SIZE, WIDTH) * 4.0,
    )


def by_groups(kv: int) -> Tensor:
    """Stack as one group of heads after the other: its queries, its key, its value."""
    q, k, v = parts(kv)
    grouped = q.view(kv, HEADS // kv, SIZE, WIDTH)
    return torch.cat([grouped, k[:, None], v[:, None]], 1).reshape(-1, WIDTH)


def in_parts(kv: int) -> Tensor:
    return torch.cat([x.reshape(-1, WIDTH) for x in parts(kv)])


def examined(folder: Path, weights: dict[str, Tensor], config: Any, **options: Any) -> Report:
    save_file({name: w.contiguous() for name, w in weights.items()}, folder / "model.safetensors")
    if config is not None:
        (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return reportgen.examine(folder, options=Options(**options))


def row_of(report: Report, end: str) -> WeightRow:
    assert report.weights is not None
    (row,) = (row for row in report.weights.rows if row.name.endswith(end))
    return row


def in_blocks() -> Tensor:
    """Stack as CodeGen does: four blocks of query, value, key."""
    q, k, v = (x.reshape(4, -1, WIDTH) for x in parts(HEADS))
    return torch.cat([q, v, k], 1).reshape(-1, WIDTH)


CASES = {
    "gpt_neox": ({"num_attention_heads": HEADS, "hidden_size": WIDTH}, by_groups(HEADS), HEADS),
    "bloom": ({"n_head": HEADS, "hidden_size": WIDTH}, by_groups(HEADS), HEADS),
    "falcon": ({"num_attention_heads": HEADS, "hidden_size": WIDTH, "multi_query": False}, by_groups(HEADS), HEADS),
    "RefinedWeb": (
        {"n_head": HEADS, "n_head_kv": 2, "hidden_size": WIDTH, "new_decoder_architecture": True},
        by_groups(2),
        2,
    ),
    "RefinedWebModel": ({"n_head": HEADS, "hidden_size": WIDTH, "multi_query": True}, in_parts(1), 1),
    "chatglm": (
        {"num_attention_heads": HEADS, "hidden_size": WIDTH, "position_encoding_2d": True},
        by_groups(HEADS),
        4,
    ),
    "chatglm, later": (
        {
            "model_type": "chatglm",
            "num_attention_heads": HEADS,
            "hidden_size": WIDTH,
            "kv_channels": SIZE,
            "multi_query_attention": True,
            "multi_query_group_num": 2,
        },
        in_parts(2),
        2,
    ),
    "codegen": ({"n_head": HEADS, "n_embd": WIDTH}, in_blocks(), HEADS),
    "some_other": ({"num_attention_heads": HEADS, "num_key_value_heads": 2, "head_dim": SIZE}, in_parts(2), 2),
}


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("spectra", ["off", "exact"])
def test_query_key_and_value_are_cut_by_heads(tmp_path: Path, kind: str, spectra: str) -> None:
    config, stacked, kv = CASES[kind]
    weights = {"model.layers.0.self_attn.query_key_value.weight": stacked, OUTPUT: torch.randn(WIDTH, WIDTH)}
    row = row_of(examined(tmp_path, weights, {"model_type": kind} | config, spectra=spectra), "query_key_value.weight")
    assert [m.part for m in row.matrices] == ["query", "key", "value"]
    for matrix, own in zip(row.matrices, parts(kv), strict=True):
        own = own.reshape(-1, WIDTH)
        assert matrix.channels == len(own)
        assert matrix.rms == pytest.approx(float(own.double().square().mean().sqrt()), rel=1e-6)
        assert matrix.filters is not None
        assert matrix.filters.norm_high == pytest.approx(float(own.double().norm(dim=1).max()), rel=1e-6)
        assert matrix.filters.diversity_raw == pytest.approx(float(own.double().mean(1).std()), rel=1e-4)
        if spectra == "exact":
            assert matrix.spectrum is not None
            assert matrix.spectrum.norm == pytest.approx(float(torch.linalg.matrix_norm(own.double(), 2)), rel=1e-4)


def test_rows_that_repeat_are_found_in_a_part_that_lies_in_turn(tmp_path: Path) -> None:
    q, k, v = parts(HEADS)
    k[1] = k[0]
    stacked = torch.stack([q, k, v], 1).reshape(-1, WIDTH)
    config = {"model_type": "bloom", "n_head": HEADS, "hidden_size": WIDTH}
    row = row_of(examined(tmp_path, {"h.0.self_attention.query_key_value.weight": stacked}, config), "value.weight")
    assert [m.filters.copies for m in row.matrices if m.filters is not None] == [0, SIZE, 0]


@pytest.mark.parametrize(
    "config",
    [
        None,
        {"model_type": "gpt_neox"},
        {"model_type": "gpt_neox", "num_attention_heads": 5, "hidden_size": WIDTH},
        {"model_type": "gpt_neox", "num_attention_heads": HEADS, "hidden_size": 64, "head_dim": 7},
        {"model_type": "unheard_of", "num_attention_heads": HEADS, "hidden_size": WIDTH},
    ],
)
def test_what_cannot_be_told_stays_whole_and_is_said(tmp_path: Path, config: Any) -> None:
    weights = {
        "layers.0.attention.query_key_value.weight": by_groups(HEADS),
        "layers.0.attention.dense.weight": torch.randn(WIDTH, WIDTH),
    }
    row = row_of(examined(tmp_path, weights, config), "query_key_value.weight")
    assert [m.part for m in row.matrices] == [""]
    assert row.kind == "attention qkv, not cut apart"


def test_shapes_are_believed_before_a_configuration(tmp_path: Path) -> None:
    weights = {"layers.0.attn.qkv_proj.weight": in_parts(2), "layers.0.attn.o_proj.weight": torch.randn(WIDTH, WIDTH)}
    lie = {"model_type": "llama", "num_attention_heads": 64, "num_key_value_heads": 1, "hidden_size": 8192}
    row = row_of(examined(tmp_path, weights, lie), "qkv_proj.weight")
    assert [(m.part, m.channels) for m in row.matrices] == [("query", 128), ("key", 64), ("value", 64)]


def test_the_configuration_of_another_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bloom", "n_head": 4, "n_layer": 9}))
    torch.save({"h.0.w.weight": torch.randn(8, 8), "h.1.w.weight": torch.randn(8, 8)}, tmp_path / "mine.pt")
    facts = reportgen.examine(tmp_path / "mine.pt").weights
    assert facts is not None
    assert facts.config is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = [*(k for keys in hub_config._NUMBERS.values() for k in keys), "model_type", "text_config", "torch_dtype"]


@given(st.dictionaries(st.sampled_from([*KEYS, "tie_word_embeddings", "multi_query"]), JSON, max_size=8))
@settings(max_examples=200, deadline=None)
def test_any_table_is_read_or_left(table: dict[str, Any]) -> None:
    found = hub_config.of_table(table)
    if found is not None:
        numbers = [v for v in to_builtins(found.config).values() if isinstance(v, int) and not isinstance(v, bool)]
        assert all(0 < n < 2**32 for n in numbers)
        assert found.heads is None or found.heads.queries % found.heads.keys == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[1, 2]",
        "[" * 100_000,
        '{"num_attention_heads": ' + "9" * 6000 + "}",
        '{"num_attention_heads": 1e999, "hidden_size": -3}',
        '{"model_type": "bloom", "n_head": true}',
        '{"model_type": "' + "x" * 100_000 + '"}',
        json.dumps({"auto_map": {"AutoModel": "evil.Model"}, "n_head": 0}),
        "\ud800".encode("utf-8", "surrogatepass").decode("latin1"),
    ],
)
def test_hostile_configurations_do_no_harm(tmp_path: Path, text: str) -> None:
    report = examined(tmp_path, {"a.weight": torch.randn(40, 40)}, text)
    assert report.weights is not None
    assert len(report.weights.rows) == 1
    (row,) = (row for row in report.coverage if row.part == "weights")
    assert row.status == "measured"


def test_a_configuration_that_is_a_link_to_a_device_or_too_long_is_left(tmp_path: Path) -> None:
    (tmp_path / "config.json").symlink_to("/dev/zero")
    assert hub_config.beside(tmp_path) is None
    (tmp_path / "config.json").unlink()
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(1 << 30)
    assert hub_config.beside(tmp_path) is None


# ---- where the two differ

SMALL = {"model_type": "llama", "num_hidden_layers": 3, "hidden_size": 32, "vocab_size": 100, "num_attention_heads": 2}


def small(layers: int = 3, rows: int = 100) -> dict[str, Tensor]:
    torch.manual_seed(0)
    state = {f"model.layers.{i}.mlp.up_proj.weight": torch.randn(64, 32) for i in range(layers)}
    return state | {"model.embed_tokens.weight": torch.randn(rows, 32)}


def differences(report: Report) -> dict[str, tuple[int, int]]:
    assert report.weights is not None
    assert report.weights.config is not None
    return {d.what: (d.config, d.file) for d in report.weights.config.differences}


@pytest.mark.parametrize(
    ("weights", "config", "expected"),
    [
        (small(), SMALL, {}),
        (small(rows=128), SMALL, {}),  # padded
        (small(layers=4), SMALL, {}),  # a layer more, for several tokens at once
        (small(layers=1), SMALL, {}),  # one for all
        (small() | {"lm_head.weight": torch.randn(100, 32)}, SMALL | {"tie_word_embeddings": False}, {}),
        (small() | {"lm_head.weight": small()["model.embed_tokens.weight"]}, SMALL | {"tie_word_embeddings": True}, {}),
        (small(layers=2), SMALL, {"layers": (3, 2)}),
        (small(rows=90), SMALL, {"vocabulary": (100, 90)}),
        (small(), SMALL | {"hidden_size": 16}, {"width": (16, 32)}),
        (
            small() | {"lm_head.weight": torch.ones(100, 32)},
            SMALL | {"tie_word_embeddings": True},
            {"tied embeddings": (1, 0)},
        ),
    ],
)
def test_what_differs_is_told(
    tmp_path: Path, weights: dict[str, Tensor], config: Any, expected: dict[str, tuple[int, int]]
) -> None:
    report = examined(tmp_path, weights, config)
    assert differences(report) == expected
    told = [f for f in report.findings if f.rule == "config-disagrees"]
    assert bool(told) == bool(expected)
    for finding in told:
        assert finding.evidence["differences"] == 1
        assert math.isclose(finding.evidence["file"], next(iter(expected.values()))[1])
    for language in ("en", "zh"):
        page = build(report, language)  # type: ignore[arg-type]
        assert page.section("weights") is not None
