"""Labels that belong to other rows: shifted, shuffled, in a part of a file; and healthy files in every order."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import reportgen
from reportgen.document.facts import Finding
from reportgen.document.samples import Rows
from reportgen.health.rules.rows import _finding
from reportgen.options import Options
from reportgen.probe.slips import _standing, rows_of

pytestmark = pytest.mark.slow  # models are trained, pages are drawn

File = tuple[Tensor, Tensor]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clusters(n: int = 600, seed: int = 0) -> File:
    centres = 1.6 * torch.randn(4, 8, generator=seeded(99))
    y = torch.randint(4, (n,), generator=seeded(seed))
    return centres[y] + torch.randn(n, 8, generator=seeded(seed + 1)), y


def numbers(n: int = 600) -> File:
    x = torch.randn(n, 5, generator=seeded(3))
    return x, (x[:, 0] + x[:, 1].sin() + 0.3 * torch.randn(n, generator=seeded(4)))[:, None]


def series(n: int = 600) -> File:
    """Windows of independent series, each beside the same one step on."""
    x = torch.randn(n, 17, generator=seeded(10))
    for t in range(1, 17):
        x[:, t] = 0.9 * x[:, t - 1] + 0.4 * x[:, t]
    return x[:, :-1, None], x[:, 1:, None]


def words(n: int = 600) -> File:
    y = torch.randint(2, (n,), generator=seeded(5))
    x = torch.randint(4, 30, (n, 12), generator=seeded(6))
    x[:, :4] = torch.randint(0, 3, (n, 4), generator=seeded(7)) + 30 * y[:, None]
    return x, y


def rows(file: File, **options: Any) -> Rows | None:
    return rows_of(DataLoader(TensorDataset(*file), batch_size=32, **options))


def found(file: File) -> Finding | None:
    read = rows(file, shuffle=True)
    assert read is not None
    return _finding(read, "training data")


def mixed(file: File) -> File:
    order = torch.randperm(len(file[0]), generator=seeded(8))
    return file[0][order], file[1][order]


def twice(file: File) -> File:
    return torch.cat([file[0]] * 2), torch.cat([file[1]] * 2)


def frame(load: Callable[..., Any], scale: bool = True) -> File:
    x, y = load(return_X_y=True)
    x, y = torch.tensor(x).float(), torch.tensor(y)
    return ((x - x.mean(0)) / x.std(0).clamp_min(1e-9) if scale else x), (y if load is not load_diabetes else y.float())


def rare(share: float, seed: int) -> File:
    y = (torch.rand(1500, generator=seeded(seed)) < share).long()
    return torch.randn(1500, 6, generator=seeded(seed + 500)) + 0.9 * y[:, None], y


# ------------------------------------------------------------------------------------------------------ slipped


@pytest.mark.parametrize("make", [clusters, numbers, words, series])
@pytest.mark.parametrize("shift", [-5, -1, 1, 3, 8])
def test_labels_of_other_rows_are_found_with_their_distance(make: Callable[[], File], shift: int) -> None:
    x, y = make()
    finding = found((x, y.roll(shift, 0)))
    assert finding is not None
    assert finding.severity == "error"
    assert finding.detail["kind"] == "shifted"
    assert finding.evidence["shift"] == shift
    assert found((x, y)) is None


@pytest.mark.parametrize("make", [clusters, numbers])
def test_a_row_lost_in_the_middle_is_found_with_its_place(make: Callable[[int], File]) -> None:
    x, y = make(1000)
    finding = found((x, torch.cat([y[:500], y[500:].roll(1, 0)])))
    assert finding is not None
    assert finding.detail["kind"] == "part shifted"
    assert (finding.evidence["first"], finding.evidence["last"], finding.evidence["shift"]) == (500, 999, 1)


def test_a_series_rolled_along_the_samples_has_the_target_of_another_row() -> None:
    x, _ = series()
    finding = found((x, x.roll(-1, 0)))  # where its own next step was meant, along the other axis
    assert finding is not None
    assert (finding.severity, finding.evidence["shift"]) == ("error", -1)
    assert found((x, x)) is None


def test_targets_of_several_numbers_are_held_against_rows_in_every_unit() -> None:
    x, y = numbers()
    several = torch.cat([1e6 * y, torch.randn(600, 3, generator=seeded(11))], 1)
    finding = found((x, several.roll(2, 0)))
    assert finding is not None
    assert finding.evidence["shift"] == 2
    assert found((x, several)) is None
    assert found(mixed((x, several))) is None


def test_a_part_whose_labels_were_dealt_out_is_found() -> None:
    x, y = clusters(1000)
    y[500:] = y[500:][torch.randperm(500, generator=seeded(1))]
    finding = found((x, y))
    assert finding is not None
    assert (finding.detail["kind"], finding.severity) == ("part unrelated", "warning")
    assert (finding.evidence["first"], finding.evidence["last"]) == (500, 999)


@pytest.mark.parametrize("share", [0.01, 0.03, 0.1])
def test_rows_of_a_rare_class_that_meet_by_chance_are_no_shift(share: float) -> None:
    """Of sixteen shifts in eight parts some bring two rare labels together, many deviations above a smooth null."""
    assert [found(rare(share, seed)) for seed in range(12)] == [None] * 12


def test_of_a_long_file_stretches_are_read() -> None:
    x, y = clusters(20_000)
    read = rows((x, torch.cat([y[:15_000], y[15_000:].roll(2)])))
    assert read is not None
    assert (read.n, read.of) == (1024, 20_000)
    finding = _finding(read, "training data")
    assert finding is not None
    assert finding.evidence["shift"] == 2
    assert finding.evidence["first"] > 14_000


def test_the_null_is_that_of_random_orders() -> None:
    """Against drawing orders: mean and deviation of the sum of what labels score."""
    worth = torch.rand(40, 40, generator=seeded(0)).double().square()
    draws = torch.stack([worth[torch.arange(40), torch.randperm(40, generator=seeded(k))].sum() for k in range(4000)])
    expected = (float(worth.diagonal().sum()) - float(draws.mean())) / float(draws.std())
    assert _standing(worth, 0) == pytest.approx(expected, abs=0.1)


# ------------------------------------------------------------------------------------------------------ healthy


def by_label(file: File) -> File:
    order = file[1].argsort(stable=True)
    return file[0][order], file[1][order]


def windows(values: Tensor) -> File:
    """The next value by the ones before it; each window holds the target of the one before."""
    cut = values.unfold(0, 9, 1)
    return cut[:, :8].clone(), cut[:, 8].clone()


def one_source_is_noise() -> File:
    """Two sources, one behind the other; of the second one no sample can be told."""
    x, y = clusters(800)
    x[400:] = 2 + torch.randn(400, 8, generator=seeded(2))
    return x, y


def in_turn() -> File:
    x, y = clusters(2000)
    places = torch.stack([(y == k).nonzero()[:150, 0] for k in range(4)], 1).flatten()
    return x[places], y[places]


def half_labelled() -> File:
    x, y = clusters()
    y[300:] = 0
    return x, y


def blocks() -> File:
    """Patients, one behind the other, ten rows each: rows of one are alike."""
    person = torch.randn(80, 8, generator=seeded(1)).repeat_interleave(10, 0)
    y = (person[:, 0] > 0).long()
    return person + 0.3 * torch.randn(800, 8, generator=seeded(2)), y


HEALTHY: dict[str, Callable[[], File]] = {
    "in no order": clusters,
    "numbers": numbers,
    "words": words,
    "sorted by class": lambda: by_label(clusters()),
    "sorted by target": lambda: (numbers()[0][(o := numbers()[1][:, 0].argsort())], numbers()[1][o]),
    "classes in turn": in_turn,
    "nothing to learn": lambda: (torch.randn(600, 8, generator=seeded(1)), clusters()[1]),
    "white noise, the next value": lambda: windows(torch.randn(900, generator=seeded(1))),
    "a wave, the next value": lambda: windows(torch.sin(torch.arange(900) / 9)),
    "a walk, the next value": lambda: windows(torch.randn(900, generator=seeded(1)).cumsum(0)),
    "signs of noise, the next one": lambda: (
        windows(torch.randn(900, generator=seeded(1)))[0],
        (windows(torch.randn(900, generator=seeded(1)))[1] > 0).long(),
    ),
    "a noisy source behind another": one_source_is_noise,
    "half without labels": half_labelled,
    "persons": blocks,
    "iris": lambda: twice(frame(load_iris)),
    "digits": lambda: frame(load_digits, False),
    "digits, mixed": lambda: mixed(frame(load_digits, False)),
    "tumours": lambda: frame(load_breast_cancer),
    "tumours, mixed": lambda: mixed(frame(load_breast_cancer)),
    "diabetes": lambda: frame(load_diabetes),
    "wine": lambda: twice(frame(load_wine)),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_files_raise_no_alarm(name: str) -> None:
    finding = found(HEALTHY[name]())
    assert finding is None or finding.severity == "info"


@pytest.mark.parametrize("seed", range(30))
def test_rows_in_no_order_are_seen_to_be_so(seed: int) -> None:
    g = seeded(seed)
    x = torch.randn(700, 64, generator=g).pow(3) if seed % 2 else torch.randint(0, 2, (700, 40), generator=g).float()
    read = rows((x, torch.randint(0, 3, (700,), generator=g)))
    assert read is not None
    assert read.chained < 6
    assert max(abs(z) for z in read.whole) < 6


def test_a_forecast_informs() -> None:
    """Where rows follow each other a target may lie ahead."""
    walk = torch.randn(900, generator=seeded(1))
    finding = found(windows(walk))
    assert finding is not None
    assert (finding.severity, finding.detail["kind"]) == ("info", "ordered")


# ----------------------------------------------------------------------------------------------- what is not read


class Few(Dataset[Any]):
    def __len__(self) -> int:
        return 400

    def __getitem__(self, place: int) -> Any:
        raise KeyError(place)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter([])


def test_what_cannot_be_asked_for_by_place_or_is_large_is_left_alone() -> None:
    x, y = clusters()
    assert rows_of([(x, y)]) is None
    assert rows_of(DataLoader(Few())) is None
    assert rows_of(DataLoader(Stream())) is None
    assert rows((x[:200], y[:200])) is None
    assert rows((torch.zeros(300, 1, 80, 80), y[:300])) is None
    assert rows((x, torch.stack([y, y], 1))) is None
    assert rows((x, torch.where(y == 0, -100, y))) is None
    assert rows((x, torch.zeros(600, dtype=torch.long))) is None
    assert rows((torch.full((600, 3), math.nan), y)) is None


def test_through_the_front_door_it_is_label_corruption() -> None:
    x, y = clusters()
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    loader = DataLoader(TensorDataset(x, y.roll(2)), 32)
    options = Options(trial_budget=0, pictures=0)
    report = reportgen.examine(model, loader, loss=nn.CrossEntropyLoss(), options=options)
    told = next(d for d in report.diagnoses if d.cause == "label-corruption")
    assert told.findings[0].rule == "d-rows-slipped"
    assert not told.candidates
