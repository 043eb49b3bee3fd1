"""Running totals of gradients against numpy in float64."""

import math

import pytest
import torch

from reportgen.document.stats import TensorStats
from reportgen.probe.totals import RunningTotals, update_all

from .test_reduce import CASES, check


def totals(x: torch.Tensor, parts: int) -> TensorStats:
    seen = RunningTotals(x.device)
    for part in x.reshape(-1).tensor_split(parts):
        seen.update(part)
    return seen.stats()


@pytest.mark.parametrize("name", [n for n in CASES if n != "double"])
@pytest.mark.parametrize("parts", [1, 3])
def test_small_tensors_are_measured_whole(name: str, parts: int) -> None:
    check(totals(CASES[name], parts), CASES[name], rel=1e-6)


def test_large_tensors_keep_exact_norms_and_extremes() -> None:
    x = torch.randn(300_000, generator=torch.Generator().manual_seed(0)).relu()
    stats = totals(x, 2)
    assert stats.norm == pytest.approx(float(x.double().norm()), rel=1e-6)
    assert (stats.min, stats.max) == (0.0, float(x.max()))
    assert stats.zero_share == pytest.approx(float((x == 0).double().mean()), abs=0.02)


def test_zero_tensors_are_told_apart() -> None:
    seen = RunningTotals(torch.device("cpu"))
    assert bool(seen.update(torch.zeros(5)))
    assert not bool(seen.update(torch.tensor([0.0, 1e-30])))
    assert not bool(seen.update(torch.tensor([float("nan")])))
    assert not bool(seen.update(torch.empty(0)))
    assert seen.stats().count == 8


def test_tensors_of_one_size_are_measured_together_as_each_alone() -> None:
    generator = torch.Generator().manual_seed(1)
    given = [torch.randn(*shape, generator=generator) for shape in ((6, 7), (42,), (2, 21), (5000,), (5000,), (3,))]
    given[1][4] = math.inf
    given[2].zero_()
    given[4][::2] = 0.0
    together, alone = ([RunningTotals(x.device) for x in given] for _ in range(2))
    zeros = [bool(zero) for zero in update_all(list(zip(together, given, strict=True)))]
    assert zeros == [bool(seen.update(x)) for seen, x in zip(alone, given, strict=True)]
    assert zeros == [False, False, True, False, False, False]
    for seen, x, other in zip(together, given, alone, strict=True):
        stats = seen.stats()
        assert stats.histogram == other.stats().histogram
        finite = x[x.isfinite()].double()
        assert (stats.count, stats.pos_inf) == (x.numel(), int((x == math.inf).sum()))
        assert (stats.min, stats.max) == (float(finite.min()), float(finite.max()))
        assert stats.sum == pytest.approx(float(finite.sum()), rel=1e-5, abs=1e-5)
        assert stats.norm == pytest.approx(float(finite.norm()), rel=1e-5)


@pytest.mark.parametrize("name", [n for n in CASES if n != "double"])
def test_the_way_taken_on_other_devices_comes_to_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "is_cpu", property(lambda tensor: False))
    check(totals(CASES[name], 3), CASES[name], rel=1e-6)
