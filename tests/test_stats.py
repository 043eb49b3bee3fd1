"""Accumulators in plain numbers, held against numpy."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportgen.document.stats import Histogram, TensorStats, bin_edges, merge_all


def plain(values: list[float]) -> TensorStats:
    """Reference in numpy, float64."""
    x = np.array(values, dtype=np.float64)
    finite = x[np.isfinite(x)]
    bits = finite.astype(np.float32).view(np.uint32) >> 20
    bins, counts = np.unique(bits, return_counts=True)
    return TensorStats(
        count=x.size,
        nan=int(np.isnan(x).sum()),
        pos_inf=int((x == np.inf).sum()),
        neg_inf=int((x == -np.inf).sum()),
        zeros=int((x == 0).sum()),
        sum=float(finite.sum()),
        m2=float(((finite - finite.mean()) ** 2).sum()) if finite.size else 0.0,
        min=float(finite.min()) if finite.size else None,
        max=float(finite.max()) if finite.size else None,
        histogram=Histogram(bins=bins.tolist(), counts=counts.tolist()),
    )


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.lists(st.floats(-1e6, 1e6, width=32) | st.sampled_from((math.nan, math.inf, -math.inf)), max_size=8),
        max_size=6,
    )
)
def test_merged_parts_equal_the_whole(parts: list[list[float]]) -> None:
    whole = plain([v for part in parts for v in part])
    merged = merge_all(plain(part) for part in parts)
    for name in ("count", "nan", "pos_inf", "neg_inf", "zeros", "min", "max"):
        assert getattr(merged, name) == getattr(whole, name)
    if whole.count:
        assert merged.histogram is not None
        assert merged.histogram == whole.histogram
    assert merged.sum == pytest.approx(whole.sum, rel=1e-12, abs=1e-6)
    assert merged.m2 == pytest.approx(whole.m2, rel=1e-9, abs=1e-6)


def test_merging_is_the_same_in_any_order() -> None:
    rng = np.random.default_rng(0)
    parts = [plain((rng.normal(size=n) + 3).tolist()) for n in (1, 10, 100, 5)]
    forward, backward = merge_all(parts), merge_all(reversed(parts))
    assert forward.histogram == backward.histogram
    assert forward.m2 == pytest.approx(backward.m2, rel=1e-12)


def test_moments_match_numpy_where_the_mean_is_large() -> None:
    x = np.random.default_rng(1).normal(1e4, 1.0, 10_000)
    stats = merge_all(plain(part.tolist()) for part in np.array_split(x, 7))
    assert stats.mean == pytest.approx(x.mean(), rel=1e-12)
    assert stats.std == pytest.approx(x.std(), rel=1e-9)
    assert stats.norm == pytest.approx(np.linalg.norm(x), rel=1e-12)
    assert stats.rms == pytest.approx(math.sqrt((x**2).mean()), rel=1e-12)


def test_nothing_measured_is_none_and_not_zero() -> None:
    empty = TensorStats()
    assert (empty.mean, empty.std, empty.norm, empty.rms, empty.zero_share, empty.min) == (None,) * 6
    only_nan = plain([math.nan, math.inf])
    assert only_nan.mean is None
    assert only_nan.nonfinite == 2


@pytest.mark.parametrize("value", [0.0, 1.0, 1.3, -1.3, 1e-30, -7e20, 3.0e38, 5e-45])
def test_a_value_lies_between_the_edges_of_its_bin(value: float) -> None:
    low, high = bin_edges(int(np.float32(value).view(np.uint32) >> 20))
    assert low <= float(np.float32(value)) <= high


def test_quantiles_are_within_a_bin_of_numpy() -> None:
    x = np.random.default_rng(2).normal(size=20_000).astype(np.float32)
    histogram = plain(x.tolist()).histogram
    assert histogram is not None
    for q in (0.01, 0.25, 0.9, 0.999):
        found, wanted = histogram.quantile(q), float(np.quantile(x, q))
        assert found == pytest.approx(wanted, rel=0.13, abs=0.01)


def test_rebinning_keeps_the_count_and_the_shape() -> None:
    x = np.random.default_rng(3).normal(size=50_000).astype(np.float32)
    histogram = plain(x.tolist()).histogram
    assert histogram is not None
    counts = histogram.rebin(-4, 4, 16)
    wanted, _ = np.histogram(x, 16, (-4, 4))
    assert sum(counts) == pytest.approx(len(x), rel=1e-3)
    assert np.abs(np.array(counts) - wanted).max() < 0.03 * wanted.max()


def test_rebinning_one_value_puts_it_somewhere() -> None:
    assert sum(plain([2.0, 2.0]).histogram.rebin(2.0, 2.0, 8)) == 2  # type: ignore[union-attr]
