"""Windows of one recording in two splits, against a search by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.document.facts import DatasetFacts, Finding
from reportgen.document.samples import SplitFacts, Windows
from reportgen.health.judge import judge
from reportgen.probe import windows
from reportgen.subject.data import Batch

from .test_rules_model import report, run

LENGTH = 24


def recordings(n: int, steps: int = 120, channels: int = 2) -> list[Tensor]:
    g = torch.Generator().manual_seed(3)
    return [torch.randn(steps, channels, generator=g).cumsum(0) for _ in range(n)]


def cut(one: Tensor, stride: int = 4) -> list[Tensor]:
    return [one[i : i + LENGTH] for i in range(0, len(one) - LENGTH + 1, stride)]


def found(training: list[Tensor], given: list[Tensor], *, turned: bool = False) -> Windows | None:
    probes = []
    for samples in (training, given):
        probe = windows.WindowRuns()
        x = torch.stack(samples)
        for part in (x.transpose(1, 2) if turned else x).split(16):
            probe.update(Batch((part,)))
        probes.append(probe)
    return windows.across(*probes)


def by_hand(training: list[Tensor], given: list[Tensor]) -> tuple[int, int]:
    """Look at every pair of windows and every pair of places."""
    earlier = later = 0
    places: dict[bytes, set[int]] = {}
    for one in training:
        for t in range(LENGTH - windows.RUN + 1):
            places.setdefault(one[t : t + windows.RUN].numpy().tobytes(), set()).add(t)
    for one in given:
        seen = [
            (t, p) for t in range(LENGTH - windows.RUN + 1) for p in places.get(one[t : t + 8].numpy().tobytes(), ())
        ]
        earlier += any(p < t for t, p in seen)
        later += any(p > t for t, p in seen)
    return earlier, later


@pytest.mark.parametrize("turned", [False, True])
def test_windows_cut_before_a_random_split_are_counted_as_by_hand(turned: bool) -> None:
    every = [w for one in recordings(12) for w in cut(one)]
    order = np.random.RandomState(0).permutation(len(every))
    training, given = ([every[i] for i in part] for part in (order[60:], order[:60]))
    told = found(training, given, turned=turned)
    assert told is not None
    assert (told.n, (told.earlier, told.later)) == (60, by_hand(training, given))
    assert min(told.earlier, told.later) > 40


def test_splits_by_recording_or_in_time_share_no_windows_on_both_sides() -> None:
    made = recordings(12)
    told = found([w for one in made[:9] for w in cut(one)], [w for one in made[9:] for w in cut(one)])
    assert told is not None
    assert (told.earlier, told.later) == (0, 0)
    in_time = [cut(one) for one in made]
    told = found([w for ws in in_time for w in ws[:18]], [w for ws in in_time for w in ws[18:]])
    assert told is not None
    assert told.later > 0
    assert told.earlier == 0


def periodic() -> list[Tensor]:
    wave = torch.sin(torch.arange(12) * (2 * torch.pi / 12)).repeat(20)[:, None]
    return [wave[i : i + LENGTH] for i in range(96)]


def letters() -> list[Tensor]:
    text = torch.randint(0, 3, (200,), generator=torch.Generator().manual_seed(0))
    return [torch.nn.functional.one_hot(text[i : i + LENGTH], 3).float() for i in range(96)]


def padded() -> list[Tensor]:
    g = torch.Generator().manual_seed(0)
    return [torch.cat([torch.randn(4, 2, generator=g), torch.zeros(LENGTH - 4, 2)]) for _ in range(96)]


def strokes() -> list[Tensor]:
    """Rows of pictures one behind the other: a few strokes that stand anywhere, between an edge that is none."""
    g = torch.Generator().manual_seed(0)
    kinds = torch.randn(5, 10, generator=g)
    at, which = torch.randint(3, 11, (96,), generator=g), torch.randint(5, (96,), generator=g)
    noise = torch.randn(96, LENGTH, 1, generator=g)
    made = []
    for i in range(96):
        one = noise[i].clone()
        one[at[i] : at[i] + 10, 0] = kinds[which[i]]
        made.append(one)
    return made


@pytest.mark.parametrize("made", [periodic, letters, padded, strokes])
def test_what_repeats_by_nature_is_no_window(made: object) -> None:
    samples = made()  # type: ignore[operator]
    told = found(samples[::2], samples[1::2])
    assert told is None or (told.earlier, told.later) == (0, 0) or min(told.earlier, told.later) < 0.25 * told.n


def judged(told: Windows, counts: list[int] | None) -> list[Finding]:
    data = DatasetFacts(n_samples=400, n_batches=4, shape="N x 8", dtype="float32", class_counts=counts)
    facts = report(None, training=run(), splits=SplitFacts(windows=told), train_dataset=data)
    return [f for f in judge(facts).findings if f.rule == "d-windows-overlap"]


@pytest.mark.parametrize(
    ("told", "counts", "expected"),
    [
        (Windows(n=100, earlier=90, later=80), [200, 200], "warning"),
        (Windows(n=100, earlier=90, later=80), None, "info"),  # a number to be forecast
        (Windows(n=100, earlier=90, later=10), [200, 200], None),  # one after the other in time
        (Windows(n=10, earlier=9, later=9), [200, 200], None),
    ],
)
def test_overlapping_windows_are_judged(told: Windows, counts: list[int] | None, expected: str | None) -> None:
    assert [f.severity.value for f in judged(told, counts)] == ([expected] if expected else [])


def test_overlapping_windows_are_in_the_report() -> None:
    every = torch.stack([w for one in recordings(8) for w in cut(one)])
    labels = torch.arange(8).repeat_interleave(len(every) // 8) % 2
    order = torch.randperm(len(every), generator=torch.Generator().manual_seed(0))
    loaders = [DataLoader(TensorDataset(every[part], labels[part]), 32) for part in (order[50:], order[:50])]
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2 * LENGTH, 2))
    options = reportgen.Options(trial_budget=0)
    made = reportgen.examine(
        model, loaders[1], train_data=loaders[0], loss=torch.nn.CrossEntropyLoss(), options=options
    )
    assert "data-leakage" in {d.cause for d in made.diagnoses if d.severity.rank}


@pytest.mark.parametrize("slid", [True, False])
def test_windows_of_a_series_that_comes_back_are_no_copies(slid: bool) -> None:
    """Of a period there are as many windows of a kind as it came back, in both splits."""
    draw, t = torch.Generator().manual_seed(6), torch.arange(1217)
    series = sum(size * torch.sin(2 * torch.pi * t / period) for size, period in ((1, 24), (0.5, 84), (0.3, 7)))
    x = (series + 0.1 * torch.randn(1217, generator=draw)).unfold(0, 17, 1)[..., None]
    if not slid:  # the same windows, of which no two overlap to the last bit
        x = x + 1e-6 * torch.randn(x.shape, generator=draw)
    given, training = (
        DataLoader(TensorDataset(x[p, :16].clone(), x[p, 16].clone()), 50) for p in (slice(900, None), slice(0, 900))
    )
    options = reportgen.Options(trial_budget=0, pictures=0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 1))
    splits = reportgen.examine(model, given, train_data=training, loss=nn.MSELoss(), options=options).splits
    assert splits is not None
    if slid:
        assert splits.families is None
        assert splits.training_families is None
    else:
        assert splits.families is not None
        assert splits.families.clear
