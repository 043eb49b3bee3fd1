"""What columns and their products tell of a target: interactions that a linear model and neighbours miss."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.page import wording
from reportgen.probe import signal
from reportgen.probe.signal import SignalSample
from reportgen.subject.data import Batch


def sample(x: Tensor, y: Tensor) -> SignalSample:
    out = SignalSample()
    out.update(Batch((x,), {}, y))
    return out


def table(n: int, seed: int, columns: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """Return columns, what two of them make of each other, and noise."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, columns, generator=generator)
    return x, x[:, 0] * x[:, 1], torch.randn(n, generator=generator)


@pytest.mark.parametrize("columns", [4, 8, 16])
def test_an_interaction_is_seen_that_lies_too_thin_for_neighbours(columns: int) -> None:
    (x, product, noise), (vx, v_product, v_noise) = table(512, 0, columns), table(400, 1, columns)
    y, vy = (product + 0.2 * noise > 0).long(), (v_product + 0.2 * v_noise > 0).long()
    told = signal.across(sample(x, y), sample(vx, vy))
    assert told is not None
    assert told.vote is not None
    assert told.surface is not None
    assert told.surface > max(0.7, told.vote)
    numbers = signal.across(sample(x, product + 0.2 * noise), sample(vx, v_product + 0.2 * v_noise))
    assert numbers is not None
    assert numbers.surface is not None
    assert numbers.surface > max(0.85, numbers.score)


@pytest.mark.parametrize("seed", range(4))
def test_targets_without_reason_are_told_by_nothing(seed: int) -> None:
    (x, _, noise), (vx, _, v_noise) = table(512, seed), table(400, 50 + seed)
    told = signal.across(sample(x, (noise > 0).long()), sample(vx, (v_noise > 0).long()))
    assert told is not None
    assert told.surface is not None
    assert abs(told.surface - 0.5) < 4 * (0.25 / 400) ** 0.5
    numbers = signal.across(sample(x, noise), sample(vx, v_noise))
    assert numbers is not None
    assert numbers.surface is not None
    assert -0.3 < numbers.surface < 0.1


def test_it_is_a_ridge_regression_whose_errors_are_those_of_leaving_one_out() -> None:
    (x, product, noise), (vx, v_product, v_noise) = table(60, 3, 3), table(80, 4, 3)
    y, vy = (product + noise).double().numpy(), (v_product + v_noise).double().numpy()
    x, vx = (t.double() for t in ((x - x.mean(0)) / x.std(0), (vx - x.mean(0)) / x.std(0)))

    def spread_out(t: Tensor) -> np.ndarray:
        z = t.clamp(-5, 5).numpy()
        return np.concatenate([z, *[z[:, i : i + 1] * z[:, i:] for i in range(3)]], 1)

    def fit(rows: np.ndarray, targets: np.ndarray, ridge: float, asked: np.ndarray) -> np.ndarray:
        centre, level = rows.mean(0), targets.mean()
        a = rows - centre
        w = np.linalg.solve(a.T @ a + ridge * np.eye(a.shape[1]), a.T @ (targets - level))
        return (asked - centre) @ w + level

    one, other = spread_out(x), spread_out(vx)
    mean = np.linalg.norm(one - one.mean(0)) ** 2 / len(one)
    errors = {}
    for strength in (1e-3, 1e-2, 1e-1, 1.0):
        left = [
            y[i] - fit(np.delete(one, i, 0), np.delete(y, i), strength * mean, one[i : i + 1])[0] for i in range(len(y))
        ]
        errors[strength] = np.mean(np.square(left))
    best = min(errors, key=errors.__getitem__)
    r2 = 1 - np.mean((fit(one, y, best * mean, other) - vy) ** 2) / vy.var()
    told = signal.across(sample(x, torch.tensor(y)), sample(vx, torch.tensor(vy)))
    assert told is not None
    assert told.surface == pytest.approx(r2, abs=0.02)


def test_wide_inputs_and_many_classes_are_left_to_neighbours() -> None:
    x, product, _ = table(200, 0, 30)
    wide = signal.across(sample(x, (product > 0).long()), sample(x, (product > 0).long()))
    assert wide is not None
    assert wide.surface is None
    x = x[:, :4]
    many = signal.across(sample(x, torch.arange(200) % 40), sample(x, torch.arange(200) % 40))
    assert many is not None
    assert many.surface is None


@pytest.mark.slow
@pytest.mark.parametrize(("hidden", "expected"), [(0, "warning"), (32, None)])
def test_a_linear_model_of_an_interaction_underfits(hidden: int, expected: str | None) -> None:
    (x, product, noise), (vx, v_product, v_noise) = table(1500, 0), table(600, 1)
    y, vy = (product + 0.2 * noise > 0).float()[:, None], (v_product + 0.2 * v_noise > 0).float()[:, None]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, hidden), nn.ReLU(), nn.Linear(hidden, 1)) if hidden else nn.Linear(6, 1)
    optimizer, loss = torch.optim.Adam(model.parameters(), lr=1e-2), nn.BCEWithLogitsLoss()
    with reportgen.Monitor(model, optimizer, loss=loss) as monitor:
        for part in torch.arange(1500).repeat(10).split(50):
            optimizer.zero_grad()
            loss(model(x[part]), y[part]).backward()
            optimizer.step()
    given, training = (DataLoader(TensorDataset(*split), 100) for split in ((vx, vy), (x, y)))
    report = monitor.report(given, train_data=training, options=reportgen.Options(trial_budget=0, pictures=0))
    told = next((f for f in report.findings if f.rule == "o-below-neighbours"), None)
    assert (told.severity.value if told is not None else None) == expected
    assert ("underfitting" in {d.cause for d in report.diagnoses if d.severity.rank}) == (expected is not None)
    if told is not None:
        assert "products" in wording.describe(told)
