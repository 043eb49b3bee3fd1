"""Generated against real samples: distances by hand, collapse seen, healthy ones not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import linalg
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.document.facts import Finding, Severity
from reportgen.document.pictures import GenerationFacts, PictureFacts
from reportgen.page.wording import cause_title
from reportgen.probe.pictures.generated import coverage, frechet, inside

BRIEF = reportgen.Options(trial_budget=0)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Generator(nn.Module):
    """Maps (N, 4) to images (N, 1, 8, 8) that follow it."""

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.base, self.width = nn.Linear(4, 64), width

    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(self.base(z * self.width)).unflatten(1, (1, 8, 8))


def real_ones(n: int = 400) -> Tensor:
    with torch.no_grad():
        found: Tensor = Generator()(random(n, 4, seed=7).float())
    return found


def facts_of(model: nn.Module, data: Any, **given: Any) -> GenerationFacts:
    report = reportgen.examine(model, data, options=BRIEF, **given)
    assert isinstance(report.pictures, PictureFacts)
    assert report.pictures.generation is not None, report.pictures.left_out
    return report.pictures.generation


def noise(n: int = 400) -> Any:
    return DataLoader(random(n, 4, seed=3).float(), 50)  # type: ignore[arg-type]


def test_frechet_distance_is_that_of_the_formula() -> None:
    real, fake = random(300, 6), random(200, 6, seed=1) @ random(6, 6, seed=2) + 0.5
    a, b = np.cov(real.numpy(), rowvar=False), np.cov(fake.numpy(), rowvar=False)
    gap = real.mean(0).numpy() - fake.mean(0).numpy()
    expected = gap @ gap + np.trace(a + b - 2 * linalg.sqrtm(a @ b).real)
    assert frechet(real, fake) == pytest.approx(float(expected), rel=1e-8)
    assert frechet(real, real) == pytest.approx(0, abs=1e-9)
    shifted = frechet(real, real + 2)
    assert shifted == pytest.approx(4 * 6, rel=1e-9)
    assert frechet(random(50, 1), random(50, 1, seed=4)) >= 0


def test_coverage_is_that_of_a_plain_search() -> None:
    real, fake = random(60, 3), random(40, 3, seed=1) * 0.5
    covered = 0
    for point in real:
        radius = (real - point).norm(dim=1).sort().values[5]  # itself is the first
        covered += bool(((fake - point).norm(dim=1) <= radius).any())
    assert coverage(real, fake) == covered / 60
    assert coverage(real, real.clone()) == 1


def test_a_generator_of_the_real_distribution_is_near_the_floor_and_a_collapsed_one_is_not() -> None:
    healthy = facts_of(Generator(), noise(), real=real_ones())
    assert healthy.floor is not None
    assert healthy.coverage is not None
    assert healthy.coverage_expected is not None
    assert healthy.distance < 2 * healthy.floor
    assert 0.8 < healthy.spread < 1.25
    assert healthy.coverage > healthy.coverage_expected - 0.1
    assert healthy.copies == 0
    assert (healthy.features, healthy.n_real, healthy.n_fake, healthy.paired) == ("", 400, 400, False)
    collapsed = facts_of(Generator(width=1e-6), noise(), real=DataLoader(TensorDataset(real_ones()), 64))
    assert collapsed.spread < 1e-6
    assert collapsed.coverage is not None
    assert collapsed.coverage < 0.1
    assert collapsed.copies == 400
    assert collapsed.distance > 20 * healthy.distance
    assert collapsed.real is not None
    assert collapsed.real == healthy.real


def test_an_extractor_makes_the_features_and_is_left_as_it_was() -> None:
    extractor = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.BatchNorm1d(5)).train()
    before = {k: v.clone() for k, v in extractor.state_dict().items()}
    found = facts_of(Generator(), noise(), real=real_ones(), extractor=extractor)
    assert (found.features, found.n_features) == ("Sequential", 5)
    assert all(torch.equal(v, before[k]) for k, v in extractor.state_dict().items())
    assert extractor.training


def test_features_at_hand_are_compared_as_they_are() -> None:
    real, fake = random(100, 6), random(80, 6, seed=1)
    found = facts_of(Generator(), noise(), real={"real_feats": real, "fake_feats": fake.numpy()})
    assert found.distance == pytest.approx(frechet(real, fake))
    assert (found.n_real, found.n_fake, found.real) == (100, 80, None)


class Copy(nn.Module):
    """Gives back its input."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


def test_targets_that_are_images_are_the_real_ones() -> None:
    x = real_ones(100)
    found = facts_of(Copy(), DataLoader(TensorDataset(x, x), 20))
    assert found.paired
    assert found.distance == pytest.approx(0, abs=1e-9)
    assert found.real == found.fake
    labelled = reportgen.examine(Copy(), DataLoader(TensorDataset(x, torch.zeros(100)), 20), options=BRIEF)
    assert labelled.pictures is not None
    assert labelled.pictures.generation is None


@pytest.mark.parametrize(("task", "shown"), [(None, False), ("regression", True), ("segmentation", False)])
def test_masks_are_no_generated_images(task: Any, shown: bool) -> None:
    """They have the shape of images; pictures in black and white alone count as such where the task is told."""
    x = real_ones(100)
    options = reportgen.Options(trial_budget=0, task=task)
    report = reportgen.examine(Copy(), DataLoader(TensorDataset(x, (x > 0).float()), 20), options=options)
    assert report.evaluation is not None
    assert report.evaluation.task == (task or "segmentation")
    assert report.pictures is not None
    assert (report.pictures.generation is not None) is shown


@pytest.mark.parametrize(
    ("real", "extractor", "words"),
    [
        ({"real_feats": [[1.0, 2.0]]}, None, "fake_feats is no table of features"),
        (real_ones(5), None, "16 of each are needed"),
        ([["no tensor"]], None, "hold no tensor"),
        (real_ones(), lambda x: x.sum(), "extractor returns no features"),
        (real_ones(), lambda x: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_what_cannot_be_compared_is_told(real: Any, extractor: Any, words: str) -> None:
    report = reportgen.examine(Generator(), noise(), real=real, extractor=extractor, options=BRIEF)
    assert report.pictures is not None
    assert any(words in left.reason for left in report.pictures.left_out if left.part == "generation")


# --- mode collapse ----------------------------------------------------------------------------------------------------


def clusters(n: int, seed: int, kinds: int = 8, *, blur: float = 1.0, off: float = 0.0) -> Tensor:
    """Samples (n, 16) of some of eight kinds: clusters of deviation 1 whose middles are some ten apart."""
    middles = 3 * random(8, 16, seed=99)
    generator = torch.Generator().manual_seed(seed)
    chosen = middles[torch.randint(kinds, (n,), generator=generator)]
    within = torch.randn(n, 16, generator=generator, dtype=torch.float64)
    return chosen + blur * within + off * torch.randn(n, 16, generator=generator, dtype=torch.float64)


class Shaped(nn.Module):
    """A generator in one linear layer that was trained, and is handed what it makes."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Linear(16, 16)
        with torch.no_grad():
            self.scale.weight.copy_(torch.eye(16))
            self.scale.bias.zero_()

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.scale(z)
        return out


def findings_of(made: Tensor, real: Tensor) -> list[Finding]:
    data = DataLoader(made.float(), 50)  # type: ignore[arg-type]
    report = reportgen.examine(Shaped(), data, real=real.float(), options=BRIEF)
    return [f for f in report.findings if f.rule == "mode-collapse"]


@pytest.mark.parametrize("n", [100, 400])
def test_generated_samples_that_are_as_varied_as_real_ones_are_no_collapse(n: int) -> None:
    real = clusters(n, 1)
    for made in (clusters(n, 2), clusters(n, 3, blur=0.5), clusters(n, 4, off=0.5), clusters(n // 2, 5)):
        assert findings_of(made, real) == []
    # poor samples, each another one, are a fault of another kind
    assert findings_of(clusters(n, 6, off=2.0), real) == []
    assert findings_of(8 * random(n, 16, seed=5), real) == []
    # real samples that come kind by kind are no reason to doubt them
    assert findings_of(clusters(n, 2), real[real[:, 0].argsort()]) == []


@pytest.mark.parametrize("n", [100, 400])
def test_generated_samples_that_are_all_alike_or_leave_kinds_out_are_a_collapse(n: int) -> None:
    real = clusters(n, 1)
    (point,) = findings_of(clusters(n, 2, 1, blur=0.01), real)
    assert (point.severity, point.detail["reason"]) == (Severity.ERROR, "alike")
    assert point.evidence["apart"] < 0.05
    (heaps,) = findings_of(clusters(n, 2, blur=0.01), real)  # a sample of each kind, again and again
    assert (heaps.severity, heaps.detail["reason"]) == (Severity.WARNING, "alike")
    (few,) = findings_of(clusters(n, 2, 2), real)
    assert (few.severity, few.detail["reason"]) == (Severity.WARNING, "left out")
    assert few.evidence["coverage"] < 0.6 * few.evidence["coverage_expected"]
    # the picture of the finding shows the number that was judged beside its limit
    assert [*few.threshold] == ["covered"]
    assert few.evidence["covered"] == pytest.approx(few.evidence["coverage"] / few.evidence["coverage_expected"])
    assert [*point.threshold] == ["apart"]


def test_an_untrained_generator_and_inputs_that_repeat_are_no_collapse() -> None:
    real = clusters(200, 1)
    repeated = clusters(20, 2).repeat(10, 1)
    assert findings_of(repeated, real) == []
    fresh = nn.Sequential(nn.Linear(16, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 16))
    report = reportgen.examine(fresh, noise_of(16), real=real.float(), options=BRIEF)
    assert report.subject.state == "untrained"
    assert not [f for f in report.findings if f.rule == "mode-collapse"]


def noise_of(width: int) -> Any:
    return DataLoader(random(200, width, seed=3).float(), 50)  # type: ignore[arg-type]


def test_the_share_of_generated_samples_among_the_real_is_that_of_a_plain_search() -> None:
    real, fake = random(60, 3), random(40, 3, seed=1) * 1.5
    found = 0
    for point in fake:
        reach = [(real - one).norm(dim=1).sort().values[5] for one in real]  # itself is the first
        found += any(bool((point - one).norm() <= r) for one, r in zip(real, reach, strict=True))
    assert inside(real, fake) == found / 40


def test_the_page_names_the_collapse() -> None:
    real = clusters(200, 1)
    data = DataLoader(clusters(200, 2, 1, blur=0.01).float(), 50)  # type: ignore[arg-type]
    report = reportgen.examine(Shaped(), data, real=real.float(), options=BRIEF)
    (diagnosis,) = [d for d in report.diagnoses if d.cause == "mode-collapse"]
    assert cause_title(diagnosis.cause) == "The generator makes few different samples"
    assert diagnosis.findings[0].evidence["coverage"] < 0.25
