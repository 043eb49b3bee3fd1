"""The noise scale of gradients: against the truth of a linear model, and where nothing is resolved."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from reportgen.document.history import LoopFacts
from reportgen.probe.trials.lab import Clock
from reportgen.probe.trials.noise import _scale, gradient_noise
from reportgen.probe.trials.run import laboratory
from reportgen.subject.data import Batch

from .test_rules_model import causes, report, run, severity, tried


def test_the_scale_is_that_of_known_gradients() -> None:
    """Gradients of single samples are G + noise, with tr S / |G|² = d s² / |G|² known."""
    generator = torch.Generator().manual_seed(0)
    size, dimension, spread = 8, 200, 2.0
    direction = torch.full((dimension,), 0.5, dtype=torch.float64)
    truth = dimension * spread**2 / float(direction @ direction)
    inside = 0
    for _ in range(20):
        noise = spread * torch.randn(32, size, dimension, generator=generator, dtype=torch.float64)
        numbers = _scale(direction + noise.mean(1), size)
        inside += numbers["low"] < truth < numbers["high"]
        assert numbers["scale"] == pytest.approx(truth, rel=0.35)
    assert inside >= 16


def test_pure_noise_has_no_upper_bound() -> None:
    generator = torch.Generator().manual_seed(1)
    unresolved = sum("high" not in _scale(torch.randn(32, 500, generator=generator).double(), 4) for _ in range(20))
    assert unresolved >= 17


def test_gradients_of_a_model_agree_with_those_of_all_samples() -> None:
    """For a linear regression, per-sample gradients are (x·w - y)·2x, so the scale follows by hand."""
    torch.manual_seed(0)
    x = torch.randn(256, 6)
    y = (x @ torch.randn(6) + 0.5 * torch.randn(256))[:, None]
    model = nn.Linear(6, 1, bias=False)
    batches = [Batch((x[i : i + 64],), {}, y[i : i + 64]) for i in range(0, 256, 64)]
    lab = laboratory(model, nn.MSELoss(), (), batches, [], Clock(20.0), 0)
    numbers = gradient_noise(lab).numbers
    each = 2 * (model(x) - y).detach() * x
    spread, mean = each.var(0).sum(), each.mean(0)
    truth = float(spread / (mean.square().sum() - spread / len(x)))
    assert numbers["scale"] == pytest.approx(truth, rel=0.3)
    assert (numbers["batches"], numbers["batch"]) == (32, 8)


@pytest.mark.parametrize(
    ("size", "low", "high", "expected"),
    [(8, 200.0, 400.0, "small"), (8192, 200.0, 400.0, "large"), (64, 200.0, 400.0, None), (8, 20.0, 400.0, None)],
)
def test_a_batch_far_from_the_scale(size: int, low: float, high: float, expected: str | None) -> None:
    numbers = {"scale": 300.0, "low": low, "high": high, "batches": 32.0, "batch": 8.0}
    facts = report(trials=tried("gradient-noise", **numbers), training=run(batch_size=size))
    assert severity(facts, "grad-noise-scale") == ("info" if expected else None)
    assert causes(facts) == set()


def test_accumulated_passes_count_as_one_batch() -> None:
    numbers = {"scale": 300.0, "low": 200.0, "high": 400.0, "batches": 32.0, "batch": 8.0}
    history = run(batch_size=8)
    assert history.loop is not None
    loop = LoopFacts(optimizers=history.loop.optimizers, backwards_per_step=8.0)
    facts = report(
        trials=tried("gradient-noise", **numbers),
        training=type(history)(series=history.series, epochs=20, steps=400, batch_size=8, loop=loop),
    )
    assert severity(facts, "grad-noise-scale") is None
