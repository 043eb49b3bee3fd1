"""Weights that were packed by hand as quantisers do come back as the values that were packed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import reportgen
from reportgen.document.facts import Report, WeightRow
from reportgen.options import Options
from reportgen.page.build import build
from reportgen.subject import checkpoint, packed

OUT, IN, GROUP = 64, 256, 32
NF4 = [-1.0, -0.6962, -0.5251, -0.3949, -0.2844, -0.1848, -0.0911, 0.0]
NF4 += [0.0796, 0.1609, 0.2461, 0.3379, 0.4407, 0.5626, 0.7230, 1.0]


def read(folder: Path, tensors: dict[str, Tensor]) -> tuple[checkpoint.Checkpoint, dict[str, str]]:
    save_file({name: t.contiguous().clone() for name, t in tensors.items()}, folder / "model.safetensors")
    return packed.decoded(checkpoint.read(folder / "model.safetensors"))


def codes(bits: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 1 << bits, shape)


def pack(x: np.ndarray, bits: int) -> Tensor:
    """Pack neighbours of the last dimension, the first in the lowest bits."""
    per = 32 // bits
    out = np.zeros((*x.shape[:-1], x.shape[-1] // per), np.uint64)
    for place in np.ndindex(out.shape):
        for k in range(per):
            out[place] |= np.uint64(int(x[(*place[:-1], place[-1] * per + k)]) << (bits * k))
    return torch.from_numpy(out.astype(np.uint32).view(np.int32))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("shuffled", [False, True])
def test_gptq(tmp_path: Path, bits: int, shuffled: bool) -> None:
    q, zeros = codes(bits, IN, OUT), codes(bits, IN // GROUP, OUT)
    scales = torch.rand(IN // GROUP, OUT).half()
    groups = np.arange(IN) // GROUP
    groups = np.random.default_rng(1).permutation(groups) if shuffled else groups
    tensors = {
        "model.layers.0.mlp.up_proj.qweight": pack(q.T, bits).T,
        "model.layers.0.mlp.up_proj.qzeros": pack((zeros - 1) % (1 << bits), bits),
        "model.layers.0.mlp.up_proj.scales": scales,
        "model.layers.0.mlp.up_proj.g_idx": torch.from_numpy(groups.astype(np.int32)),
        "model.norm.weight": torch.ones(8),
    }
    zeros = (zeros - 1) % (1 << bits) + 1
    file, kinds = read(tmp_path, tensors)
    assert list(kinds.values()) == [f"GPTQ int{bits}"]
    expected = (q - zeros[groups]) * scales.double().numpy()[groups]
    (name,) = kinds
    np.testing.assert_allclose(file.tensors[name], expected.T, rtol=1e-6)
    assert tuple(file.outlines[name].shape) == (OUT, IN)
    assert len(file.tensors) == 2


def test_gptq_of_the_second_version_stores_the_middle_itself(tmp_path: Path) -> None:
    q, scales = codes(4, IN, OUT), torch.rand(2, OUT)
    middle = np.full((2, OUT), 8)
    file, _ = read(tmp_path, {"a.qweight": pack(q.T, 4).T, "a.qzeros": pack(middle, 4), "a.scales": scales})
    expected = (q - 8) * scales.numpy().repeat(IN // 2, 0)
    np.testing.assert_allclose(file.tensors["a.weight"], expected.T, rtol=1e-6)


def test_awq(tmp_path: Path) -> None:
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    q, zeros = codes(4, IN, OUT), codes(4, IN // GROUP, OUT)[::-1]
    scales = torch.rand(IN // GROUP, OUT).half()

    def packed_by_outputs(x: np.ndarray) -> Tensor:
        return pack(x.reshape(len(x), -1, 8)[..., order].reshape(len(x), -1), 4)

    tensors = {"a.qweight": packed_by_outputs(q), "a.qzeros": packed_by_outputs(zeros), "a.scales": scales}
    file, kinds = read(tmp_path, tensors)
    assert kinds == {"a.weight": "AWQ int4"}
    expected = (q - zeros.repeat(GROUP, 0)) * scales.double().numpy().repeat(GROUP, 0)
    np.testing.assert_allclose(file.tensors["a.weight"], expected.T, rtol=1e-6)


def blockwise(q: np.ndarray, largest: Tensor, beside: dict[str, Tensor], **state: object) -> dict[str, Tensor]:
    told = {"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [OUT, IN]} | state
    flat = q.reshape(-1)
    return {
        "a.weight": torch.from_numpy((flat[::2] << 4 | flat[1::2]).astype(np.uint8))[:, None],
        "a.weight.absmax": largest,
        "a.weight.quant_map": torch.tensor(NF4),
        "a.weight.quant_state.bitsandbytes__nf4": torch.tensor(list(json.dumps(told).encode()), dtype=torch.uint8),
    } | beside


def test_bitsandbytes(tmp_path: Path) -> None:
    q, largest = codes(4, OUT, IN), torch.rand(OUT * IN // 64)
    file, kinds = read(tmp_path, blockwise(q, largest, {}))
    assert kinds == {"a.weight": "bitsandbytes nf4"}
    expected = np.array(NF4)[q].reshape(-1, 64) * largest.double().numpy()[:, None]
    np.testing.assert_allclose(file.tensors["a.weight"], expected.reshape(OUT, IN), rtol=1e-6)
    assert list(file.tensors) == ["a.weight"]


def test_bitsandbytes_with_packed_scales(tmp_path: Path) -> None:
    q, inner = codes(4, OUT, IN), codes(8, OUT * IN // 64)
    table, outer = torch.linspace(-1, 1, 256), torch.rand(2)
    beside = {"a.weight.nested_absmax": outer, "a.weight.nested_quant_map": table}
    tensors = blockwise(q, torch.from_numpy(inner.astype(np.uint8)), beside, nested_blocksize=128, nested_offset=0.5)
    file, _ = read(tmp_path, tensors)
    largest = table.double().numpy()[inner] * outer.double().numpy().repeat(128) + 0.5
    expected = np.array(NF4)[q].reshape(-1, 64) * largest[:, None]
    np.testing.assert_allclose(file.tensors["a.weight"], expected.reshape(OUT, IN), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "broken",
    [
        {"shape": [OUT, IN + 1]},
        {"shape": [1 << 40, 1 << 40]},
        {"shape": "all"},
        {"shape": [-OUT, -IN]},
        {"blocksize": 0},
        {"blocksize": 7},
        {"nested_blocksize": 0},
    ],
)
def test_a_table_that_lies_leaves_the_weight_packed(tmp_path: Path, broken: dict[str, object]) -> None:
    largest, beside = torch.rand(OUT * IN // 64), {}
    if "nested_blocksize" in broken:
        largest = torch.zeros(OUT * IN // 64, dtype=torch.uint8)
        beside = {"a.weight.nested_absmax": torch.rand(2), "a.weight.nested_quant_map": torch.rand(256)}
    file, kinds = read(tmp_path, blockwise(codes(4, OUT, IN), largest, beside, **broken))
    assert kinds == {}
    assert file.tensors["a.weight"].dtype is torch.uint8


def test_shapes_that_fit_no_format_leave_the_weight_packed(tmp_path: Path) -> None:
    whole = torch.zeros(32, OUT, dtype=torch.int32)
    for tensors in (
        {"a.qweight": whole, "a.qzeros": whole[:2], "a.scales": torch.rand(3, OUT)},
        {"a.qweight": whole, "a.qzeros": torch.zeros(3, OUT // 8, dtype=torch.int32), "a.scales": torch.rand(3, OUT)},
        {"a.qweight": whole, "a.qzeros": whole[:0], "a.scales": torch.rand(0, OUT)},
        {"a.qweight": whole, "a.scales": torch.rand(2, OUT)},
        {"a.qweight": whole[None], "a.qzeros": whole[None], "a.scales": torch.rand(1, 2, OUT)},
    ):
        assert read(tmp_path, tensors)[1] == {}


def examined(folder: Path, tensors: dict[str, Tensor]) -> tuple[Report, dict[str, WeightRow]]:
    save_file({name: t.contiguous().clone() for name, t in tensors.items()}, folder / "model.safetensors")
    report = reportgen.examine(folder / "model.safetensors", options=Options())
    assert report.weights is not None
    return report, {row.name: row for row in report.weights.rows}


def test_a_report_measures_what_was_packed(tmp_path: Path) -> None:
    q, largest = codes(4, OUT, IN), torch.rand(OUT * IN // 64)
    report, rows = examined(tmp_path, blockwise(q, largest, {}) | {"b.weight": torch.randn(32, 64)})
    expected = np.array(NF4)[q].reshape(-1, 64) * largest.double().numpy()[:, None]
    row = rows["a.weight"]
    assert (row.dtype, row.shape, row.role) == ("bitsandbytes nf4", [OUT, IN], "weight")
    assert row.stats is not None
    assert row.stats.std == pytest.approx(expected.std(), rel=1e-6)
    assert row.matrices[0].spectrum is not None
    assert report.architecture is not None
    assert report.architecture.parameters == OUT * IN + 32 * 64
    (part,) = (c for c in report.coverage if c.part == "weights")
    assert "packed weights decoded: 1 of bitsandbytes nf4" in (part.reason or "")
    assert build(report)
