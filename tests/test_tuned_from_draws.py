"""A body that is spared as if it were learned before, and was drawn: sick runs, and healthy ones of two rates."""

from __future__ import annotations

import math

import pytest
import torch
from msgspec.structs import replace
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from reportgen.document.facts import Finding, Report
from reportgen.document.history import LoopFacts, OptimizerRun, ParameterRun
from reportgen.health.judge import judge
from reportgen.page import wording

from .loops import causes, watched
from .test_rules_model import FALL, report, run, series, severity, tried
from .test_rules_model import causes as told


def matrix(name: str, group: int, scale: float = 1 / math.sqrt(3), mean: float = 0.0) -> ParameterRun:
    return ParameterRun(
        name=f"{name}.weight",
        module="Linear",
        shape=[40, 40],
        is_matrix=True,
        trainable=True,
        optimizer=0,
        group=group,
        start_mean=mean,
        start_rms=scale / math.sqrt(40),
    )


def tuned(
    *matrices: ParameterRun, rates: tuple[float, float] = (1e-4, 1e-2), faster: float = 0.3, after: float = 0.95
) -> Report:
    curves = [series(f"learning_rate/{i}", [rate] * 20) for i, rate in enumerate(rates)]
    history = run(FALL, FALL, series=curves, parameters=[*matrices, matrix("head", 1)])
    history = replace(history, loop=LoopFacts(optimizers=[OptimizerRun(name="Adam", n_steps=400)]))
    ways = {"before": 1.0, "same": 0.95, "faster": faster, "slower": 1.0, "steps": 120.0, "rate": 1e-2}
    trials = tried("other-ways", **ways | {"decay": 0.0, "drop": 0.0, "samples": 200.0})
    more = tried("trained-on", steps=120.0, before=1.0, after=after, samples=200.0, rate=1e-2).trials
    return report(None, trials=replace(trials, trials=[*trials.trials, *more]), training=history)


DRAWN = (matrix("a", 0), matrix("b", 0))


def test_a_drawn_body_at_a_small_rate_was_to_be_loaded() -> None:
    for facts in (tuned(*DRAWN), tuned(*DRAWN, faster=2.0, after=0.5)):
        assert severity(facts, "tuned-from-draws") == "warning"
        assert told(facts) == {"checkpoint-not-loaded"}
    (found,) = [f for d in _judged(tuned(*DRAWN)) for f in d if f.rule == "tuned-from-draws"]
    assert "from a on, train at 0.000100 beside others at 0.0100" in wording.describe(found)


def _judged(facts: Report) -> list[list[Finding]]:

    return [d.findings for d in judge(facts).diagnoses]


@pytest.mark.parametrize("deviation", [0.02, math.sqrt(2 / 40), math.sqrt(1 / 40)])  # Glorot is LeCun where square
def test_normal_distributions_in_use_are_known(deviation: float) -> None:
    scale = deviation * math.sqrt(40)
    assert severity(tuned(matrix("a", 0, scale=scale), matrix("b", 0, scale=scale)), "tuned-from-draws") == "warning"
    assert severity(tuned(matrix("a", 0, scale=scale), matrix("b", 0, scale=1.3 * scale)), "tuned-from-draws") is None
    assert severity(tuned(matrix("a", 0, scale=scale), *DRAWN), "tuned-from-draws") is None  # of two schemes


@pytest.mark.parametrize(
    "facts",
    [
        tuned(matrix("a", 0, scale=0.9), matrix("b", 0)),  # one that steps have shaped
        tuned(matrix("a", 0, mean=0.02), matrix("b", 0)),
        tuned(*DRAWN, rates=(4e-3, 1e-2)),  # hardly another rate
        tuned(*DRAWN, faster=-2.0),  # a loss that has no zero
        tuned(*DRAWN, faster=0.8),  # it learned what there was, at rates that suit its widths
        tuned(matrix("a", 0), matrix("b", 1), matrix("c", 1), matrix("d", 1)),  # a small part of the model
        tuned(matrix("a", 1), matrix("b", 1)),
    ],
)
def test_other_groups_of_rates_are_chosen(facts: Report) -> None:
    assert severity(facts, "tuned-from-draws") is None


def body() -> nn.Sequential:
    return nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())


@pytest.mark.slow
@pytest.mark.parametrize("loaded", [False, True])
def test_a_file_whose_keys_are_all_left_out_loads_nothing(loaded: bool) -> None:
    torch.manual_seed(0)
    centres = torch.randn(8, 10)

    def data(n: int, seed: int) -> TensorDataset:
        g = torch.Generator().manual_seed(seed)
        y = torch.randint(8, (n,), generator=g)
        return TensorDataset(centres[y] + 0.8 * torch.randn(n, 10, generator=g), y % 4)

    learned, head = body(), nn.Linear(32, 4)
    optimizer = torch.optim.Adam([*learned.parameters(), *head.parameters()], 3e-3)
    for _ in range(30):
        for x, y in DataLoader(data(800, 5), 40, shuffle=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(head(learned(x)), y).backward()
            optimizer.step()
    state = {f"{'' if loaded else 'module.'}{key}": value for key, value in learned.state_dict().items()}
    model = nn.Sequential(body(), nn.Linear(32, 4))
    own = model[0].state_dict()
    model[0].load_state_dict({key: state.get(key, value) for key, value in own.items()})
    groups = [{"params": model[0].parameters(), "lr": 2e-5}, {"params": model[1].parameters(), "lr": 2e-3}]
    train, val = DataLoader(data(300, 1), 30, shuffle=True), DataLoader(data(300, 2), 50)
    found = watched(model, torch.optim.Adam(groups), nn.CrossEntropyLoss(), train, val, 10)
    assert causes(found) == (set() if loaded else {"checkpoint-not-loaded"})
