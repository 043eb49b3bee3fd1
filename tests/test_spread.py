"""The sketch of a covariance against the covariance itself; drift against the F ratio of a textbook."""

import pytest
import torch
from torch import Tensor

from reportgen.probe.spread import Spread


def seen(vectors: Tensor, batch: int) -> Spread:
    out = Spread(vectors.shape[1], vectors.device)
    for part in vectors.split(batch):
        out.update(part, 1)
    return out


def exact(vectors: Tensor) -> tuple[float, float]:
    """Return the participation ratio and the variance-weighted mean r² of the sample covariance."""
    cov = torch.cov(vectors.T.double(), correction=0)
    squared, trace, own = float((cov * cov).sum()), float(cov.trace()), float(cov.diagonal().square().sum())
    return trace**2 / squared, (squared - own) / (trace**2 - own)


@pytest.mark.slow
@pytest.mark.parametrize("width", [4, 64, 128, 129, 512, 2048])
@pytest.mark.parametrize("rank", [1, 5, 40, 400])
def test_participation_and_correlation_are_within_15_percent(width: int, rank: int) -> None:
    for seed in range(3):
        generator = torch.Generator().manual_seed(1000 * seed + rank)
        mixing = torch.randn(rank, width, generator=generator) * torch.arange(1.0, rank + 1).rsqrt().unsqueeze(1)
        vectors = torch.randn(300, rank, generator=generator) @ mixing + 5.0
        vectors = vectors + 0.02 * torch.randn(300, width, generator=generator)
        facts = seen(vectors.double(), 32).facts()
        assert facts is not None
        ratio, r2 = exact(vectors)
        assert facts.participation == pytest.approx(ratio, rel=0.15)
        assert facts.mean_r2 == pytest.approx(r2, rel=0.15, abs=1e-6)


def test_identical_and_independent_channels() -> None:
    generator = torch.Generator().manual_seed(0)
    one = torch.randn(500, 1, generator=generator, dtype=torch.float64)
    signs = torch.tensor([1.0, -1.0]).repeat(100).double()
    same = seen(one * signs, 50).facts()
    assert same is not None
    assert same.participation == pytest.approx(1.0)
    assert same.mean_r2 == pytest.approx(1.0)  # also of channels that differ in sign alone
    apart = seen(torch.randn(500, 200, generator=generator, dtype=torch.float64), 50).facts()
    assert apart is not None
    assert apart.participation == pytest.approx(apart.participation_null, rel=0.05)
    assert apart.mean_r2_null is not None
    assert apart.mean_r2 == pytest.approx(apart.mean_r2_null, rel=0.15)


def test_parts_merge() -> None:
    vectors = torch.randn(96, 300, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    whole, first, second = seen(vectors, 16), seen(vectors[:48], 16), seen(vectors[48:], 16)
    first.merge(second)
    a, b = whole.facts(), first.facts()
    assert a is not None
    assert b is not None
    assert a.participation == pytest.approx(b.participation, rel=1e-9)
    assert a.drift == pytest.approx(b.drift, rel=1e-9)


def test_drift_is_the_f_ratio_of_batch_means() -> None:
    generator = torch.Generator().manual_seed(2)
    for shift, low, high in ((0.0, 0.7, 1.4), (1.0, 8.0, 40.0)):
        batches = [torch.randn(16, 40, generator=generator).double() + shift * torch.randn(1, 40) for _ in range(20)]
        facts = seen(torch.cat(batches), 16).facts()
        stacked = torch.stack(batches)  # (K, B, C)
        between = 16 * stacked.mean(1).var(0)
        within = stacked.var(1).mean(0)
        assert facts is not None
        assert facts.drift == pytest.approx(float((between / within).median()), rel=1e-6)
        assert low < facts.drift < high


def test_too_little_says_nothing() -> None:
    assert seen(torch.randn(1, 5).double(), 1).facts() is None
    assert seen(torch.ones(9, 5).double(), 3).facts() is None
    assert seen(torch.randn(9, 1).double(), 3).facts() is None
    assert seen(torch.randn(3, 5).double(), 3).facts().drift is None  # type: ignore[union-attr]
