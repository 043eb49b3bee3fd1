"""Running totals of gradients against numpy in float64."""

import pytest
import torch

from reportgen.document.stats import TensorStats
from reportgen.probe.totals import RunningTotals

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
