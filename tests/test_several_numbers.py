"""Boxes and texts whose targets belong to other samples, and healthy ones that look like it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.document.facts import DatasetFacts, Report
from reportgen.document.samples import Signal, SplitFacts
from reportgen.probe.sureness import WordSample
from reportgen.probe.trials.scores import score
from reportgen.probe.vectors import VectorSample
from reportgen.subject.data import Batch

from .test_learned_anew import NOWHERE, SCORES
from .test_maps import noise, of_others
from .test_noisy_labels import Bag, texts
from .test_rules_model import BAD, FLAT, report, run, severity, tried

pytestmark = pytest.mark.slow  # models are trained, pages are drawn

_SIDE = 16
SLOWLY = reportgen.Options(trial_budget=120.0)  # whatever else the machine does


def boxes(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Pictures of a bright rectangle under noise, with its middle and half its sides."""
    g = torch.Generator().manual_seed(seed)
    at, size = torch.rand(n, 2, generator=g) * (_SIDE - 6) + 3, torch.rand(n, 2, generator=g) * 3 + 1.5
    rows, columns = torch.meshgrid(torch.arange(_SIDE), torch.arange(_SIDE), indexing="ij")
    inside = (rows - at[:, 0, None, None]).abs() < size[:, 0, None, None]
    inside &= (columns - at[:, 1, None, None]).abs() < size[:, 1, None, None]
    x = inside.float()[:, None] + 0.3 * torch.randn(n, 1, _SIDE, _SIDE, generator=g)
    return x, torch.cat([at, size], 1) / _SIDE


def told(sample: Any, x: Tensor, target: Tensor) -> Signal | None:
    for a, b in zip(x.split(30), target.split(30), strict=True):
        sample.update(Batch((a,), {}, b))
    found: Signal | None = sample.facts() if isinstance(sample, VectorSample) else sample.signal()
    return found


def test_neighbours_tell_boxes_and_points_and_poses_but_not_those_of_others() -> None:
    x, box = boxes(400, 1)
    points = (box[:, :2, None] + torch.tensor([0.0, 0.1])).transpose(1, 2)
    pose = noise(400, 6) @ noise(6, 3, seed=2) + 0.3 * noise(400, 3, seed=3)
    for inputs, target in ((x, box), (x, points), (noise(400, 6), pose)):
        right, wrong = told(VectorSample(), inputs, target), told(VectorSample(), inputs, of_others(target))
        assert right is not None
        assert right.z > 8
        assert wrong is not None
        assert abs(wrong.z) < 3


def test_words_places_and_pairs_tell_labels_but_not_those_of_others() -> None:
    x, y = texts(400, 1)
    order = torch.randint(0, 20, (400, 10), generator=torch.Generator().manual_seed(2))
    pairs = [(x, y), (order, (order[:, 3] > 9).long())]
    # one of two words directly before the other
    beside = order.clone()
    first = torch.randint(0, 9, (400,), generator=torch.Generator().manual_seed(3))
    label = torch.randint(0, 2, (400,), generator=torch.Generator().manual_seed(4))
    beside[torch.arange(400), first], beside[torch.arange(400), first + 1] = 20 + label, 21 - label
    pairs.append((beside, label))
    for inputs, target in pairs:
        right, wrong = told(WordSample(), inputs, target), told(WordSample(), inputs, of_others(target))
        assert right is not None
        assert right.z > 8
        assert wrong is not None
        assert abs(wrong.z) < 3


def test_other_tasks_are_left_alone() -> None:
    shares = torch.zeros(100, 3)
    shares[:, 0] = 1.0
    for x, target in (
        (noise(100, 6), noise(100)),
        (noise(100, 6), shares),
        (noise(100, 6), noise(100, 6)),
        (noise(30, 6), noise(30, 2)),
        (noise(100, 6).long(), noise(100, 2)),
    ):
        assert told(VectorSample(), x, target) is None


def test_means_of_columns_are_no_skill() -> None:
    """Of columns that lie apart, the mean of each is as constant as one number for all."""
    target = torch.tensor([0.0, 100.0]) + noise(200, 2)
    means = nn.Linear(3, 2)
    with torch.no_grad():
        means.weight.zero_()
        means.bias.copy_(target.mean(0))
    assert abs(score(means, Batch((noise(200, 3),), {}, target))[0]) < 1e-6


def facts(signal: Signal, **more: Any) -> Report:
    anew = tried("learned-anew", {"kind": "classes"}, **SCORES | NOWHERE)
    trials = replace(anew, trials=[*anew.trials, *more.pop("beside", [])])
    data = DatasetFacts(n_samples=400, n_batches=4, shape="N x 8", dtype="int64", signal=signal)
    splits = SplitFacts(training_signal=signal, given_signal=signal)
    return report(BAD, trials=trials, training=run(FLAT), splits=splits, train_dataset=data)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"attention": 1.0, "change": 0.0}, "info"),
        ({"attention": 0.0, "change": 0.3, "recurrent": 1.0}, "info"),
        ({"attention": 1.0, "change": 0.3}, "warning"),
        ({"attention": 0.0, "change": 0.0}, "warning"),
    ],
)
def test_words_that_lie_too_far_apart_for_the_model_are_no_matter_of_labels(
    told: dict[str, float], expected: str
) -> None:
    signal = Signal(kind="classes", n=400, k=0, score=0.25, null_mean=0.25, null_std=0.02)
    numbers = {"asked": 200.0, "ordered": 0.2, "mixed": 0.2} | told
    beside = tried("tokens-reordered", {}, **numbers).trials
    assert severity(facts(signal, beside=beside), "d-label-signal") == expected


class Finder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(), nn.Flatten()
        )
        self.head = nn.Sequential(nn.Linear(256, 48), nn.ReLU(), nn.Linear(48, 4))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.body(x))
        return found


@pytest.mark.parametrize(("wrong", "rate"), [(True, 3e-3), (False, 3e-3), (False, 1e-7)])
def test_boxes_of_other_pictures_are_told_and_right_ones_that_were_not_learned_are_not(
    wrong: bool, rate: float
) -> None:
    x, box = boxes(600, 1)
    assert_told(Finder, nn.SmoothL1Loss(), x, of_others(box) if wrong else box, rate, expected=wrong)


@pytest.mark.parametrize("wrong", [True, False])
def test_labels_of_other_texts_are_told(wrong: bool) -> None:
    x, y = texts(600, 1)
    assert_told(Bag, nn.CrossEntropyLoss(), x, of_others(y) if wrong else y, 3e-3, expected=wrong)


def assert_told(build: type[nn.Module], loss: nn.Module, x: Tensor, y: Tensor, rate: float, *, expected: bool) -> None:
    torch.manual_seed(0)
    model = build()
    optimizer = torch.optim.Adam(model.parameters(), rate)
    loaders = (
        DataLoader(TensorDataset(x[:400], y[:400]), 25, shuffle=True),
        DataLoader(TensorDataset(x[400:], y[400:]), 50),
    )
    history = reportgen.fit(model, *loaders, loss=loss, optimizer=optimizer, epochs=6)
    found = reportgen.examine(
        model, loaders[1], train_data=loaders[0], loss=loss, optimizer=optimizer, history=history, options=SLOWLY
    )
    causes = {d.cause for d in found.diagnoses if d.severity != "info"}
    assert ("label-corruption" in causes) == expected
    assert "missing-position-info" not in causes
