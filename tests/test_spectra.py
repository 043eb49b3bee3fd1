"""Singular values, their null models and the fits, against numpy's SVD and plain loops."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from reportgen.probe import spectra, weights
from reportgen.probe.spectra import bulk, null_alpha, power_law, singular_values, spectrum

SHAPES = [(64, 576), (576, 64), (300, 1000), (700, 700), (600, 2000), (40, 40), (16, 5000)]


def low_rank(m: int, n: int, rank: int, size: float) -> Tensor:
    return torch.randn(m, rank) @ torch.randn(rank, n) * size


def structured(shape: tuple[int, int]) -> list[Tensor]:
    torch.manual_seed(sum(shape))
    noise = torch.randn(shape) * 0.02
    return [noise, noise + low_rank(*shape, 3, 0.02), noise * torch.logspace(-1, 1, shape[0])[:, None], noise + 0.05]


@pytest.mark.parametrize("shape", SHAPES)
def test_exact_figures_are_those_of_a_plain_svd(shape: tuple[int, int]) -> None:
    for w in structured(shape):
        s = np.linalg.svd(w.double().numpy(), compute_uv=False)
        found = spectrum(w, "exact")
        assert found is not None
        assert found.method == "exact"
        assert found.norm == pytest.approx(s[0], rel=1e-4)
        assert found.stable_rank == pytest.approx((s**2).sum() / s[0] ** 2, rel=1e-4)
        assert found.participation == pytest.approx((s**2).sum() ** 2 / (s**4).sum(), rel=1e-4)
        p = s / s.sum()
        assert found.effective_rank == pytest.approx(math.exp(-(p * np.log(p)).sum()), rel=1e-3)
        assert sum(found.bars) == len(s)


@pytest.mark.parametrize("scale", [2.0**-120, 2.0**100])
@pytest.mark.parametrize("method", ["exact", "fast"])
def test_magnitudes_whose_squares_leave_float32_change_nothing_else(
    method: Literal["exact", "fast"], scale: float
) -> None:
    for w in structured((300, 1000)):
        near, far = spectrum(w, method, 1.0), spectrum(w * scale, method, float((w * scale).abs().max()))
        assert near is not None
        assert far is not None
        assert far.norm == pytest.approx(near.norm * scale, rel=1e-4)
        assert far.stable_rank == pytest.approx(near.stable_rank, rel=1e-4)
        assert far.participation == pytest.approx(near.participation, rel=1e-3)
        assert (far.edge is None) == (near.edge is None)
        if far.edge is not None and near.edge is not None:
            assert far.edge == pytest.approx(near.edge * scale, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("way", ["products", "gram", "rounded gram"])
def test_fast_figures_are_near_and_say_how_near(
    shape: tuple[int, int], dtype: torch.dtype, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spectra, "_multiplies_bfloat16", lambda: way == "rounded gram")
    monkeypatch.setattr(spectra, "_SMALL_GRAM", 0 if way == "products" else 1024)
    for w in structured(shape):
        w = w.to(dtype)
        exact, fast = spectrum(w.double(), "exact"), spectrum(w, "fast")
        assert exact is not None
        assert fast is not None
        assert fast.norm == pytest.approx(exact.norm, rel=2e-2)
        assert fast.stable_rank == pytest.approx(exact.stable_rank, rel=2e-2)
        assert abs(fast.norm - exact.norm) <= max(fast.norm_error, 1e-3) * exact.norm
        off = abs(fast.participation / exact.participation - 1)
        assert off <= max(4 * fast.participation_error, 5e-3)


@pytest.mark.parametrize("turned", [False, True])
def test_a_matrix_that_is_read_in_blocks_gives_the_same(monkeypatch: pytest.MonkeyPatch, turned: bool) -> None:
    w = (structured((400, 900))[1]).bfloat16()
    w = w.T.contiguous().T if turned else w
    monkeypatch.setattr(spectra, "_SMALL_GRAM", 0)
    whole, values = spectrum(w, "fast"), singular_values(w)
    monkeypatch.setattr(spectra, "_BLOCK", 1 << 14)
    monkeypatch.setattr(spectra, "_CACHED", 1 << 13)
    cut = spectrum(w, "fast")
    assert whole is not None
    assert cut is not None
    assert cut.norm == pytest.approx(whole.norm, rel=2e-3)
    assert cut.participation == pytest.approx(whole.participation, rel=3e-2)
    np.testing.assert_allclose(singular_values(w), values, rtol=1e-5)


def test_random_numbers_of_others_are_left_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = spectrum(torch.ones(300, 300).tril(), "fast")
    assert torch.equal(before, torch.get_rng_state())
    assert first == spectrum(torch.ones(300, 300).tril(), "fast")


def test_what_has_no_spectrum_has_none() -> None:
    assert spectrum(torch.randn(64, 64), "off") is None
    assert spectrum(torch.randn(8, 64), "exact") is None
    assert spectrum(torch.zeros(64, 64), "exact") is None
    assert spectrum(torch.zeros(400, 400), "fast") is None
    rank_one = spectrum(torch.ones(400, 500), "fast")
    assert rank_one is not None
    assert rank_one.stable_rank == pytest.approx(1, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(64, 64), (64, 576), (512, 512), (100, 4000), (768, 900)])
def test_noise_stays_inside_its_bulk(shape: tuple[int, int]) -> None:
    """Twenty matrices of normal and of uniform noise: at most one has a value beyond the 99.9 % line."""
    beyond = 0
    for seed in range(20):
        torch.manual_seed(seed)
        w = torch.randn(shape) if seed % 2 else torch.rand(shape) - 0.5
        found = spectrum(w, "exact")
        assert found is not None
        assert found.edge == pytest.approx(found.norm, rel=0.15)
        beyond += bool(found.spikes)
    assert beyond <= 1
    assert found.stable_rank == pytest.approx(found.stable_rank_null, rel=0.15)
    assert found.participation == pytest.approx(found.participation_null, rel=0.05)


def test_what_was_added_to_the_noise_is_counted() -> None:
    torch.manual_seed(0)
    w = torch.randn(200, 600)
    u, _, v = torch.linalg.svd(torch.randn(200, 600), full_matrices=False)
    found = spectrum(w + u[:, :5] @ (torch.tensor([60.0, 55, 70, 65, 80]).diag() @ v[:5]), "exact")
    assert found is not None
    assert found.spikes == 5
    assert found.edge == pytest.approx(math.sqrt(200) + math.sqrt(600), rel=0.03)


def plain_power_law(values: np.ndarray) -> tuple[float, float]:
    """Try every start, as it is published; return alpha and the distance."""
    x = np.sort(values)
    fits = []
    for i in range(len(x) - 1):
        tail = x[i:]
        alpha = 1 + len(tail) / np.log(tail / tail[0]).sum()
        distance = abs(1 - (tail / tail[0]) ** (1 - alpha) - np.arange(len(tail)) / len(tail)).max()
        fits.append((distance, alpha))
    distance, alpha = min(fits)
    return alpha, distance


@pytest.mark.parametrize("seed", range(4))
def test_alpha_is_that_of_the_published_fit(seed: int) -> None:
    torch.manual_seed(seed)
    values = singular_values(structured((150 + 50 * seed, 700))[seed]) ** 2
    found = power_law(values)
    assert found is not None
    alpha, distance = plain_power_law(values)
    assert found.alpha == pytest.approx(alpha, rel=1e-6)
    assert found.distance == pytest.approx(distance, rel=1e-6)


def test_a_true_power_law_is_recovered() -> None:
    rng = np.random.default_rng(0)
    found = power_law((1 - rng.random(4000)) ** (-1 / 1.5))
    assert found is not None
    assert found.alpha == pytest.approx(2.5, abs=4 * found.error)


def test_the_null_of_alpha_is_that_of_noise() -> None:
    for shape in ((256, 256), (300, 1000)):
        drawn = []
        for seed in range(7):
            torch.manual_seed(seed)
            tail = power_law(singular_values(torch.randn(shape)) ** 2)
            assert tail is not None
            drawn.append(tail.alpha)
        null = null_alpha(*shape)
        assert null is not None
        assert min(drawn) * 0.6 < null < max(drawn) * 1.4


def test_the_variance_of_the_bulk_is_that_of_the_noise() -> None:
    torch.manual_seed(0)
    values = singular_values(torch.randn(400, 800) * 0.3)
    edge, spikes = bulk(values, 400, 800)
    assert edge == pytest.approx(0.3 * (math.sqrt(400) + math.sqrt(800)), rel=0.01)
    assert spikes == 0


def test_parts_of_a_stacked_weight_have_their_own_spectra() -> None:
    torch.manual_seed(0)
    parts = [torch.randn(64, 64) * s for s in (1, 2, 3)]
    (row,) = weights.of_tensors({"attn.in_proj_weight": torch.cat(parts)}, spectra="exact").facts.rows
    for matrix, part in zip(row.matrices, parts, strict=True):
        assert matrix.spectrum is not None
        assert matrix.spectrum.norm == pytest.approx(float(torch.linalg.matrix_norm(part, 2)), rel=1e-4)
