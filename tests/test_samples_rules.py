"""Near doubles, features that tell the label, types of inputs, misplaced layers: sick and healthy data and models."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from torch import Tensor, nn

import reportgen
from reportgen.document.facts import Finding, Report
from reportgen.document.samples import Twins
from reportgen.options import Options
from reportgen.probe.shortcut import shortcut
from reportgen.probe.twins import KEPT, LENGTH, Region, across
from reportgen.subject.data import Batch

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_learning")]

Split = tuple[Tensor, Tensor]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


def region(x: Tensor, size: int = 64) -> Region:
    held = Region()
    for part in x.split(size):
        held.update(Batch((part,), {}, torch.zeros(len(part))))
    return held


def twins(x: Tensor) -> Twins:
    facts = region(x).facts()
    assert facts is not None
    return facts


# shape of the data -> samples without doubles
HEALTHY = {
    "gaussian": lambda: torch.randn(1500, 8),
    "uniform": lambda: torch.rand(1500, 16),
    "heavy tails": lambda: torch.randn(1500, 12).pow(3),
    "far from zero": lambda: torch.randn(1500, 12) + 1e4,
    "clusters": lambda: torch.randn(20, 12)[torch.randint(0, 20, (1500,))] * 4 + 0.1 * torch.randn(1500, 12),
    "codes": lambda: nn.functional.one_hot(torch.randint(0, 4, (1500, 10)), 4).flatten(1).float(),
    "windows of a series": lambda: torch.randn(1500).cumsum(0).unfold(0, 32, 1),
    "digits": lambda: torch.tensor(load_digits().data).float(),
    "tumours": lambda: torch.tensor(load_breast_cancer().data).float(),
    "pictures": lambda: nn.functional.avg_pool2d(torch.rand(600, 3, 24, 24), 5, 1, 2),
    "bytes": lambda: torch.randint(0, 256, (600, 3, 16, 16), dtype=torch.uint8),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_data_without_doubles_have_no_more_than_chance(name: str) -> None:
    found = twins(HEALTHY[name]())
    expected = found.n * found.chance
    assert found.found <= expected + 5 * math.sqrt(expected + 1)
    assert found.chance < 0.01


def test_chance_is_that_of_the_formula_on_a_line() -> None:
    """On a curve most samples have such a neighbour; the dimension is 1, and the share that of the null."""
    t = torch.rand(2000) * 6
    curve = torch.stack([torch.sin(k * t) for k in range(1, 13)], 1)
    found = twins(curve)
    assert found.dimension == pytest.approx(1, abs=0.1)
    assert found.found / found.n == pytest.approx(found.chance, abs=0.04)
    # an outside reference: the same ratio for points that are uniform on a line
    line = torch.sort(torch.rand(20000)).values
    near = torch.cdist(line[:2000, None].double(), line[:, None].double()).topk(6, largest=False).values
    assert float((near[:, 1] / near[:, 5] < 0.2).double().mean()) == pytest.approx(found.chance, abs=0.05)


@pytest.mark.parametrize("name", ["gaussian", "digits", "tumours", "far from zero", "clusters"])
def test_doubles_are_found_within_a_split_and_across_two(name: str) -> None:
    x = HEALTHY[name]()
    x = x[torch.randperm(len(x))]
    n = len(x) // 2
    noise = 0.01 * x[:n].std(0) if name != "clusters" else torch.full((x.shape[1],), 0.002)
    doubles = x[: n // 5] + noise * torch.randn(n // 5, x.shape[1])
    within = twins(torch.cat([x[:n], doubles]))
    assert within.found >= 0.8 * 2 * len(doubles)
    between = across(region(x[:n]), region(torch.cat([x[n:], doubles])))
    assert between is not None
    assert 0.8 * len(doubles) <= between.found <= len(doubles) + 3
    clean = across(region(x[:n]), region(x[n:]))
    assert clean is not None
    assert clean.found <= 3


def test_brightness_and_contrast_hide_no_double_picture() -> None:
    pictures = nn.functional.avg_pool2d(torch.rand(400, 3, 24, 24), 5, 1, 2)
    changed = 0.7 * pictures[:40] + 0.1
    found = across(region(pictures), region(torch.cat([HEALTHY["pictures"]()[:200], changed])))
    assert found is not None
    assert found.found == 40


@pytest.mark.parametrize("shape", [(64, 16, 16), (3, 40, 40), (5000,), (12, 9)])
def test_what_is_kept_of_a_sample_is_short(shape: tuple[int, ...]) -> None:
    table = region(torch.rand(120, *shape)).table()
    assert table is not None
    assert table.shape[0] == 120
    assert table.shape[1] <= LENGTH


def test_equal_samples_are_left_to_the_count_of_copies() -> None:
    x = torch.randn(400, 12)
    assert twins(torch.cat([x, x[:200]])).found == 0
    both = across(region(x), region(torch.cat([x[:150], torch.randn(150, 12)])))
    assert both is not None
    assert (both.n, both.found) == (150, 0)


def test_memory_is_bounded_and_doubles_stay_together() -> None:
    x = torch.randn(12000, 10)
    doubles = x[:2400] + 0.01 * torch.randn(2400, 10)
    held = region(torch.cat([x, doubles]), 500)
    table = held.table()
    assert table is not None
    assert KEPT / 2 < len(table) <= 2 * KEPT
    found = held.facts()
    assert found is not None
    assert found.found / found.n == pytest.approx(4800 / 14400, abs=0.05)
    # the other split is cut elsewhere, and is compared where both have everything
    others = x[:2400] + 0.01 * torch.randn(2400, 10)
    between = across(held, region(torch.cat([others, torch.randn(2400, 10)]), 500))
    assert between is not None
    assert between.found / between.n == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    "x", [torch.randn(300, 4), torch.randint(0, 9, (300, 20)), torch.randn(50, 20), torch.ones(9000, 20)]
)
def test_what_cannot_be_compared_is_not_measured(x: Tensor) -> None:
    assert region(x).facts() is None


def test_values_that_are_not_finite_are_left_out() -> None:
    x = torch.randn(400, 12)
    x[:10, 0] = torch.nan
    found = twins(x)
    assert (found.n, found.found) == (390, 0)


# shortcuts


def column(y: Tensor, noise: float) -> Tensor:
    return y[:, None].float() * 3 - 2 + noise * torch.randn(len(y), 1)


def test_a_label_as_yes_and_no_has_no_second() -> None:
    """A column beside both that is merely good counts as second, and so does a copy."""
    torch.manual_seed(0)
    y = torch.randint(0, 2, (400,))
    one_hot = torch.eye(2)[y]
    good = y[:, None] + 0.25 * torch.randn(400, 1)
    found = shortcut((torch.cat([torch.randn(400, 5), one_hot], 1), y.double()), "classes", 1)
    assert found is not None
    assert found.feature >= 5
    assert found.second < 0.7
    for other in (good, one_hot[:, :1]):
        found = shortcut((torch.cat([torch.randn(400, 5), one_hot, other], 1), y.double()), "classes", 1)
        assert found is not None
        assert found.second > 0.9


def test_a_column_made_of_the_label_is_the_best_feature() -> None:
    y = torch.randint(0, 4, (400,))
    found = shortcut((torch.cat([torch.randn(400, 9), column(y, 0.01)], 1), y.double()), "classes", 1)
    assert found is not None
    assert (found.feature, round(found.score, 3)) == (9, round((399 - 3) / 399, 3))
    assert found.gap is not None
    assert found.gap > 100
    assert found.null < 0.5
    assert found.second < 0.5


@pytest.mark.parametrize("load", [load_iris, load_wine, load_breast_cancer, load_digits])
def test_no_single_measurement_of_real_data_tells_the_class(load: object) -> None:
    held = load()  # type: ignore[operator]
    found = shortcut((torch.tensor(held.data)[:512].float(), torch.tensor(held.target)[:512].double()), "classes", 1)
    assert found is None or found.score < 0.97


def test_numbers_are_told_by_correlation() -> None:
    x = torch.randn(400, 6)
    y = (5 * x[:, 2] + 1).double()
    found = shortcut((x, y), "numbers", 3)
    assert found is not None
    assert (found.feature, found.gap) == (6, None)
    assert found.score == pytest.approx(1)
    import numpy as np

    told = np.corrcoef(torch.cat([x, y[:, None]], 1).numpy().T)[-1, :-1] ** 2
    assert found.second == pytest.approx(sorted(told)[-2], rel=1e-4)


# rules, on the whole way from the data


def examined(train: Split, given: Split, model: nn.Module | None = None, fit: bool = False) -> Report:
    model = model or nn.Sequential(nn.Flatten(), nn.Linear(train[0][0].numel(), 8), nn.ReLU(), nn.Linear(8, 4))
    loss = nn.CrossEntropyLoss()
    if fit:
        optimizer = torch.optim.Adam(model.parameters(), 0.02)
        for _ in range(150):
            optimizer.zero_grad()
            loss(model(train[0]), train[1]).backward()
            optimizer.step()
    return reportgen.examine(
        model, batches(given), train_data=batches(train), loss=loss, options=Options(trial_budget=0)
    )


def batches(split: Split) -> list[Split]:
    return list(zip(split[0].split(50), split[1].split(50), strict=True))


def of(report: Report, *rules: str) -> list[Finding]:
    return [f for f in report.findings if f.rule in rules]


NEAR = ("near-leakage", "d-near-duplicates", "leakage")


def test_near_doubles_across_the_splits_are_a_leak() -> None:
    x, y = torch.randn(600, 12), torch.randint(0, 4, (600,))
    given = torch.cat([torch.randn(200, 12), x[:50] + 0.01 * torch.randn(50, 12)])
    report = examined((x, y), (given, torch.randint(0, 4, (250,))))
    (finding,) = of(report, *NEAR)
    assert (finding.rule, finding.severity, finding.detail) == ("near-leakage", "warning", {"training": "single"})
    assert 45 <= finding.evidence["twins"] <= 50
    assert "data-leakage" in {d.cause for d in report.diagnoses}
    clean = examined((x, y), (torch.randn(250, 12), torch.randint(0, 4, (250,))))
    assert of(clean, *NEAR) == []


def test_groups_that_were_split_apart_are_told_as_such() -> None:
    x = torch.randn(300, 12)
    x = torch.cat([x + 0.01 * torch.randn_like(x) for _ in range(4)])[torch.randperm(1200)]
    y = torch.randint(0, 4, (1200,))
    found = of(examined((x[:800], y[:800]), (x[800:], y[800:])), *NEAR)
    assert {f.rule for f in found} == {"near-leakage", "d-near-duplicates"}
    assert found[0].detail == {"training": "groups"}


def test_pairs_within_a_split_only_inform() -> None:
    x, y = torch.randn(300, 12), torch.randint(0, 4, (600,))
    pairs = torch.cat([x, x + 0.01 * torch.randn_like(x)])[torch.randperm(600)]
    report = examined((pairs, y), (torch.randn(300, 12), y[:300]))
    assert {(f.rule, f.severity.value, f.subject) for f in of(report, *NEAR)} == {
        ("d-near-duplicates", "info", "training data")
    }


def test_a_label_among_the_features_is_a_leak_and_a_strong_measurement_is_none() -> None:
    y = torch.randint(0, 4, (400,))
    leaky = torch.cat([torch.randn(400, 6), column(y, 0.01)], 1)
    (finding,) = of(examined((leaky, y), (leaky, y)), "d-shortcut")
    assert (finding.severity, finding.subject) == ("warning", "input 6")
    # the sign of one feature decides: true, worth knowing, and nothing wrong
    x = torch.randn(400, 6)
    natural = (x[:, 1] > 0).long()
    (finding,) = of(examined((x, natural), (x, natural)), "d-shortcut")
    assert (finding.severity, finding.subject) == ("info", "input 1")
    weak = torch.randint(0, 4, (400,))
    assert of(examined((torch.randn(400, 6), weak), (torch.randn(400, 6), weak)), "d-shortcut") == []
    # several features that all tell the class are just an easy task
    easy = torch.cat([column(y, 0.1) for _ in range(6)], 1)
    assert of(examined((easy, y), (easy, y)), "d-shortcut") == []


@pytest.mark.parametrize(("noise", "expected"), [(0.0, "warning"), (0.001, "warning"), (0.02, "info"), (0.1, None)])
def test_a_target_in_other_units_is_a_leak_and_a_close_measurement_of_it_is_none(
    noise: float, expected: str | None
) -> None:
    x, y = torch.randn(400, 6), torch.randn(400)
    x[:, 4] = 0.0125 * (y + noise * torch.randn(400)) + 3.0
    found = of(examined((x, y), (x, y)), "d-shortcut")
    assert [f.severity.value for f in found] == ([expected] if expected else [])


class Bytes(nn.Module):
    def __init__(self, scale: float, norm: bool = False) -> None:
        super().__init__()
        first: list[nn.Module] = [nn.BatchNorm1d(36)] if norm else []
        self.scale, self.net = scale, nn.Sequential(nn.Flatten(), *first, nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 4))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x.flatten(1).float() * self.scale)
        return y


def pictures() -> Split:
    y = torch.randint(0, 4, (400,))
    base = torch.randint(0, 120, (4, 1, 6, 6))
    return (base[y] + torch.randint(0, 120, (400, 1, 6, 6))).to(torch.uint8), y


def test_bytes_that_the_first_layer_reads_as_they_are() -> None:
    x, y = pictures()
    (finding,) = of(examined((x, y), (x, y), Bytes(1.0)), "d-dtype")
    assert (finding.severity, finding.detail) == ("warning", {"dtype": "uint8"})
    assert finding.evidence["std"] > 20
    assert of(examined((x, y), (x, y), Bytes(1 / 255)), "d-dtype") == []
    trained = examined((x, y), (x, y), Bytes(1.0, norm=True), fit=True)
    assert [f.severity for f in of(trained, "d-dtype")] in ([], ["info"])


def test_tokens_are_no_raw_numbers() -> None:
    tokens, y = torch.randint(0, 500, (400, 12)), torch.randint(0, 4, (400,))
    model = nn.Sequential(nn.Embedding(500, 8), nn.Flatten(), nn.Linear(96, 4))
    assert of(examined((tokens, y), (tokens, y), model), "d-dtype") == []


# layers


def placed(*layers: nn.Module) -> list[tuple[str, str, str]]:
    x, y = torch.randn(200, 12), torch.randint(0, 4, (200,))
    found = of(examined((x, y), (x, y), nn.Sequential(*layers)), "dropout-misplaced", "bias-before-norm")
    assert all(f.severity == "info" for f in found)
    return [(f.rule, f.subject, f.detail.get("kind", "")) for f in found]


def test_dropout_where_it_does_no_good() -> None:
    head = nn.Linear(8, 4)
    assert placed(nn.Linear(12, 8), nn.ReLU(), head, nn.Dropout(0.5)) == [("dropout-misplaced", "3", "on-outputs")]
    assert placed(nn.Linear(12, 8, bias=False), nn.Dropout(0.2), nn.BatchNorm1d(8), nn.ReLU(), head) == [
        ("dropout-misplaced", "1", "before-norm")
    ]
    assert placed(nn.Linear(12, 8), nn.ReLU(), nn.Dropout(0.5), head) == []
    assert placed(nn.Dropout(0.1), nn.Linear(12, 8), nn.ReLU(), nn.Dropout(0.5), head, nn.Softmax(1)) == []


def test_a_bias_before_a_batch_norm_is_told_and_one_before_a_layer_norm_is_not() -> None:
    head = nn.Linear(8, 4)
    assert placed(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), head) == [("bias-before-norm", "0", "")]
    assert placed(nn.Linear(12, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), head) == []
    assert placed(nn.Linear(12, 8), nn.LayerNorm(8), nn.ReLU(), head) == []
    assert placed(nn.Linear(12, 8), nn.ReLU(), nn.BatchNorm1d(8), head) == []


def test_such_a_bias_changes_nothing() -> None:
    """What the rule claims, shown: the norm takes the bias away to rounding."""
    layer, norm, x = nn.Linear(12, 8), nn.BatchNorm1d(8), torch.randn(64, 12)
    before = norm(layer(x))
    nn.init.normal_(layer.bias, 3)
    torch.testing.assert_close(norm(layer(x)), before, atol=1e-4, rtol=1e-4)
