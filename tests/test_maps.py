"""Targets with a value at every place that belong to other samples, and healthy ones that look like it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.document.facts import DatasetFacts, Report
from reportgen.document.samples import Mapped, SplitFacts
from reportgen.probe.mapped import MapSample
from reportgen.probe.trials.scores import score
from reportgen.subject.data import Batch

from .test_learned_anew import SCORES
from .test_rules_model import BAD, FLAT, GOOD, causes, report, run, severity, tried

pytestmark = pytest.mark.slow  # models are trained, pages are drawn

_SIDE = 16
SLOWLY = reportgen.Options(trial_budget=120.0)  # whatever else the machine does


def discs(n: int, seed: int, *, side: int = _SIDE) -> tuple[Tensor, Tensor]:
    """Pictures of one bright disc under noise, and its mask."""
    g = torch.Generator().manual_seed(seed)
    at = torch.rand(n, 2, generator=g) * (side - 6) + 3
    size = torch.rand(n, generator=g) * side / 6 + side / 8
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    away = ((rows - at[:, 0, None, None]) ** 2 + (columns - at[:, 1, None, None]) ** 2).sqrt()
    mask = (away < size[:, None, None]).float()[:, None]
    return mask + 0.4 * torch.randn(n, 1, side, side, generator=g), mask


def of_others(target: Tensor) -> Tensor:
    return target[torch.randperm(len(target), generator=torch.Generator().manual_seed(9))]


def asked(x: Tensor, target: Tensor) -> Mapped:
    sample = MapSample()
    for a, b in zip(x.split(25), target.split(25), strict=True):
        sample.update(Batch((a,), {}, b))
    found = sample.facts()
    assert found is not None
    return found


def noise(*shape: int, seed: int = 5) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pairs() -> dict[str, tuple[Tensor, Tensor]]:
    x, mask = discs(250, 1)
    _, wide = discs(250, 2, side=32)
    depth = 4 * functional.avg_pool2d(noise(250, 1, 40, 40), 9, 1)
    heat = functional.avg_pool2d(wide, 5, 1, 2)
    wave = 3 * functional.avg_pool1d(noise(250, 1, 72), 9, 1)
    signs = noise(250, 1, 1, 1, seed=3).sign()
    return {
        "yes or no": (x, mask),
        "classes": (x, mask[:, 0].long()),
        "bytes": ((60 * x + 100).clamp(0, 255).to(torch.uint8), mask),
        "roughness alone": (noise(250, 1, 32, 32) * (0.5 + 0.7 * wide), wide),
        "bright or dark": (wide * signs + 0.5 * noise(250, 1, 32, 32), wide),
        "depth": (depth.tanh().repeat(1, 3, 1, 1) + 0.3 * noise(250, 3, 32, 32, seed=6), depth),
        "a quarter of the size": (wide + 0.4 * noise(250, 1, 32, 32), functional.avg_pool2d(heat, 4)),
        "without noise": (depth + 0.5 * noise(250, 1, 32, 32, seed=7), depth),
        "series": (wave + 0.5 * noise(250, 1, 64, seed=8), (wave > 0).long()[:, 0]),
    }


@pytest.mark.parametrize("name", pairs())
def test_maps_fit_their_own_inputs_and_those_of_others_do_not(name: str) -> None:
    x, target = pairs()[name]
    right, wrong = asked(x, target), asked(x, of_others(target))
    assert right.own > 0.85
    assert right.z > 8
    assert abs(wrong.z) < 3


def test_pairs_that_are_right_by_chance_do_not_hide_the_wrong_ones() -> None:
    x, mask = discs(200, 1)
    order = torch.tensor([int(name) for name in sorted(map(str, range(200)))])
    assert 0 < int((order == torch.arange(200)).sum()) < 10
    assert abs(asked(x, mask[order]).z) < 3


def test_of_maps_that_the_place_tells_nothing_is_left_but_that() -> None:
    rows = torch.arange(32.0)[:, None].expand(32, 32) / 16 - 1
    drawn = ((rows + 0.3 * functional.avg_pool2d(noise(250, 1, 36, 36), 5, 1)) > 0).float()
    found = asked(noise(250, 1, 32, 32, seed=4) + rows, drawn)
    assert abs(found.z) < 3
    assert found.placed > 0.5


def test_what_is_no_map_is_left_alone() -> None:
    for x, target in (
        (noise(100, 6), noise(100)),
        (noise(100, 1, 16, 16), noise(100, 4)),
        (noise(100, 1, 16, 16), noise(100, 1, 16, 8)),
        (noise(20, 1, 16, 16), noise(20, 1, 16, 16)),
        (noise(100, 1, 16, 16), torch.ones(100, 16, 16)),
    ):
        sample = MapSample()
        sample.update(Batch((x,), {}, target))
        assert sample.facts() is None


def rolled(target: Tensor, most: int) -> Tensor:
    """Maps moved by up to so many places, each in its own direction."""
    g = torch.Generator().manual_seed(3)
    steps = torch.randint(-most, most + 1, (len(target), 2), generator=g)
    return torch.stack([one.roll(step.tolist(), (1, 2)) for one, step in zip(target, steps, strict=True)])


@pytest.mark.parametrize("name", ["yes or no", "bytes", "roughness alone", "bright or dark", "depth", "without noise"])
def test_maps_that_lie_beside_what_they_show_fit_best_elsewhere(name: str) -> None:
    x, target = pairs()[name]
    right, wrong = asked(x, target), asked(x, rolled(target, 4 if target.shape[-1] < 40 else 8))
    assert right.moved is not None
    assert wrong.moved is not None
    assert wrong.moved - right.moved > 0.5
    assert wrong.beside is not None
    assert wrong.beside < 0.7
    assert right.beside is not None
    assert right.beside > 0.9


@pytest.mark.parametrize("name", ["yes or no", "roughness alone", "bright or dark", "depth", "series"])
def test_noise_over_training_inputs_alone_does_not_move_maps(name: str) -> None:
    x, target = pairs()[name]
    loud = x.float() + 2 * x.float().std() * noise(*x.shape, seed=12)
    ours, theirs = (
        DatasetFacts(n_samples=250, n_batches=10, shape="N x 1", dtype="float32", mapped=asked(part, target))
        for part in (loud, x)
    )
    assert severity(facts(ours, theirs, table=GOOD, redrawn=1.0), "d-maps-moved") is None


def at(moved: float, beside: float, best: float = 0.8, own: float = 0.98) -> DatasetFacts:
    mapped = Mapped(n=200, own=own, error=0.02, spread=0.01, placed=0.1, moved=moved, beside=beside, best=best)
    return DatasetFacts(n_samples=200, n_batches=4, shape="N x 1 x 16 x 16", dtype="float32", mapped=mapped)


def test_maps_moved_in_training_alone_are_told() -> None:
    sick, fine = at(0.8, 0.5, own=0.8), at(0.02, 0.99)
    assert severity(facts(sick, fine, table=GOOD), "d-maps-moved") == "warning"
    assert "label-corruption" in causes(facts(sick, fine, table=GOOD))
    assert "wrong-augmentation" in causes(facts(sick, fine, table=GOOD, redrawn=1.0))
    for healthy in (
        facts(fine, fine),
        facts(sick, sick),  # meant to lie beside it
        facts(at(0.2, 0.5), fine),
        facts(at(0.8, 0.8), fine),
        facts(at(0.8, 0.5, best=0.4), fine),  # lost in noise
        facts(sick, at(0.02, 0.99, own=0.55)),
    ):
        assert severity(healthy, "d-maps-moved") is None


LOST = {
    f"own_{name}": 1.0 for name in ("as_is", "training_training", "training_given", "given_training", "given_given")
}


def data(own: float, placed: float = 0.1, n: int = 200) -> DatasetFacts:
    facts = Mapped(n=n, own=own, error=0.02, spread=0.01, placed=placed)
    return DatasetFacts(n_samples=n, n_batches=4, shape="N x 1 x 16 x 16", dtype="float32", mapped=facts)


def facts(train: DatasetFacts, given: DatasetFacts, table: Any = BAD, redrawn: float = 0.0, **told: float) -> Report:
    trials = tried("learned-anew", {"kind": "maps"}, **SCORES | LOST | told)
    more = {"train_dataset": train, "dataset": given, "splits": SplitFacts(redrawn=redrawn)}
    return replace(report(table, trials=trials, training=run(FLAT)), **more)


def test_maps_of_one_split_that_have_nothing_to_do_with_it_are_an_error() -> None:
    sick = facts(data(0.51), data(0.98), table=GOOD)
    assert severity(sick, "d-maps-unrelated") == "error"
    assert "label-corruption" in causes(sick)
    assert severity(facts(data(0.98), data(0.51)), "d-maps-unrelated") == "error"
    assert "wrong-augmentation" in causes(facts(data(0.51), data(0.98), redrawn=1.0))
    for healthy in (facts(data(0.9), data(0.98)), facts(data(0.5), data(0.64)), facts(data(0.51, n=50), data(0.98))):
        assert severity(healthy, "d-maps-unrelated") is None


@pytest.mark.parametrize(
    ("placed", "table", "told", "expected"),
    [
        (0.1, BAD, {}, "warning"),
        (0.7, BAD, {}, None),  # the place tells most of it
        (0.1, GOOD, {}, None),  # the model works
        (0.1, BAD, {"own_as_is": 5.0}, None),  # or says something of the sample, though little
        (0.1, BAD, {"own_given_given": 5.0}, None),  # as copies do, of what lies too far for a local fit
    ],
)
def test_maps_that_nothing_relates_to_their_inputs_are_unrelated(
    placed: float, table: Any, told: dict[str, float], expected: str | None
) -> None:
    found = facts(data(0.51, placed), data(0.49, placed), table=table, **told)
    assert severity(found, "d-maps-unrelated") == expected


def test_maps_that_are_wrong_in_part_are_told_by_the_other_split() -> None:
    sick = facts(data(0.8), data(0.98), table=GOOD)
    assert severity(sick, "d-maps-noisier") == "warning"
    assert "label-noise" in causes(sick)
    augmented = facts(data(0.8), data(0.98), redrawn=1.0)
    for healthy in (facts(data(0.92), data(0.98)), facts(data(0.98), data(0.8)), augmented):
        assert severity(healthy, "d-maps-noisier") is None


def test_a_run_on_masks_of_other_pictures_is_told_and_one_on_its_own_is_not() -> None:
    x, mask = discs(360, 3)
    for target, expected in ((of_others(mask), "warning"), (mask, None)):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 1, 5, padding=2))
        optimizer = torch.optim.Adam(model.parameters(), 5e-3)
        train, given = TensorDataset(x[:220], target[:220]), TensorDataset(x[220:], target[220:])
        loaders = DataLoader(train, 20, shuffle=True), DataLoader(given, 20)
        loss = nn.BCEWithLogitsLoss()
        history = reportgen.fit(model, *loaders, loss=loss, optimizer=optimizer, epochs=5)
        found = reportgen.examine(
            model, loaders[1], train_data=loaders[0], loss=loss, optimizer=optimizer, history=history, options=SLOWLY
        )
        assert severity(found, "d-maps-unrelated") == expected
        assert ("label-corruption" in {d.cause for d in found.diagnoses if d.severity != "info"}) == bool(expected)


@pytest.mark.parametrize("form", ["places", "one column", "classes", "one hot"])
def test_answers_for_places_are_scored_by_the_mean_recall_of_a_sample(form: str) -> None:
    torch.manual_seed(0)
    mask = (torch.rand(20, 9, 8) < 0.3).float()
    said = torch.randn(20, 9, 8)
    target, output = {
        "places": (mask, said),
        "one column": (mask[:, None], said[:, None]),
        "classes": (mask.long(), torch.stack([-said, said], 1)),
        "one hot": (torch.stack([1 - mask, mask], 1), torch.stack([-said, said], 1)),
    }[form]
    x = torch.randn(20, 4)
    found, _ = score(Said(output), Batch((x,), {}, target))
    recalls = [((said > 0) == (mask > 0.5))[i][mask[i] == k].float().mean() for i in range(20) for k in (0, 1)]
    if form == "one hot":  # yes or no at each place of each class
        assert found == pytest.approx(float(((output > 0) == (target > 0.5)).float().mean()))
    else:
        assert found == pytest.approx(float(torch.stack(recalls).mean()), abs=1e-6)


class Said(nn.Module):
    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: Tensor) -> Tensor:
        return self.output
