"""Groups of one size that two splits share: copies of one original, against clusters of any other kind."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.document.samples import Families
from reportgen.page import wording
from reportgen.probe import families
from reportgen.probe.twins import Region
from reportgen.subject.data import Batch

pytestmark = pytest.mark.slow  # models are trained, pages are drawn


def region(x: Tensor, y: Tensor | None = None) -> Region:
    out = Region()
    for place in range(0, len(x), 100):
        out.update(Batch((x[place : place + 100],), {}, None if y is None else y[place : place + 100]))
    return out


def blurred(n: int, seed: int) -> Tensor:
    """Return smooth pictures, all different."""
    noise = torch.randn(n, 1, 20, 20, generator=torch.Generator().manual_seed(seed))
    return 4 * nn.functional.avg_pool2d(noise, 5, 1)


def copied(x: Tensor, y: Tensor, times: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.cat([x + noise * torch.randn(x.shape, generator=generator) for _ in range(times)]), y.repeat(times)


def dealt(x: Tensor, y: Tensor, seed: int) -> tuple[Region, Region]:
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    cut = len(x) * 3 // 4
    return region(x[order[:cut]], y[order[:cut]]), region(x[order[cut:]], y[order[cut:]])


def fires(found: Families | None) -> bool:
    return found is not None and found.clear


def table(n: int, seed: int, width: int = 12) -> tuple[Tensor, Tensor]:
    x = torch.randn(n, width, generator=torch.Generator().manual_seed(seed))
    return x, (x[:, 0] > 0).long()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("times", "noise"), [(2, 0.05), (3, 0.1), (4, 0.1), (6, 0.1), (12, 0.1), (30, 0.1)])
def test_copies_of_rows_that_were_split_at_random(times: int, noise: float, seed: int) -> None:
    found = families.across(
        *dealt(*copied(*table(450 if times < 10 else 1900 // times, seed), times, noise, seed), seed)
    )
    assert found is not None
    assert fires(found)
    assert found.size == times


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_pictures_with_noise_that_were_split_at_random(kind: str) -> None:
    x = blurred(250, 1)
    y = (x.mean((1, 2, 3)) > 0).long() if kind == "classes" else x.mean((1, 2, 3))
    found = families.across(*dealt(*copied(x, y, 5, 0.4, 2), 3))
    assert fires(found)
    assert found is not None
    assert found.size == 5
    assert found.found > 0.8 * found.n


@pytest.mark.parametrize("times", [2, 5])
def test_copies_that_were_made_after_the_split(times: int) -> None:
    x, y = table(400, 0)
    training = region(*copied(x[:300], y[:300], times, 0.1, 1))
    assert not fires(families.across(training, region(x[300:], y[300:])))
    assert not fires(families.across(training, region(*copied(x[300:], y[300:], times, 0.1, 2))))


@pytest.mark.parametrize("times", [3, 6, 10])
def test_copies_within_the_training_data_are_seen_there(times: int) -> None:
    x, y = table(200, 0)
    found = families.within(region(*copied(x, y, times, 0.1, 1)))
    assert found is not None
    assert found.clear
    assert found.size == times
    plain = families.within(region(*table(200 * times, 1)))
    assert plain is not None
    assert not plain.clear


@pytest.mark.parametrize(("stored", "shifted", "expected"), [(True, False, "info"), (False, True, "warning")])
def test_stored_copies_with_noise_tell_the_splits_apart_and_are_no_mismatch(
    stored: bool, shifted: bool, expected: str
) -> None:
    """Pictures whose training part alone has noise: as augmentation, ten of each, or as another camera, one of each."""
    x = blurred(160 if stored else 800, 0)
    y = torch.arange(len(x)) % 2
    training = copied(x[:80], y[:80], 10, 0.8, 1) if stored else copied(x[:700], y[:700], 1, 0.8, 1)
    given = (x[80:], y[80:]) if stored else (x[700:], y[700:])
    model = nn.Sequential(nn.Flatten(), nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 2))
    optimizer, loss = torch.optim.Adam(model.parameters(), lr=3e-3), nn.CrossEntropyLoss()
    torch.manual_seed(0)
    with reportgen.Monitor(model, optimizer, loss=loss) as monitor:
        for _ in range(15):  # labels without reason are learned by heart, and are worth nothing on new pictures
            for part in torch.randperm(len(training[0])).split(50):
                optimizer.zero_grad()
                loss(model(training[0][part]), training[1][part]).backward()
                optimizer.step()
    loaders = [DataLoader(TensorDataset(*split), 50) for split in (given, training)]
    report = monitor.report(loaders[0], train_data=loaders[1], options=reportgen.Options(trial_budget=0, pictures=0))
    assert {f.severity.value for f in report.findings if f.rule == "d-splits-apart"} == {expected}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("by_cluster", [1.5, 3.0, 6.0, 15.0, 30.0])
def test_independent_draws_from_tight_clusters(by_cluster: float, seed: int) -> None:
    """Shapes at few places, products of few makes: clusters of any size, but of no single one."""
    generator = torch.Generator().manual_seed(seed)
    n, clusters = 900, int(900 / by_cluster)
    centre = torch.randint(0, clusters, (n,), generator=generator)
    x = 5 * torch.randn(clusters, 12, generator=generator)[centre] + 0.1 * torch.randn(n, 12, generator=generator)
    found = families.across(*dealt(x, centre % 3, seed))
    assert found is not None
    assert found.found > 0.05 * found.n or by_cluster > 6  # they are seen
    assert not fires(found)


@pytest.mark.parametrize(("classes", "each"), [(60, 5), (100, 4), (30, 12)])
def test_classes_of_a_few_samples_each_are_no_groups(classes: int, each: int) -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(classes).repeat(each)
    x = 5 * torch.randn(classes, 12, generator=generator)[y] + 0.2 * torch.randn(len(y), 12, generator=generator)
    assert not fires(families.across(*dealt(x, y, 1)))


HEALTHY = {
    "normal": lambda g: torch.randn(800, 16, generator=g),
    "few directions": lambda g: torch.randn(800, 3, generator=g) @ torch.randn(3, 16, generator=g),
    "skewed": lambda g: torch.randn(800, 16, generator=g).exp(),
    "whole numbers": lambda g: torch.randint(0, 4, (800, 12), generator=g).float(),
    "yes and no": lambda g: torch.randint(0, 2, (800, 24), generator=g).float(),
    "windows": lambda g: torch.randn(900, generator=g).cumsum(0).unfold(0, 24, 1),
    "pictures": lambda g: nn.functional.avg_pool2d(torch.randn(600, 1, 16, 16, generator=g), 5, 1),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_samples_that_are_no_copies(name: str) -> None:
    x = HEALTHY[name](torch.Generator().manual_seed(0)).contiguous()
    assert not fires(families.across(*dealt(x, torch.zeros(len(x)).long(), 0)))
    assert not fires(families.within(region(x)))


@pytest.mark.parametrize(
    "target",
    [
        None,
        {"boxes": torch.zeros(60, 4)},
        torch.zeros(60, 2),
        torch.eye(60).to_sparse(),
        torch.full((60,), math.nan),
        torch.nested.nested_tensor([torch.zeros(1)] * 60, layout=torch.jagged),
    ],
)
def test_targets_that_are_no_classes_leave_all_samples_alike(target: object) -> None:
    out = Region()
    out.update(Batch((torch.randn(60, 12),), {}, target))
    found = out.labelled([])
    assert found is not None
    assert found[1].tolist() == [0.0] * 60


def test_the_bound_is_the_most_that_poisson_numbers_have_in_one_place() -> None:
    rates = torch.linspace(0.01, 60, 6000, dtype=torch.float64)
    for k in [k for look in families.LOOKS for k in look]:
        most = float(torch.exp(k * rates.log() - rates - math.lgamma(k + 1)).max())
        assert math.exp(k * math.log(k) - k - math.lgamma(k + 1)) == pytest.approx(most, rel=1e-4)


def test_the_report_names_a_leak() -> None:
    x, y = copied(*table(200, 4), 4, 0.1, 5)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    training, given = (DataLoader(TensorDataset(x[part], y[part]), 64) for part in (order[:600], order[600:]))
    model = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 2))
    options = reportgen.Options(trial_budget=0, pictures=0)
    report = reportgen.examine(model, given, train_data=training, loss=nn.CrossEntropyLoss(), options=options)
    (finding,) = [f for f in report.findings if f.rule == "d-groups-cut"]
    assert "tight groups of 4" in wording.describe(finding)
    assert "data-leakage" in {d.cause for d in report.diagnoses if d.severity.rank}
