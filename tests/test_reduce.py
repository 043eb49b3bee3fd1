"""Tensors into accumulators, against numpy in float64."""

import math

import numpy as np
import pytest
import torch

from reportgen.document.stats import merge_all
from reportgen.probe.reduce import bin_counts, strided, tensor_stats

CASES = {
    "normal": torch.randn(6, 5, 7, generator=torch.Generator().manual_seed(0)),
    "shifted": torch.randn(6, 5, 40, generator=torch.Generator().manual_seed(1)) + 100,
    "with zeros": torch.randn(6, 5, 7, generator=torch.Generator().manual_seed(2)).relu(),
    "half": torch.randn(6, 5, 7, generator=torch.Generator().manual_seed(3)).half(),
    "bfloat16": (torch.randn(6, 5, 7, generator=torch.Generator().manual_seed(4)) * 3).bfloat16(),
    "double": torch.randn(6, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(5)) * 1e-200,
    "huge": torch.randn(6, 5, 7, generator=torch.Generator().manual_seed(6)) * 1e30,
    "denormal": torch.full((6, 5, 7), 1e-42),
    "non-finite": torch.tensor([1.0, math.nan, math.inf, -math.inf, 0.0, -2.0]).repeat(35).reshape(6, 5, 7),
    "only nan": torch.full((6, 5, 7), math.nan),
}


def check(stats: object, x: torch.Tensor, rel: float) -> None:
    full = x.double().numpy().ravel()
    finite = full[np.isfinite(full)]
    assert stats.count == full.size  # type: ignore[attr-defined]
    assert stats.nan == np.isnan(full).sum()  # type: ignore[attr-defined]
    assert (stats.pos_inf, stats.neg_inf) == ((full == np.inf).sum(), (full == -np.inf).sum())  # type: ignore[attr-defined]
    assert stats.zeros == (full == 0).sum()  # type: ignore[attr-defined]
    if not finite.size:
        assert stats.mean is None  # type: ignore[attr-defined]
        return
    assert stats.min == finite.min()  # type: ignore[attr-defined]
    assert stats.max == finite.max()  # type: ignore[attr-defined]
    scale = float(np.abs(finite).max())
    assert stats.mean == pytest.approx(finite.mean(), rel=rel, abs=rel * scale)  # type: ignore[attr-defined]
    assert stats.std == pytest.approx(finite.std(), rel=1e3 * rel, abs=1e2 * rel * scale)  # type: ignore[attr-defined]
    assert stats.norm == pytest.approx(np.linalg.norm(finite / scale) * scale, rel=rel)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", CASES)
def test_a_tensor_that_lies_still_is_measured_in_float64(name: str) -> None:
    stats = tensor_stats(CASES[name])
    assert stats is not None
    if name == "double":  # 1e-400 is no float64: the squares are zero
        assert stats.min == CASES[name].min()
        return
    check(stats, CASES[name], rel=1e-12)


def test_splitting_a_tensor_changes_no_count_and_no_bin() -> None:
    x = CASES["non-finite"]
    parts = [tensor_stats(part) for part in x.reshape(-1).split(17)]
    merged, whole = merge_all(p for p in parts if p is not None), tensor_stats(x)
    assert whole is not None
    assert (merged.count, merged.nan, merged.min, merged.max) == (whole.count, whole.nan, whole.min, whole.max)
    assert merged.histogram == whole.histogram


def test_bins_are_those_of_numpy() -> None:
    x = torch.randn(1000, generator=torch.Generator().manual_seed(7))
    counts = bin_counts(x)
    wanted = np.bincount(x.numpy().view(np.uint32) >> 20, minlength=4096)
    assert np.array_equal(counts.numpy(), wanted)


def test_a_stride_visits_every_column_of_a_power_of_two() -> None:
    x = torch.arange(64.0).repeat(1024, 1)  # (1024, 64), each column one value
    values, stride = strided(x, 4096)
    counts = bin_counts(values)
    assert stride % 2 == 1
    assert int((counts > 0).sum()) == len({int(np.float32(v).view(np.uint32) >> 20) for v in range(64)})


@pytest.mark.parametrize("value", [torch.tensor([1, 2]), torch.tensor([True]), torch.empty(3, device="meta")])
def test_what_holds_no_real_numbers_is_not_measured(value: torch.Tensor) -> None:
    assert tensor_stats(value) is None


def test_empty_and_scalar_tensors() -> None:
    empty = tensor_stats(torch.empty(0, 3))
    assert empty is not None
    assert empty.count == 0
    scalar = tensor_stats(torch.tensor(2.5))
    assert scalar is not None
    assert (scalar.mean, scalar.std) == (2.5, 0.0)


def test_sparse_and_complex_tensors_are_measured_dense() -> None:
    sparse = torch.tensor([[0.0, 3.0], [0.0, 0.0]]).to_sparse()
    stats = tensor_stats(sparse)
    assert stats is not None
    assert (stats.count, stats.zeros, stats.max) == (4, 3, 3.0)
    complex_stats = tensor_stats(torch.tensor([3 + 4j]))
    assert complex_stats is not None
    assert complex_stats.norm == pytest.approx(5.0)


def test_even_bars_are_numpy_s_histogram() -> None:
    x = torch.randn(5000, generator=torch.Generator().manual_seed(8)) * 0.02 + 1
    stats = tensor_stats(x)
    assert stats is not None
    wanted, _ = np.histogram(x.double().numpy(), 32)
    assert stats.bars == wanted.tolist()
    assert tensor_stats(torch.ones(5)).bars is None  # type: ignore[union-attr]
    with_nan = tensor_stats(torch.tensor([0.0, 1.0, math.nan, math.inf]))
    assert with_nan is not None
    assert with_nan.bars is not None
    assert sum(with_nan.bars) == 2
