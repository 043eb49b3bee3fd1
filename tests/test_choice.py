"""Layers by patterns and probabilities, in a run; sections and layers of a report."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.errors import OptionError
from reportgen.options import SECTIONS
from reportgen.page.build import IDS, build
from reportgen.training.choice import PARTS, Choice, choice_of


def test_the_first_pattern_that_fits_counts() -> None:
    choice = choice_of({"layer1.0": 0.5, "layer1.*": 1.0})
    assert [choice.share(name, "outputs") for name in ("layer1.0", "layer1.1.conv", "fc")] == [0.5, 1.0, 0.0]
    assert choice_of("fc*") == Choice((("fc*", (1.0, 1.0, 1.0)),))
    assert choice_of(["a", "b"]).share("b", "weights") == 1
    assert choice_of(None).share("anything", "gradients") == 1


def test_parts_of_a_layer_have_shares_of_their_own() -> None:
    choice = choice_of({"a": {"outputs": 0.5, "weights": 0.1}, "*": 0.2})
    assert [choice.share("a", part) for part in PARTS] == [0.5, 0.1, 0.0]
    assert [choice.share("b", part) for part in PARTS] == [0.2, 0.2, 0.2]
    looks = {part: {step for step in range(4000) if choice.at("a", step, part)} for part in PARTS}
    assert len(looks["weights"]) / 4000 == pytest.approx(0.1, abs=0.02)
    assert looks["weights"] < looks["outputs"]  # so that what both need is paid for once
    assert not looks["gradients"]


def test_a_share_is_met_by_each_layer_on_its_own_and_in_every_run() -> None:
    choice = choice_of({"*": 0.25})
    looks = [[choice.at(name, step, "outputs") for step in range(4000)] for name in ("a", "b")]
    for look in looks:
        assert sum(look) / 4000 == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / 4000) ** 0.5)
    both = sum(a and b for a, b in zip(*looks, strict=True)) / 4000
    assert both == pytest.approx(0.0625, abs=0.02)
    assert looks[0] == [choice.at("a", step, "outputs") for step in range(4000)]


@pytest.mark.parametrize(
    "layers",
    [7, [], {}, {"a": 2.0}, {"a": "often"}, [1], {"a": {}}, {"a": {"bias": 1.0}}, {"a": {"weights": -0.1}}, {1: 0.5}],
)
def test_what_is_no_pattern_is_refused(layers: Any) -> None:
    with pytest.raises(OptionError, match="layers"):
        reportgen.Monitor(nn.Linear(2, 2), layers=layers)


def run(layers: Any) -> Counter[str]:
    """Count by layer how often a run of sixty steps looked at it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    with reportgen.Monitor(model, optimizer, layers=layers, progress=False) as monitor:
        for _ in range(60):
            loss = model(torch.randn(16, 4)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    history = monitor.history()
    return Counter({layer.name: layer.train_calls + layer.eval_calls for layer in history.layers})


def test_a_run_looks_at_the_layers_named_in_their_share_of_the_looks() -> None:
    every = run(None)
    assert set(every) == {"0", "1", "2", "3", "4"}
    assert set(run(["2", "3"])) == {"2", "3"}
    some = run({"0": 1.0, "4": 0.5})
    assert set(some) <= {"0", "4"}
    assert some["0"] == every["0"]
    assert some["4"] < every["4"]


def test_histograms_of_weights_and_gradients_are_of_the_layers_named_and_norms_of_all() -> None:
    def watched(layers: Any) -> Any:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        with reportgen.Monitor(model, optimizer, layers=layers, progress=False) as monitor:
            for _ in range(60):
                optimizer.zero_grad()
                model(torch.randn(16, 4)).square().mean().backward()
                optimizer.step()
        return monitor.history()

    every, some, rare = watched(None), watched(["2", "4"]), watched({"*": 0.3})
    weights = watched({"0": {"weights": 1.0}, "1": {"outputs": 1.0}})
    assert {(bars.name, bars.part) for bars in weights.histograms} == {("0.weight", "weight"), ("1", "activation")}
    assert [layer.name for layer in weights.layers] == ["1"]
    drawn = [{(bars.name, bars.part) for bars in history.histograms} for history in (every, some)]
    assert {name for name, part in drawn[0] if part == "gradient"} == {"0.weight", "2.weight", "4.weight"}
    assert drawn[1] == {pair for pair in drawn[0] if pair[0] in ("2", "2.weight", "4", "4.weight")}
    assert 0 < len(rare.histograms) < len(every.histograms)
    assert [p.name for p in some.parameters] == [p.name for p in every.parameters]
    assert all(p.changed and p.n_looked == q.n_looked for p, q in zip(some.parameters, every.parameters, strict=True))


def test_the_sections_that_are_named_are_shown_and_everything_is_judged() -> None:
    assert SECTIONS == IDS
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)), torch.rand(24, 1, 8, 8)
    x[3] = float("nan")
    data = DataLoader(TensorDataset(x, torch.arange(24) % 3), 8)
    usual = reportgen.examine(model, data, options=reportgen.Options(trial_budget=0))
    options = reportgen.Options(trial_budget=0, sections=["weights", "dataset"])
    report = reportgen.examine(model, data, options=options)
    assert [s.id for s in build(report).sections] == ["diagnoses", "weights", "dataset", "coverage"]
    assert "pictures" in [s.id for s in build(usual).sections]
    assert report.diagnoses == usual.diagnoses
    assert report.pictures is None
    with pytest.raises(OptionError, match="sections"):
        reportgen.Options(sections=["waights"])


def test_one_pattern_of_layers_needs_no_list() -> None:
    assert reportgen.Options(layers="layer1.*").patterns == ["layer1.*"]
    assert reportgen.Options(layers=["a", "b"]).patterns == ["a", "b"]
    with pytest.raises(OptionError, match="layers"):
        reportgen.Options(layers=[3])  # type: ignore[list-item]
