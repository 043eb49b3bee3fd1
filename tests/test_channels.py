"""Layer outputs by channel, streamed: against numpy in float64, whole and in parts."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reportgen.document.stats import TensorStats
from reportgen.probe.channels import ChannelAccumulator, Seen, add_all
from reportgen.probe.places import SAMPLE

from .test_reduce import CASES, check


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", [n for n in CASES if n != "double"])
@pytest.mark.parametrize("dim", [1, 2])
def test_small_outputs_are_measured_whole(name: str, dim: int) -> None:
    x = CASES[name]
    seen = ChannelAccumulator(x.shape[dim], x.device)
    for part in x.split(2):
        seen.update(part, dim)
    check(seen.stats(), x, rel=3e-7)
    full = x.double().nan_to_num(nan=-math.inf, posinf=-math.inf)
    assert torch.equal(seen.high > 0, full.movedim(dim, 0).flatten(1).amax(1) > 0)
    assert seen.n_samples == 6
    assert seen.whole


SHAPES = {
    "maps": ((8, 64, 40, 40), 1),
    "small maps": ((8, 200, 7, 7), 1),
    "one sample": ((1, 96, 30, 30), 1),
    "tokens": ((4, 197, 192), 2),
    "volumes": ((3, 16, 6, 12, 12), 1),
    "channels in the middle": ((4, 9, 33, 25), 2),
    "wide rows": ((5, 3000), 1),
    "large maps": ((2, 40, 130, 130), 1),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_what_is_said_to_be_exact_is_exact(name: str, rectified: bool, dtype: torch.dtype) -> None:
    shape, dim = SHAPES[name]
    x = torch.randn(shape, generator=generator(1), dtype=torch.float64) + 0.3
    x = (x.relu() if rectified else x).to(dtype)
    seen = ChannelAccumulator(shape[dim], x.device, rectified=rectified)
    seen.update(x, dim)
    by_channel = x.double().movedim(dim, 1).reshape(shape[0], shape[dim], -1)  # (B, C, places)
    assert torch.equal(seen.high.double(), by_channel.amax((0, 2)))
    if not rectified:
        assert torch.equal(seen.low.double(), by_channel.amin((0, 2)))
    assert seen.stats().min == float(by_channel.min())
    places = by_channel.shape[2]
    torch.testing.assert_close(seen.sums, by_channel.sum((0, 2)), rtol=1e-5, atol=1e-5 * places)
    if rectified:
        assert torch.equal(seen.fired, (by_channel > 0).any(2).double().sum(0))
    stats = seen.stats()
    assert stats.count == x.numel()
    error = 3 / math.sqrt(2 * seen.n_taken)  # three standard errors of a deviation from so many values
    assert stats.std == pytest.approx(float(by_channel.std(correction=0)), rel=error)
    assert stats.zero_share == pytest.approx(float((by_channel == 0).double().mean()), abs=error)


@pytest.mark.parametrize("name", [n for n in CASES if n != "double"])
def test_the_way_taken_on_other_devices_comes_to_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "is_cpu", property(lambda tensor: False))
    x = CASES[name]
    seen = ChannelAccumulator(x.shape[1], x.device)
    for part in x.split(2):
        seen.update(part, 1)
    check(seen.stats(), x, rel=3e-7)


def test_places_taken_see_every_channel_and_the_whole_map() -> None:
    place = torch.arange(49.0).reshape(1, 1, 7, 7).expand(64, 512, 7, 7)  # each place its own value
    seen = ChannelAccumulator(512, place.device)
    seen.update(place.contiguous(), 1)
    assert not seen.whole
    assert seen.n_taken == 64 * SAMPLE
    stats = seen.stats()
    assert stats.histogram is not None
    assert stats.std == pytest.approx(float(torch.arange(49.0).std(correction=0)), rel=0.02)
    assert len(stats.histogram.bins) == len({int(np.float32(v).view(np.uint32) >> 20) for v in range(49)})


def test_channels_last_memory_is_read_where_it_lies() -> None:
    x = torch.randn(4, 32, 20, 20, generator=generator(2))
    plain, last = ChannelAccumulator(32, x.device), ChannelAccumulator(32, x.device)
    plain.update(x, 1)
    last.update(x.contiguous(memory_format=torch.channels_last), 1)
    assert torch.equal(plain.high, last.high)
    assert torch.equal(plain.bins, last.bins)
    torch.testing.assert_close(plain.sums, last.sums, rtol=1e-6, atol=1e-3)


def test_what_is_not_finite_is_counted_exactly_in_large_outputs() -> None:
    x = torch.randn(4, 64, 40, 40, generator=generator(3))
    x[1, 5, 3, 3] = math.nan
    x[2, 7, 0, 0] = math.inf
    x[3, 7, 1, 1] = -math.inf
    seen = ChannelAccumulator(64, x.device)
    seen.update(x, 1)
    stats = seen.stats()
    assert (stats.nan, stats.pos_inf, stats.neg_inf) == (1, 1, 1)
    finite = x[x.isfinite()].double()
    assert (stats.min, stats.max) == (float(finite.min()), float(finite.max()))
    assert stats.mean == pytest.approx(float(finite.mean()), abs=1e-6)


def test_a_mean_far_above_the_deviation_costs_no_precision() -> None:
    x = torch.randn(64, 8, 30, 30, generator=generator(4)) + 10_000
    seen = ChannelAccumulator(8, x.device)
    for part in x.split(16):
        seen.update(part, 1)
    assert seen.stats().std == pytest.approx(float(x.double().std()), rel=0.02)
    assert seen.variances().mean() == pytest.approx(1.0, abs=0.05)


def test_outputs_of_several_batches_and_layers_may_be_added_at_once() -> None:
    """Maps of several sizes and batches, layers of several widths, looked at in full and with a glance."""
    at_once: list[tuple[ChannelAccumulator, Seen]] = []
    layers = []
    for i, (width, glance, rectified) in enumerate([(6, True, False), (6, False, True), (9, False, False)]):
        alone, together = (ChannelAccumulator(width, torch.device("cpu"), rectified=rectified) for _ in range(2))
        layers.append((alone, together))
        for j, side in enumerate([40, 40, 52, 40]):
            x = torch.randn((4 if j < 3 else 3, width, side, side), generator=generator(10 * i + j)) + 1.0
            x = x.relu() if rectified else x
            if i == 2 and j == 1:
                x[0, 0, 0, 0] = math.inf
            for to, add in ((alone, alone.add), (together, lambda seen, to=together: at_once.append((to, seen)))):
                seen = to.look(x, 1, glance=glance)
                assert seen is not None
                add(seen.let_go())
    add_all(at_once)
    for alone, together in layers:
        assert together.count == alone.count
        assert together.n_batches == alone.n_batches == 4
        assert float(together.sums.sum()) / together.count == pytest.approx(1.0, abs=0.1)  # also where but a few tell
        torch.testing.assert_close(together.tally.figures, alone.tally.figures, rtol=1e-12, atol=1e-9)
        assert torch.equal(together.bins, alone.bins)
        assert torch.equal(together.nonfinite, alone.nonfinite)


def test_empty_outputs_add_nothing() -> None:
    seen = ChannelAccumulator(3, torch.device("cpu"))
    seen.update(torch.empty(0, 3), 1)
    assert seen.stats() == TensorStats(histogram=seen.stats().histogram)


def measured(x: Tensor, dim: int, cuts: list[int], *, rectified: bool) -> ChannelAccumulator:
    """Cut the samples in batches, give them to two accumulators in turn, and merge those."""
    halves = [ChannelAccumulator(x.shape[dim], x.device, rectified=rectified) for _ in range(2)]
    for turn, part in enumerate(torch.tensor_split(x, sorted(cuts))):
        halves[turn % 2].update(part, dim)
    halves[0].merge(halves[1])
    return halves[0]


@settings(deadline=None, max_examples=60)
@given(
    cuts=st.lists(st.integers(0, 12), max_size=5),
    shape=st.sampled_from([(5, 300), (40, 9, 9), (7, 50, 3), (3, 40, 40), (1500,)]),
    kind=st.sampled_from(["normal", "relu", "shifted", "with infinities", "half"]),
    seed=st.integers(0, 99),
)
def test_samples_may_be_cut_in_batches_and_merged_in_any_way(
    cuts: list[int], shape: tuple[int, ...], kind: str, seed: int
) -> None:
    x = torch.randn((12, *shape), generator=generator(seed))
    x = {"relu": x.relu(), "shifted": x + 50, "half": x.half()}.get(kind, x)
    if kind == "with infinities":
        x.view(-1)[seed] = math.inf
        x.view(-1)[-seed - 1] = math.nan
    dim = 1 if len(shape) != 2 or shape[0] == 40 else 2
    whole = measured(x, dim, [], rectified=kind == "relu")
    parts = measured(x, dim, cuts, rectified=kind == "relu")
    for name in ("bins", "nonfinite", "taken_nonfinite", "high", "fired"):
        assert torch.equal(getattr(whole, name), getattr(parts, name)), name
    assert (whole.count, whole.n_samples, whole.n_taken) == (parts.count, parts.n_samples, parts.n_taken)
    assert int(whole.zeros) == int(parts.zeros)
    a, b = whole.stats(), parts.stats()
    assert (a.min, a.max, a.count, a.zeros, a.nan, a.pos_inf) == (b.min, b.max, b.count, b.zeros, b.nan, b.pos_inf)
    scale = float(x.double().nan_to_num(posinf=0).abs().sum())
    assert abs(a.sum - b.sum) <= 1e-12 * scale
    assert a.m2 == pytest.approx(b.m2, rel=1e-12 * max(1.0, scale / max(a.m2, 1e-300)))


def test_the_sample_of_one_output_is_bounded() -> None:
    x = torch.randn(2, 3, 500, 500, generator=generator(5))
    seen = ChannelAccumulator(3, x.device)
    seen.update(x, 1)
    assert seen.n_taken <= 2 * SAMPLE


def test_a_part_of_a_larger_tensor_is_read_as_it_is() -> None:
    x = torch.randn(6, 40, 12, 12, generator=generator(6))
    for part, dim in ((x.chunk(2, 1)[1], 1), (x[:, :, ::2], 1), (x.transpose(1, 2), 2), (x[::2], 1)):
        seen = ChannelAccumulator(part.shape[dim], part.device)
        seen.update(part, dim)
        whole = ChannelAccumulator(part.shape[dim], part.device)
        whole.update(part.contiguous(), dim)
        assert torch.equal(seen.high, whole.high)
        assert torch.equal(seen.bins, whole.bins)
        torch.testing.assert_close(seen.sums, whole.sums)


@pytest.mark.parametrize("places", [40, 200, 1 << 17], ids=["folded", "short", "in blocks"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_largest_values_of_either_sign_are_exact(places: int, dtype: torch.dtype) -> None:
    """Bits of numbers are compared in place of numbers, whose order they have from zero on alone."""
    x = torch.randn(4, 3, places, generator=torch.Generator().manual_seed(0)).to(dtype)
    x[:, 1] = -x[:, 1].abs() - 1e-3
    x[:, 2] = x[:, 2].clamp(max=-0.0)
    values = x.double().numpy()
    signed = ChannelAccumulator(3, torch.device("cpu"))
    signed.update(x, 1)
    assert np.array_equal(signed.high.numpy(), values.max((0, 2)))
    assert np.array_equal(signed.low.numpy(), values.min((0, 2)))
    rectified = ChannelAccumulator(3, torch.device("cpu"), rectified=True)
    rectified.update(x.relu(), 1)
    assert np.array_equal(rectified.high.numpy(), np.maximum(values, 0).max((0, 2)))


def test_one_nan_among_many_values_is_counted_and_put_out() -> None:
    x = torch.rand(4, 2, 1 << 17, generator=torch.Generator().manual_seed(0))
    x[1, 0, 77] = math.nan
    x[2, 1, 5] = -math.inf
    seen = ChannelAccumulator(2, torch.device("cpu"), rectified=True)
    seen.update(x, 1)
    finite = np.where(np.isfinite(x.numpy()), x.numpy(), 0)
    assert seen.nonfinite.tolist() == [1, 0, 1]
    assert np.array_equal(seen.high.numpy().astype(np.float32), finite.max((0, 2)))
