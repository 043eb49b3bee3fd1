"""Training targets, numbers, that are wrong in part; and errors that are larger in training for other reasons."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reportgen.document.facts import DatasetFacts, Report
from reportgen.document.samples import SplitFacts
from reportgen.page import words_anew
from reportgen.probe.trials import anew, misfits
from reportgen.probe.trials import run as trials
from reportgen.probe.trials.lab import Clock, Lab, NotApplicableError, Result
from reportgen.subject.data import Batch

from .test_rules_model import GOOD, causes, report, run, severity, tried

pytestmark = pytest.mark.slow  # models are trained, pages are drawn

Split = tuple[Tensor, Tensor]


def curved(n: int, seed: int, noise: float = 0.3) -> Split:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, generator=g)
    y = (2 * x[:, 0]).sin() + x[:, 1] + 0.5 * x[:, 2] * x[:, 3]
    return x, y / 1.5 + noise * torch.randn(n, generator=g)


def swapped(data: Split, share: float) -> Split:
    """Deal the targets of a share of the rows out among them."""
    x, y = data[0], data[1].clone()
    g = torch.Generator().manual_seed(7)
    rows = torch.randperm(len(y), generator=g)[: int(share * len(y))]
    y[rows] = y[rows[torch.randperm(len(rows), generator=g)]]
    return x, y


def harder(data: Split, where: Tensor, by: float) -> Split:
    x, y = data
    return x, y + by * where * torch.randn(len(y), generator=torch.Generator().manual_seed(11))


def learned(data: Split, steps: int = 700) -> nn.Module:
    torch.manual_seed(0)
    x, y = data
    model = nn.Sequential(nn.Linear(6, 48), nn.SiLU(), nn.Linear(48, 48), nn.SiLU(), nn.Linear(48, 1))
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(steps):
        rows = torch.randint(len(x), (64,))
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x[rows])[:, 0], y[rows]).backward()
        optimizer.step()
    return model


def by_heart(data: Split) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 1))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(250):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(data[0])[:, 0], data[1]).backward()
        optimizer.step()
    return model


def lab(model: nn.Module, training: Split, given: Split) -> Lab:
    ours, theirs = ([Batch((x,), {}, y[:, None])] for x, y in (training, given))
    return trials.laboratory(model, nn.MSELoss(), (), theirs, ours, Clock(600.0), 0, (theirs, ours))


def judged(result: Result, trial: str = "misfits", **more: Any) -> Report:
    told = tried(trial, {"kind": "numbers"}, **result.numbers)
    data = DatasetFacts(n_samples=2000, n_batches=4, shape="N x 6", dtype="float32")
    return report(GOOD, trials=told, training=run(), train_dataset=data, dataset=data, **more)


def asked(training: Split, given: Split) -> Report:
    return judged(misfits.misfits(lab(learned(training), training, given)))


@pytest.mark.parametrize("share", [0.15, 0.3])
def test_targets_of_other_rows_are_told(share: float) -> None:
    training, given = swapped(curved(2400, 1), share), curved(900, 2)
    result = misfits.misfits(lab(learned(training), training, given))
    assert words_anew.OUTCOMES["misfits"](result.numbers, result.detail).endswith(".")
    facts = judged(result)
    assert severity(facts, "training-targets-off") == "warning"
    assert causes(facts) == {"label-noise"}
    augmented = judged(result, splits=SplitFacts(redrawn=1.0))
    assert severity(augmented, "training-targets-off") is None


def test_slips_of_the_point_are_told() -> None:
    x, y = curved(2400, 1)
    slipped = torch.rand(len(y), generator=torch.Generator().manual_seed(3)) < 0.06
    assert severity(asked((x, torch.where(slipped, 4 * y, y)), curved(900, 2)), "training-targets-off") == "warning"


def heavy(data: Split, seed: int) -> Split:
    torch.manual_seed(seed)
    return data[0], data[1] + 0.3 * torch.distributions.StudentT(2.5).sample(data[1].shape)


HARD = {
    "alike": (curved(2400, 1), curved(900, 2)),
    "wrong in both": (swapped(curved(2400, 1), 0.2), swapped(curved(900, 2), 0.2)),
    "heavy tails": (heavy(curved(2400, 1), 1), heavy(curved(900, 2), 2)),
    "noisier throughout": (curved(2400, 1, 0.6), curved(900, 2, 0.3)),
    "few wrong": (swapped(curved(2400, 1), 0.02), curved(900, 2)),
}


@pytest.mark.parametrize("name", HARD)
def test_errors_of_one_kind_in_both_splits_are_no_wrong_targets(name: str) -> None:
    assert severity(asked(*HARD[name]), "training-targets-off") is None


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_a_time_that_inputs_tell_of_is_no_wrong_target(share: float) -> None:
    """A part of the training data has a wider noise, and a column further out."""
    (x, y), given = curved(2400, 1), curved(900, 2)
    crisis = torch.rand(len(y), generator=torch.Generator().manual_seed(5)) < share
    wide = x.clone()
    wide[crisis, 4:] *= 3.0
    assert severity(asked(harder((wide, y), crisis, 1.5), given), "training-targets-off") is None
    shown = x.clone()
    shown[crisis, 5] += 3.0
    assert severity(asked(harder((shown, y), crisis, 1.5), given), "training-targets-off") is None


def test_what_is_hard_and_was_drawn_oftener_is_no_wrong_target() -> None:
    (x, y), (x_val, y_val) = curved(2400, 1), curved(1200, 2)
    training, given = harder((x, y), x[:, 0] > 0.8, 1.2), harder((x_val, y_val), x_val[:, 0] > 0.8, 1.2)
    kept = (given[0][:, 0] <= 0.8) | (torch.arange(1200) % 8 == 0)
    assert severity(asked(training, (given[0][kept], given[1][kept])), "training-targets-off") is None


def test_wrong_targets_learned_by_heart_are_told_by_a_copy_that_has_not_seen_them() -> None:
    training, given = swapped(curved(1000, 1, 0.1), 0.2), curved(800, 2, 0.1)
    result = anew.unseen_half(lab(by_heart(training), training, given))
    assert result.numbers["by_heart"] > result.numbers["as_is"] + 0.15
    assert words_anew.OUTCOMES["unseen-half"](result.numbers, result.detail).endswith(".")
    assert severity(judged(result, "unseen-half"), "training-targets-off") == "warning"
    assert severity(judged(result, "unseen-half"), "training-labels-noisier") is None


def test_learned_by_heart_without_a_wrong_target() -> None:
    training, given = curved(1000, 1, 0.8), curved(800, 2, 0.8)
    result = anew.unseen_half(lab(by_heart(training), training, given))
    assert result.numbers["by_heart"] > result.numbers["as_is"] + 0.15
    assert severity(judged(result, "unseen-half"), "training-targets-off") is None


def test_what_is_no_number_a_sample_is_not_asked() -> None:
    x, y = curved(600, 1)
    model = learned((x, y), 50)
    for target in (y[:, None].repeat(1, 2), (y > 0).float()[:, None]):
        batch = [Batch((x,), {}, target)]
        with pytest.raises(NotApplicableError, match="no numbers, one a sample"):
            misfits.misfits(trials.laboratory(model, nn.MSELoss(), (), batch, batch, Clock(600.0), 0, (batch, batch)))
    with pytest.raises(NotApplicableError, match="too little"):
        misfits.misfits(lab(nn.Linear(6, 1), (x, y), curved(400, 2)))
