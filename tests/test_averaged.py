"""Features that are means of targets, their own among them; and series, sums and smooth features that are healthy."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import make_regression
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.document.facts import Finding, Report
from reportgen.document.samples import Averaged
from reportgen.page import wording
from reportgen.probe.averaged import in_columns
from reportgen.probe.slips import rows_of

pytestmark = pytest.mark.slow  # models are trained, pages are drawn

File = tuple[Tensor, Tensor]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def wandering(n: int = 1500, pull: float = 0.75) -> Tensor:
    noise, s = torch.randn(n, generator=seeded(1), dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
    for t in range(1, n):
        s[t] = pull * s[t - 1] + noise[t]
    return s


def table(s: Tensor, first: int, last: int, lags: int = 4) -> File:
    """Predict the next value from the last ones and from the mean of values ``first`` to ``last`` from now."""
    rows, y = [], []
    for t in range(40, len(s) - 20):
        rows.append(torch.cat([s[t - lags + 1 : t + 1], s[t + first : t + last + 1].mean()[None]]))
        y.append(s[t + 1])
    other = torch.randn(len(y), 2, generator=seeded(2), dtype=torch.float64)
    return torch.cat([torch.stack(rows), other], 1).float(), torch.stack(y).float()


def by_rows(file: File) -> Averaged | None:
    read = rows_of(DataLoader(TensorDataset(file[0], file[1][:, None]), batch_size=32, shuffle=True))
    assert read is not None
    return read.averaged


def by_columns(file: File) -> Averaged | None:
    order = torch.randperm(len(file[0]), generator=seeded(3))[:512]
    return in_columns((file[0][order], file[1][order].double()), "numbers", 1)


# ---------------------------------------------------------------------------------------------------- own target


@pytest.mark.parametrize(("first", "last"), [(-1, 1), (0, 1), (-5, 1), (-22, 1), (-3, 3), (1, 7)])
@pytest.mark.parametrize("scale", [(0.0, 1.0), (5000.0, 40.0)])
def test_a_mean_with_the_own_target_in_it_is_found(first: int, last: int, scale: tuple[float, float]) -> None:
    found = by_rows(table(scale[0] + scale[1] * wandering(), first, last))
    assert found is not None
    assert (found.feature, found.length, found.before) == (4, last - first + 1, 1 - first)


def test_a_walk_and_a_file_of_several_series() -> None:
    found = by_rows(table(wandering(pull=1.0), -19, 1))
    assert found is not None
    assert found.length == 21
    parts = [table(wandering(300) * k, -1, 1) for k in range(1, 6)]
    found = by_rows((torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])))
    assert found is not None
    assert found.length == 3


@pytest.mark.parametrize(("first", "last"), [(-1, 1), (0, 1), (-2, 1)])
def test_columns_tell_it_where_rows_were_shuffled(first: int, last: int) -> None:
    x, y = table(wandering(), first, last)
    order = torch.randperm(len(x), generator=seeded(4))
    assert by_rows((x[order], y[order])) is None
    found = by_columns((x, y))
    assert found is not None
    assert (found.feature, found.by, found.length) == (4, "columns", last - first + 1)
    assert found.without < 0.9
    scaled = (x - x.mean(0)) / x.std(0), 7 * y + 3
    assert by_columns(scaled) is None  # no longer the target at other times, as far as can be seen
    assert by_columns((scaled[0], (y - y.mean()) / y.std())) is not None


# ------------------------------------------------------------------------------------------------------- healthy

T = torch.arange(1500, dtype=torch.float64)
SMOOTH = {
    "wave": (T / 9).sin(),
    "two waves": (T / 9).sin() + 0.4 * (T / 31).cos(),
    "trend": 0.01 * T,
    "trend and wave": 0.01 * T + (T / 9).sin(),
    "day": (2 * torch.pi * T / 24).sin() + (4 * torch.pi * T / 24).cos(),
    "noise": torch.randn(1500, generator=seeded(5), dtype=torch.float64),
    "wandering": wandering(),
    "walk": wandering(pull=1.0),
    "slow walk": wandering(pull=1.0).cumsum(0),
    "steps": wandering(75).repeat_interleave(20),
}


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize(("first", "last"), [(-2, 0), (-6, 0), (-23, 0), (0, 0), (-35, 0), (-9, -3)])
def test_what_is_past_is_no_target(name: str, first: int, last: int) -> None:
    file = table(SMOOTH[name], first, last)
    assert by_rows(file) is None
    assert by_columns(file) is None


@pytest.mark.parametrize("name", ["wave", "trend", "day"])
def test_a_series_that_goes_on_by_a_rule_of_its_own_gives_nothing_away(name: str) -> None:
    assert by_rows(table(SMOOTH[name], -1, 1)) is None
    assert by_columns(table(SMOOTH[name], -1, 1)) is None


def sums(weights: list[float], n: int = 600) -> File:
    x = torch.randn(n, len(weights), generator=seeded(6))
    return x, x @ torch.tensor(weights)


@pytest.mark.parametrize(
    "weights",
    [[3.0, 0.0], [1.0, 1.0], [1.0, -1.0], [2.0, -1.0], [3.0, -1.0, -1.0], [0.5, -1.0], [0.1, -1.0], [1.5, -2.0, 0.5]],
)
def test_numbers_put_together_from_columns_are_no_leak(weights: list[float]) -> None:
    x, y = sums(weights)
    assert by_rows((x, y)) is None
    assert by_columns((x, y)) is None
    assert by_columns((x, y + 2)) is None
    assert by_columns((x.exp(), y)) is None


def test_regressions_made_without_noise_are_no_leak() -> None:
    for seed in range(8):
        x, y = make_regression(400, 12, n_informative=2 + seed, noise=0.0, random_state=seed)
        file = torch.tensor(x).float(), torch.tensor(y).float()
        assert by_rows(file) is None
        assert by_columns(file) is None


def test_a_stock_that_is_kept_by_what_comes_and_goes_is_no_leak() -> None:
    flow = torch.randn(1500, generator=seeded(7), dtype=torch.float64)
    for kept in (0.9, 1.0):
        stock = torch.zeros(1501, dtype=torch.float64)
        for t in range(1500):
            stock[t + 1] = kept * stock[t] + flow[t]
        x, y = torch.stack([stock[:-1], flow], 1).float(), stock[1:].float()
        assert by_rows((x, y)) is None
        assert by_columns((x, y)) is None


def test_a_blurred_signal_is_what_is_measured() -> None:
    s = wandering()
    blurred = s.unfold(0, 5, 1).mean(1)
    x = blurred.unfold(0, 7, 1).float()
    assert by_rows((x, s[5 : 5 + len(x)].float())) is None


def test_few_values_and_classes_are_not_judged() -> None:
    s = (wandering() > 1.5).double()
    assert by_rows(table(s, -1, 1)) is None
    assert by_columns(table(s, -1, 1)) is None
    x, y = table(wandering(), -1, 1)
    assert in_columns((x[:500], (y[:500] > 0).double()), "classes", 1) is None


def exponential(y: Tensor, share: float) -> Tensor:
    out = [y[0]]
    for value in y[1:]:
        out.append((1 - share) * out[-1] + share * value)
    return torch.stack(out)


def beside(column: Tensor) -> Tensor:
    return torch.cat([torch.randn(len(column), 2, generator=seeded(4)).double(), column[:, None]], 1)


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_an_exponential_mean_with_its_own_row_is_found_on_any_scale(share: float) -> None:
    s = wandering()
    mean = exponential(s, share)
    for column in (mean, (mean - mean.mean()) / mean.std()):
        found = by_rows((beside(column).float().double(), s))
        assert found is not None
        assert (found.by, found.feature, found.weight) == ("running", 2, pytest.approx(share, rel=1e-3))


def test_exponential_means_of_the_past_and_of_other_series_are_left_alone() -> None:
    s = wandering()
    waves = torch.sin(torch.arange(len(s)).double() / 9)
    noisy = s + 0.1 * torch.randn(len(s), generator=seeded(5)).double()
    for column, y in (
        (exponential(s, 0.2).roll(1), s),
        (exponential(waves, 0.2), waves),
        (exponential(noisy, 0.2), s),
        (s.cumsum(0), s),
    ):
        assert by_rows((beside(column)[2:], y[2:])) is None


@pytest.mark.parametrize(("length", "before"), [(51, 25), (60, 59)])
def test_long_windows_are_found(length: int, before: int) -> None:
    s = wandering()
    sums = torch.cat([torch.zeros(1).double(), s.cumsum(0)])
    means = (sums[length:] - sums[:-length]) / length  # of rows k to k + length - 1
    rows = torch.arange(before, before + len(means))
    found = by_rows((beside(means), s[rows]))
    assert found is not None
    assert (found.length, found.before) == (length, before)
    assert by_rows((beside(means[:-1]), s[torch.arange(length, length + len(means) - 1)])) is None


# --------------------------------------------------------------------------------------------------- whole reports


def examined(first: int, last: int, shuffled: bool) -> tuple[Report, list[Finding]]:
    x, y = table(wandering(), first, last)
    order = torch.randperm(len(x), generator=seeded(8)) if shuffled else torch.arange(len(x))
    x, y = x[order], y[order, None]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(7, 16), nn.ReLU(), nn.Linear(16, 1))
    parts = [DataLoader(TensorDataset(x[a:b], y[a:b]), batch_size=64) for a, b in ((0, 1000), (1000, len(x)))]
    options = reportgen.Options(trial_budget=0)
    report = reportgen.examine(model, parts[1], train_data=parts[0], loss=nn.MSELoss(), options=options)
    return report, [f for f in report.findings if f.rule == "d-target-averaged"]


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_leak_is_named(shuffled: bool) -> None:
    report, (found,) = examined(-1, 1, shuffled)
    assert (found.severity, found.subject) == ("warning", "input 4")
    assert wording.describe(found).endswith(".")
    assert "data-leakage" in {d.cause for d in report.diagnoses if d.severity != "info"}
    assert not examined(-2, 0, shuffled)[1]
