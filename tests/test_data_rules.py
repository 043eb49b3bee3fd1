"""Samples, labels and splits: what is counted, against counting by hand; what rules say of sick and healthy data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, TensorDataset

import reportgen
from reportgen import Options, examine
from reportgen.document.facts import Finding, Report, Severity
from reportgen.document.history import History
from reportgen.health.rules.splits import _renamed
from reportgen.page.sections import dataset as section
from reportgen.probe import fingerprints
from reportgen.probe.dataset import DatasetProbe, compare
from reportgen.probe.fingerprints import Fingerprints, overlap
from reportgen.probe.sequence import InputOrder, LabelOrder, PaddingCount
from reportgen.probe.signal import SignalSample
from reportgen.subject.data import Batch

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_learning")]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clusters(n: int, seed: int = 0, k: int = 3, spread: float = 0.8) -> tuple[Tensor, Tensor]:
    """k clusters in ten dimensions, in random order."""
    centres = torch.randn(k, 10, generator=seeded(99))
    y = torch.randint(k, (n,), generator=seeded(seed))
    return centres[y] + spread * torch.randn(n, 10, generator=seeded(seed + 1000)), y


def fed(probe: Any, x: Tensor, y: Any = None, size: int = 32) -> Any:
    for i in range(0, len(x), size):
        probe.update(Batch((x[i : i + size],), {}, None if y is None else y[i : i + size]))
    return probe


# ----------------------------------------------------------------------------------------------------- counting


def test_copies_are_counted_as_numpy_counts_them() -> None:
    x = torch.randint(3, (300, 4), generator=seeded(0)).float()
    y = torch.randint(2, (300,), generator=seeded(1))
    facts = fed(Fingerprints(), x, y).facts()
    kinds = np.unique(x.numpy(), axis=0, return_inverse=True)[1]
    both = [len(set(y.numpy()[kinds == k])) > 1 for k in kinds]
    assert (facts.seen, facts.kept) == (300, 300)
    assert facts.distinct == len(set(kinds))
    assert facts.conflicting == sum(both)


def test_a_hash_tells_small_differences_and_not_the_sign_of_zero() -> None:
    x = torch.zeros(4, 1000)
    x[1, 999] = 1e-30
    x[2, 0] = -0.0
    x[3, 500], x[3, 501] = 1.0, -1.0
    assert fed(Fingerprints(), x).facts().distinct == 3
    two = Fingerprints()
    two.update(Batch((torch.zeros(2, 3), torch.tensor([[1], [2]])), {}, None))
    assert two.facts() is not None
    assert two.facts().distinct == 2  # type: ignore[union-attr]


def test_overlap_is_counted_and_beyond_the_sketch_it_is_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    train, given = torch.randn(4000, 5, generator=seeded(0)), torch.randn(1000, 5, generator=seeded(1))
    given[:300] = train[:300]
    labels, truths = torch.zeros(4000), torch.zeros(1000)
    truths[:10] = 1
    assert overlap(fed(Fingerprints(), train, labels), fed(Fingerprints(), given, truths)) == (1000, 300, 10, 300)
    monkeypatch.setattr(fingerprints, "KEPT", 1 << 8)
    big, small = fed(Fingerprints(), train, labels), fed(Fingerprints(), given, truths)
    assert len(big.table()[0]) <= 2 * 256 + 32
    found = overlap(big, small)
    assert found is not None
    compared, shared, *_ = found
    assert shared / compared == pytest.approx(0.3, abs=0.12)  # three binomial standard errors on some 130 samples
    few = fed(Fingerprints(), torch.arange(3.0).repeat(3000)[:, None])
    assert len(few.table()[0]) <= 4 * 256 + 32


def test_graphs_and_other_inputs_without_samples_have_no_copies() -> None:
    prints = Fingerprints()
    prints.update(Batch((torch.zeros(5, 3), torch.zeros(2, 9)), {}, None))
    assert prints.facts() is None
    assert overlap(prints, prints) is None


def test_order_is_counted_across_batches() -> None:
    y = torch.tensor([0, 0, 1, 1, 1, 2] * 20)
    order = fed(LabelOrder(), y[:, None].float(), y, size=7).facts()
    assert order.n == 120
    assert order.same == int((y[1:] == y[:-1]).sum())
    shuffled = [int((p[1:] == p[:-1]).sum()) for p in (y[torch.randperm(120, generator=seeded(s))] for s in range(400))]
    assert order.expected == pytest.approx(np.mean(shuffled), rel=0.02)


def test_correlation_of_numbers_is_that_of_numpy() -> None:
    y = torch.cumsum(torch.randn(500, generator=seeded(0)), 0) + 1e4
    order = fed(LabelOrder(), y[:, None], y, size=33).facts()
    assert order.correlation == pytest.approx(np.corrcoef(y[1:], y[:-1])[0, 1], abs=0.02)
    assert order.same is None


def test_targets_that_only_rise_or_only_fall_are_told_from_those_that_wander() -> None:
    y = torch.randn(300, generator=seeded(0))
    y[:100] = y[0]  # the same target over and over goes nowhere
    told = {name: fed(LabelOrder(), v[:, None], v, size=33).facts() for name, v in orders(y).items()}
    assert told["rising"].one_way == told["falling"].one_way == 1.0
    assert 0.5 <= told["shuffled"].one_way < 0.6
    wander = torch.cumsum(y, 0)
    assert fed(LabelOrder(), wander[:, None], wander, size=33).facts().one_way < 0.9


def test_columns_of_neighbours_are_correlated_as_numpy_correlates_them() -> None:
    x = torch.randn(400, 3, generator=seeded(0))
    x[:, 1] = torch.cumsum(x[:, 1], 0)
    x[:, 2] = 7.0
    probe = InputOrder()
    for i in range(0, 400, 33):
        probe.update(x[i : i + 33])
    expected = np.corrcoef(x[:-1, 1].numpy(), x[1:, 1].numpy())[0, 1]
    assert probe.correlation() == pytest.approx(expected, abs=0.02)
    assert InputOrder().correlation() is None


@pytest.mark.parametrize("form", ["shuffled", "constant", "tokens", "one number"])
def test_inputs_without_an_order_have_none(form: str) -> None:
    probe = InputOrder()
    for i in range(12):
        x = torch.randn(32, 5, generator=seeded(i))
        made = {
            "shuffled": x,
            "constant": x * 0 + 1,
            "tokens": torch.arange(640).reshape(32, 20),
            "one number": x[:, 0],
        }
        probe.update(made[form])
    found = probe.correlation()
    assert found is None if form != "shuffled" else abs(found or 1.0) < 0.2


def orders(y: Tensor) -> dict[str, Tensor]:
    rising = y.sort().values
    return {"rising": rising, "falling": rising.flip(0), "shuffled": y[torch.randperm(len(y), generator=seeded(1))]}


def numbered(y: Tensor, order: Tensor | None = None) -> Report:
    """A line through one column of three that fits well, with targets in this order."""
    x = torch.stack([y, torch.randn(len(y)), torch.randn(len(y))], 1)
    model = nn.Linear(3, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 0.0, 0.0]]))
        model.bias.zero_()
    table = TensorDataset(x, y[:, None])
    rows = table if order is None else Subset(table, order.tolist())
    options = Options(trial_budget=0.0, pictures=0)
    given = DataLoader(table, 32, shuffle=True, generator=seeded(0))
    return examine(model, given, train_data=DataLoader(rows, 32), loss=nn.MSELoss(), options=options)


def test_a_table_sorted_by_its_target_is_told_even_where_the_model_works_and_a_series_is_not() -> None:
    y = torch.randn(400, generator=seeded(0))
    assert [f.severity for f in rows(numbered(y, y.argsort(descending=True)), "d-order")] == [Severity.WARNING]
    assert not rows(numbered(y), "d-order")
    series = torch.cumsum(y, 0) / 10
    assert [f.severity for f in rows(numbered(series), "d-order")] == [Severity.INFO]


def test_padding_is_what_runs_to_the_end() -> None:
    x = torch.tensor([[5, 0, 3, 0], [4, 0, 0, 0], [1, 2, 3, 4]])
    count = PaddingCount()
    count.update(x)
    facts = count.facts()
    assert facts is not None
    assert (facts.token, facts.share) == (0, 4 / 12)
    tables = PaddingCount()
    tables.update(torch.zeros(3, 4))
    assert tables.facts() is None


def test_neighbours_against_a_reference() -> None:
    neighbors = pytest.importorskip("sklearn.neighbors")
    x, y = clusters(200)
    signal = fed(SignalSample(), x, y).facts()
    z = ((x - x.mean(0)) / x.std(0)).numpy()
    found = neighbors.NearestNeighbors(n_neighbors=6).fit(z).kneighbors(z, return_distance=False)[:, 1:]
    assert signal.score == pytest.approx(float((y.numpy()[found] == y.numpy()[:, None]).mean()), abs=1e-9)
    assert signal.null_mean == pytest.approx(float((y.bincount() / 200).square().sum()), abs=0.02)
    assert signal.z > 20


@pytest.mark.parametrize("seed", range(8))
def test_labels_without_meaning_have_no_signal(seed: int) -> None:
    x, y = clusters(200, seed)
    order = torch.randperm(200, generator=seeded(seed))
    assert abs(fed(SignalSample(), x, y[order]).facts().z) < 4
    numbers = x[:, 0] + x[:, 1]
    assert fed(SignalSample(), x, numbers).facts().z > 5
    assert abs(fed(SignalSample(), x, numbers[order]).facts().z) < 4


@pytest.mark.parametrize("kinds", [1, 3])
def test_inputs_with_several_targets_are_counted_by_kind(kinds: int) -> None:
    probe = Fingerprints()
    x, y = torch.randn(1000, 9, generator=seeded(0)), torch.arange(1000) % 7
    for k in range(kinds):
        x[k:30:kinds] = float(k)
    probe.update(Batch((x,), {}, y))
    copies = probe.facts()
    assert copies is not None
    assert (copies.conflicting, copies.conflicting_inputs) == (30, kinds)


def test_amounts_in_whole_units_are_numbers_and_grades_are_classes() -> None:
    x, y = clusters(200)
    prices = (x[:, 0] * 40_000).round() + 250_000
    signal = fed(SignalSample(), x, prices).facts()
    assert signal.kind == "numbers"
    assert signal.z > 5
    assert fed(SignalSample(), x, (x[:, 0].clamp(-2, 2)).round()).facts().kind == "classes"
    assert fed(SignalSample(), x, y.float()).facts().kind == "classes"
    assert fed(SignalSample(), x, torch.arange(200)).facts().kind == "classes"  # whole numbers by their type are labels


def test_label_extremes_leave_out_what_losses_ignore() -> None:
    probe = DatasetProbe(nn.Linear(1, 1))
    probe.update(Batch((torch.zeros(4, 1),), {}, torch.tensor([-100, 3, 1, 7])))
    facts = probe.facts()
    assert (facts.label_min, facts.label_max, facts.target_classes) == (1, 7, 3)


# -------------------------------------------------------------------------------------------------------- rules


class Given:
    """Training data, validation data and a model that fits them, to be spoilt one by one."""

    def __init__(self, seed: int = 0, n: int = 480, k: int = 3) -> None:
        self.x, self.y = clusters(n, seed, k)
        self.vx, self.vy = clusters(240, seed + 500, k)
        self.k, self.shuffle, self.epochs = k, True, 5

    def report(self, model: nn.Module | None = None, loss: Any = None) -> Report:
        torch.manual_seed(0)
        model = model or nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, self.k))
        loss = loss or nn.CrossEntropyLoss()
        train = DataLoader(TensorDataset(self.x, self.y), 32, shuffle=self.shuffle, generator=seeded(0))
        val = DataLoader(TensorDataset(self.vx, self.vy), 64)
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        history = reportgen.fit(model, train, val, loss=loss, optimizer=optimizer, epochs=self.epochs, progress=False)
        return reportgen.examine(model, val, train_data=train, loss=loss, history=history)


def rows(report: Report, rule: str) -> list[Finding]:
    return [f for f in report.findings if f.rule == rule]


def serious(report: Report) -> set[str]:
    return {d.cause for d in report.diagnoses if d.severity is not Severity.INFO}


@pytest.mark.parametrize("seed", range(3))
def test_clean_data_raise_nothing(seed: int) -> None:
    report = Given(seed).report()
    assert serious(report) == set()
    assert not [f for f in report.findings if f.rule.startswith("d-") or f.rule == "leakage"]
    shown = section.section(report)
    assert shown is not None
    assert "samples" in {getattr(b, "id", "") for b in shown.blocks}


def leak(g: Given) -> None:
    g.x = torch.cat([g.x, g.vx[:60]])
    g.y = torch.cat([g.y, g.vy[:60]])


def shuffled_labels(g: Given) -> None:
    g.y = g.y[torch.randperm(len(g.y), generator=seeded(5))]
    g.epochs = 60


def renumbered(g: Given) -> None:
    g.vy = (g.vy + 1) % g.k


def rescaled(g: Given) -> None:
    g.vx = g.vx * 0.3 + 4


def unseen(g: Given) -> None:
    keep = g.y != 2
    g.x, g.y = g.x[keep], g.y[keep]


def ordered(g: Given) -> None:
    order = g.y.argsort()
    g.x, g.y, g.shuffle = g.x[order], g.y[order], False


def noisy(g: Given) -> None:
    wrong = torch.rand(len(g.y), generator=seeded(3)) < 0.4
    g.y = torch.where(wrong, torch.randint(g.k, g.y.shape, generator=seeded(4)), g.y)
    g.epochs = 3


def conflicting(g: Given) -> None:
    g.x = torch.cat([g.x, g.x[:24]])
    g.y = torch.cat([g.y, (g.y[:24] + 1) % g.k])


SPOILT: dict[Callable[[Given], None], tuple[str, str]] = {
    leak: ("leakage", "data-leakage"),
    shuffled_labels: ("d-labels-unrelated", "label-corruption"),
    renumbered: ("d-label-mapping", "label-corruption"),
    rescaled: ("d-train-val-shift", "train-val-mismatch"),
    unseen: ("d-missing-class", "train-val-mismatch"),
    ordered: ("d-order", "unshuffled-data"),
    noisy: ("d-label-noise", "label-noise"),
    conflicting: ("d-conflicting-labels", "label-noise"),
}


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda f: f.__name__)
def test_spoilt_data_are_named(spoil: Callable[[Given], None]) -> None:
    rule, cause = SPOILT[spoil]
    given = Given(n=960 if spoil is noisy else 480)
    if spoil is noisy:
        given.vx, given.vy = clusters(700, 500)
    spoil(given)
    report = given.report()
    assert [f for f in rows(report, rule) if f.severity is not Severity.INFO]
    assert cause in serious(report)


def test_an_unshuffled_loader_over_shuffled_data_is_fine() -> None:
    given = Given()
    given.shuffle = False
    assert not rows(given.report(), "d-order")


def test_few_possible_inputs_repeat_by_nature() -> None:
    given = Given()
    x = torch.randint(2, (480, 10), generator=seeded(0))[:, :4].repeat(1, 3)[:, :10].float()
    given.x, given.y = x, x[:, 0].long()
    given.vx, given.vy = x[:240], x[:240, 0].long()
    report = given.report()
    assert {f.severity for f in rows(report, "leakage")} == {Severity.INFO}
    assert serious(report) == set()


def test_one_row_in_both_splits_is_no_leak() -> None:
    given = Given()
    given.x[0] = given.vx[0]
    assert {f.severity for f in rows(given.report(), "leakage")} <= {Severity.INFO}


def balanced(shift: float, *, yes_or_no: bool = False) -> Report:
    """Rare cases are a twentieth of the data, and half of what a sampler draws; two columns go with the class."""

    def drawn(n: int, share: float, seed: int) -> tuple[Tensor, Tensor]:
        y = (torch.rand(n, generator=seeded(seed)) < share).long()
        x = torch.randn(n, 6, generator=seeded(seed + 1))
        x[:, :2] += 1.4 * y[:, None]
        return x, y

    (x, y), (vx, vy) = drawn(1200, 0.5, 0), drawn(600, 0.05, 10)
    vx[:, 4] += shift
    model, loss = nn.Sequential(nn.Linear(6, 1 if yes_or_no else 2)), nn.CrossEntropyLoss()
    options = Options(trial_budget=0.0, pictures=0)
    if yes_or_no:
        y, vy, loss = y.float()[:, None], vy.float()[:, None], nn.BCEWithLogitsLoss()
    loaders = [DataLoader(TensorDataset(*pair), 50) for pair in ((vx, vy), (x, y))]
    return examine(model, loaders[0], train_data=loaders[1], loss=loss, options=options)


@pytest.mark.parametrize("yes_or_no", [False, True])
@pytest.mark.parametrize(("shift", "told"), [(0.0, False), (4.0, True)])
def test_features_that_go_with_a_class_move_with_its_share(shift: float, told: bool, yes_or_no: bool) -> None:
    report = balanced(shift, yes_or_no=yes_or_no)
    found = rows(report, "d-train-val-shift")
    assert bool(found) is told
    assert all(f.subject == "input 4" for f in found)
    assert [f.detail["kind"] for f in rows(report, "d-target-shift")] == ["classes"]


@pytest.mark.parametrize("seed", range(6))
def test_columns_that_are_nearly_always_zero_do_not_shift(seed: int) -> None:
    given = Given(seed)
    for x, s in ((given.x, seed), (given.vx, seed + 50)):
        rare = torch.rand(x.shape, generator=seeded(s)) < 0.004
        x[:, 5:] = torch.where(rare, torch.rand(x.shape, generator=seeded(s + 1)) - 0.8, -0.8)[:, 5:]
    given.epochs = 1
    assert not rows(given.report(), "d-train-val-shift")


def test_imbalance_warns_only_where_a_class_is_lost() -> None:
    given = Given(k=2)
    rare = (given.y == 1).nonzero().flatten()[20:]
    keep = torch.ones(len(given.y), dtype=torch.bool)
    keep[rare] = False
    given.x, given.y = given.x[keep], given.y[keep]
    learned = given.report()
    assert {f.severity for f in rows(learned, "d-class-imbalance")} == {Severity.INFO}
    blind = nn.Sequential(nn.Linear(10, 2))
    with torch.no_grad():
        blind[0].bias.copy_(torch.tensor([30.0, -30.0]))  # type: ignore[operator]
    given.epochs = 1
    lost = given.report(blind)
    assert {f.severity for f in rows(lost, "d-class-imbalance")} == {Severity.WARNING}


def test_one_class_is_an_error_in_training() -> None:
    given = Given()
    given.y = torch.zeros_like(given.y)
    report = given.report()
    assert {f.severity for f in rows(report, "d-label-constant")} == {Severity.ERROR}
    assert "label-corruption" in serious(report)


def test_targets_far_off_warn_only_where_nothing_was_learned() -> None:
    given = Given()
    given.y = (given.x[:, :1] * 1e4) + 1e6
    given.vy = (given.vx[:, :1] * 1e4) + 1e6
    given.epochs = 2
    report = given.report(nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 1)), nn.MSELoss())
    assert {f.severity for f in rows(report, "d-target-scale")} == {Severity.WARNING}
    assert "unscaled-target" in serious(report)
    given.y, given.vy = given.x[:, :1], given.vx[:, :1]
    assert not rows(given.report(nn.Linear(10, 1), nn.MSELoss()), "d-target-scale")


def test_constant_columns_and_copies_inform() -> None:
    given = Given()
    given.x = torch.cat([given.x[:400], given.x[:80]])
    given.y = torch.cat([given.y[:400], given.y[:80]])
    given.x[:, 3], given.vx[:, 3] = 1.0, 1.0
    report = given.report()
    assert {f.severity for rule in ("d-duplicates", "d-constant-feature") for f in rows(report, rule)} == {
        Severity.INFO
    }
    assert serious(report) == set()


def test_labels_beyond_the_outputs_are_an_error() -> None:
    x, y = clusters(60)
    report = reportgen.examine(nn.Linear(10, 3), [(x, y + 1)])
    (finding,) = rows(report, "d-label-range")
    assert (finding.severity, finding.evidence["max"], finding.evidence["classes"]) == (Severity.ERROR, 3, 3)


@pytest.mark.parametrize(
    ("given", "steps", "told"),
    [
        (1, 40, False),  # a cross-entropy would have refused the training labels: these are thresholds of grades
        (1, 0, True),
        (0, 40, True),  # those of the data given alone
    ],
)
def test_labels_that_a_run_has_learned_from(given: int, steps: int, told: bool) -> None:
    x, y = clusters(60)
    run = History(series=[], epochs=1, steps=steps)
    options = reportgen.Options(trial_budget=0, pictures=0)
    report = reportgen.examine(
        nn.Linear(10, 3), [(x, y + 1)], train_data=[(x, y + given)], history=run, options=options
    )
    assert bool(rows(report, "d-label-range")) == told


def test_renaming_is_the_best_one() -> None:
    assert _renamed([[0, 9, 1], [1, 0, 9], [10, 0, 0]]) == 28 / 30
    rng = np.random.default_rng(0)
    for _ in range(20):  # a guess gains little by renaming
        guess = rng.multinomial(20, [0.1] * 10, size=10).tolist()
        assert _renamed(guess) < 0.35


def pairs(n: int) -> Iterable[tuple[DatasetProbe, DatasetProbe]]:
    for seed in range(n):
        yield (
            fed(DatasetProbe(nn.Linear(1, 1)), *clusters(150, seed, spread=2.5)),
            fed(DatasetProbe(nn.Linear(1, 1)), *clusters(150, seed + 7000, spread=2.5)),
        )


def test_two_draws_of_one_source_are_never_apart() -> None:
    """The differences that rules judge, over many draws of hard data: far inside their thresholds."""
    for train, given in pairs(25):
        splits = compare(train, given)
        assert splits.training_signal is not None
        assert splits.given_signal is not None
        assert splits.across is not None
        assert splits.shared == 0
        ours, theirs = splits.training_signal, splits.given_signal
        error = math.sqrt(sum(s.score * (1 - s.score) / s.n for s in (ours, theirs)))
        assert abs(ours.score - theirs.score) < 3.5 * error  # the rule wants six
        assert min(ours.z, theirs.z) > 3
