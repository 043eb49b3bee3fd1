"""One pass over a large tensor gives what numpy gives, whatever its type, its shape and what is broken in it."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reportgen.probe import slices
from reportgen.probe import sweep as module
from reportgen.probe.sweep import sweep

SHAPES = [(2048, 200), (1024, 37), (3, 100_000), (500_001,), (64, 3, 40, 40), (1, 70_000), (70_000, 1), (40, 16_384)]
TOLERANCE = {torch.float32: 1e-5, torch.float16: 1e-5, torch.bfloat16: 3e-4, torch.float64: 1e-12}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
def test_figures_are_those_of_numpy(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = (torch.randn(shape) * 0.02 + 0.003).to(dtype)
    x.view(-1)[::97] = 0
    x.view(-1)[5::1013] = -0.0
    found, a = sweep(x), x.double().numpy()
    rows = a.reshape(a.shape[0] if a.ndim > 1 else 1, -1)
    close, stats = TOLERANCE[dtype], found.stats
    assert (stats.count, stats.zeros, stats.nonfinite) == (a.size, int((a == 0).sum()), 0)
    assert (stats.min, stats.max) == (a.min(), a.max())
    assert stats.mean == pytest.approx(a.mean(), abs=close * a.std())
    assert stats.std == pytest.approx(a.std(), rel=close)
    np.testing.assert_allclose(found.squares, (rows**2).sum(1), rtol=max(close, 1e-2 * (dtype is torch.bfloat16)))
    np.testing.assert_allclose(
        found.sums, rows.sum(1), atol=max(close, 8e-3 * (dtype is torch.bfloat16)) * abs(rows).sum(1).max()
    )
    step = len(rows) // len(found.slab) if len(found.slab) else 1
    assert len(found.slab) >= min(len(rows), 12)
    np.testing.assert_array_equal(found.slab, rows[found.places.numpy()][:, : found.slab.shape[1]].astype(np.float32))
    assert step >= 1
    assert stats.histogram is not None
    assert stats.histogram.stride * stats.histogram.total == pytest.approx(a.size, rel=2e-3)
    for q in (0.05, 0.5, 0.95):
        assert stats.histogram.quantile(q) == pytest.approx(
            np.quantile(a, q), abs=0.02 * a.std() + 0.09 * abs(np.quantile(a, q))
        )


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("zeros", [(), (0.0,), (-0.0,), (0.0, -0.0)])
def test_values_of_one_sign_have_both_ends(dtype: torch.dtype, sign: int, zeros: tuple[float, ...]) -> None:
    x = (torch.randn(300, 301, generator=torch.Generator().manual_seed(0)).exp() * sign).to(dtype)
    x.view(-1)[: len(zeros)] = torch.tensor(zeros, dtype=dtype)
    stats = sweep(x).stats
    assert (stats.min, stats.max, stats.zeros) == (float(x.min()), float(x.max()), len(zeros))


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize("turned", [False, True])
def test_a_turned_tensor_has_its_columns_for_channels(dtype: torch.dtype, turned: bool) -> None:
    x = torch.randn(600, 300).to(dtype)
    x = x.T if turned else x
    np.testing.assert_allclose(
        sweep(x).squares, (x.double() ** 2).sum(1), rtol=1e-2 if dtype is torch.bfloat16 else 1e-5
    )


@pytest.mark.parametrize("dtype", [*TOLERANCE, torch.float8_e4m3fn], ids=str)
@pytest.mark.parametrize("size", [14, 17])  # of few rows and of many
def test_a_turned_matrix_is_read_as_it_lies(dtype: torch.dtype, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE", 1 << size)
    torch.manual_seed(0)
    lying = (torch.randn(301, 700) * 0.5).to(dtype)
    seen: list[int] = []
    found, same = sweep(lying.T, lambda part: seen.append(part.numel())), sweep(lying.T.float().contiguous())
    a = lying.double().numpy().T
    assert sum(seen) == lying.numel()
    assert (found.stats.count, found.stats.zeros) == (a.size, int((a == 0).sum()))
    assert (found.stats.min, found.stats.max) == (a.min(), a.max())
    assert found.stats.mean == pytest.approx(a.mean(), abs=1e-5)
    assert found.stats.std == pytest.approx(a.std(), rel=1e-5)
    np.testing.assert_allclose(found.sums, a.sum(1), atol=1e-3)
    np.testing.assert_allclose(found.squares, (a**2).sum(1), rtol=1e-5)
    np.testing.assert_array_equal(found.slab, same.slab)
    np.testing.assert_array_equal(found.places, same.places)
    np.testing.assert_array_equal(found.marks, same.marks)
    assert abs(len(found.sample) - len(same.sample)) <= 2


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_broken_values_in_a_turned_matrix_are_counted(value: float) -> None:
    x = torch.randn(301, 700)
    x[200, 5] = value
    stats = sweep(x.T).stats
    assert stats.nonfinite == 1
    assert stats.std == pytest.approx(float(np.nanstd(np.where(np.isfinite(x.numpy()), x.numpy(), np.nan))), rel=1e-5)


@given(
    st.sampled_from(list(TOLERANCE)),
    st.lists(st.tuples(st.integers(0, 199_999), st.sampled_from([math.nan, math.inf, -math.inf])), max_size=5),
    st.sampled_from([1.0, -1.0, 0.0, 1e-30, 3e4]),
    st.sampled_from([0.0, 1.0]),
)
@settings(max_examples=60, deadline=None)
def test_broken_values_are_counted_and_left_out(
    dtype: torch.dtype, broken: list[tuple[int, float]], shift: float, width: float
) -> None:
    x = (torch.linspace(-1, 1, 200_000).reshape(100, 2000) * width + shift).to(dtype)
    for place, value in broken:
        x.view(-1)[place] = value
    found, a = sweep(x), x.double().numpy().ravel()
    stats, finite = found.stats, a[np.isfinite(a)]
    assert (stats.nan, stats.pos_inf, stats.neg_inf) == (np.isnan(a).sum(), (a == np.inf).sum(), (a == -np.inf).sum())
    assert stats.zeros == (a == 0).sum()
    assert (stats.min, stats.max) == (finite.min(), finite.max())
    close = TOLERANCE[dtype]
    assert stats.mean == pytest.approx(finite.mean(), rel=close, abs=close * finite.std())
    assert stats.std == pytest.approx(finite.std(), rel=10 * close, abs=1e-9 * abs(finite).max())
    assert np.isfinite(found.sample.numpy()).all()


def test_values_that_cannot_be_squared_in_float32_are_measured() -> None:
    x = torch.full((300, 300), 1e30)
    x[0] = -1e30
    assert sweep(x).stats.std == pytest.approx(float(x.double().std(correction=0)), rel=1e-9)
    assert sweep(x).stats.rms == pytest.approx(1e30, rel=1e-6)


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0), (1,), (3, 1)])
def test_tiny_tensors_pass(shape: tuple[int, ...]) -> None:
    assert sweep(torch.ones(shape)).stats.count == math.prod(shape)


def test_every_slice_is_handed_back_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE", 1 << 12)
    for x in (torch.randn(300, 301), torch.randn(7, 40_001), torch.randn(99_999)):
        seen: list[tuple[int, int]] = []
        sweep(x, lambda part, seen=seen: seen.append((part.data_ptr(), part.numel())))  # type: ignore[misc]
        seen.sort()
        assert sum(n for _, n in seen) == x.numel()
        assert all(a + 4 * n == b for (a, n), (b, _) in pairwise(seen))
        assert max(n for _, n in seen) <= (1 << 12) // 4 * (module._HANDED_BACK + 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("broken", [False, True])
def test_the_mean_of_a_very_large_tensor_is_of_every_fourth_channel(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, broken: bool
) -> None:
    monkeypatch.setattr(module, "_LARGE", 1 << 18)
    x = (torch.randn(1100, 512) + 0.5).to(dtype)
    if broken:
        x[7, 3] = math.nan
    found, rows = sweep(x), x.double()
    taken = rows if broken else rows[::4]
    assert found.every == (1 if broken else 4)
    close = 1e-2 if dtype is torch.bfloat16 else 1e-5
    assert found.stats.mean == pytest.approx(float(taken.nanmean()), rel=close)
    assert found.stats.std == pytest.approx(float((rows.square().nanmean() - rows.nanmean() ** 2).sqrt()), rel=5e-3)
    np.testing.assert_allclose(found.squares, rows.square().nansum(1), rtol=close)


@pytest.mark.parametrize(("shape", "every"), [((300, 512), 4), ((600, 2048), 4), ((2048, 512), 8)])
def test_the_larger_a_tensor_the_fewer_channels_give_its_mean(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], every: int
) -> None:
    monkeypatch.setattr(module, "_LARGE", 1 << 17)
    x = torch.randn(shape) + 0.5
    found = sweep(x)
    assert (found.every, len(found.sums)) == (every, math.ceil(shape[0] / every))
    np.testing.assert_allclose(found.sums, x[::every].double().sum(1), rtol=1e-4)
    assert found.stats.mean == pytest.approx(float(x[::every].double().mean()), rel=1e-6)
    assert found.stats.mean == pytest.approx(0.5, abs=4 / math.sqrt(found.sums.numel() * shape[1]))


@pytest.mark.parametrize("turned", [False, True])
def test_values_whose_squares_leave_float32_at_the_lower_end_are_measured(turned: bool) -> None:
    x = torch.randn(400, 300) * 1e-21
    found = sweep(x.T if turned else x)
    assert found.stats.std == pytest.approx(float(x.double().std(correction=0)), rel=1e-6)
    np.testing.assert_allclose(found.squares, x.double().square().sum(0 if turned else 1), rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz], ids=str)
def test_floats_of_8_bits_are_read_as_those_that_they_are(dtype: torch.dtype) -> None:
    x = (torch.randn(500, 300, generator=torch.Generator().manual_seed(0)) * 0.1).to(dtype)
    x.view(-1)[7] = math.nan
    found, a = sweep(x), x.double().numpy()
    assert (found.stats.nan, found.stats.zeros) == (1, int((a == 0).sum()))
    assert (found.stats.min, found.stats.max) == (np.nanmin(a), np.nanmax(a))
    assert found.stats.std == pytest.approx(np.nanstd(a), rel=1e-6)
    np.testing.assert_allclose(found.squares, np.nansum(a**2, 1), rtol=1e-5)


def test_a_convolution_that_lies_with_its_channels_last_is_read_in_that_order() -> None:
    x = torch.randn(128, 64, 3, 3)
    lying = x.to(memory_format=torch.channels_last)
    found, same = sweep(lying), sweep(x)
    np.testing.assert_allclose(found.squares, same.squares, rtol=1e-5)
    np.testing.assert_allclose(found.sums, same.sums, atol=1e-4)
    assert (found.stats.min, found.stats.max, found.stats.zeros) == (same.stats.min, same.stats.max, 0)
    np.testing.assert_array_equal(found.slab, lying.permute(0, 2, 3, 1).flatten(1)[found.places])
