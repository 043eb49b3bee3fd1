"""Classes and yes-or-no answers, against scikit-learn on the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn import metrics
from torch import Tensor
from torch.nn import functional as F

from reportgen.document.evaluation import Score
from reportgen.probe.scoring.classes import ClassScores
from reportgen.probe.scoring.intervals import of_confusion
from reportgen.probe.scoring.separation import Separation
from reportgen.probe.scoring.yesno import YesNoScores


def by_name(scores: list[Score]) -> dict[str, Score]:
    return {score.name: score for score in scores}


def data(n: int, k: int, skill: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(k, (n,), generator=generator)
    return torch.randn(n, k, generator=generator) + skill * F.one_hot(y, k), y


def classes(z: Tensor, y: Tensor, size: int = 37, ignore: int = -100) -> ClassScores:
    scores = ClassScores(z.shape[1], None, ignore)
    for a, b in zip(z.split(size), y.split(size), strict=True):
        scores.update(a, b)
    return scores


def yes_no(z: Tensor, y: Tensor, size: int = 37) -> YesNoScores:
    scores = YesNoScores(z.shape[1], None)
    for a, b in zip(z.split(size), y.split(size), strict=True):
        scores.update(a, b)
    return scores


@pytest.mark.parametrize("k", [2, 3, 10])
def test_scores_of_classes_are_those_of_scikit_learn(k: int) -> None:
    z, y = data(500, k)
    scores = classes(z, y)
    found, named, p = by_name(scores.scores()), z.argmax(1), z.double().softmax(1).numpy()
    table = scores.classification()
    assert table is not None
    assert table.confusion == metrics.confusion_matrix(y, named).tolist()
    assert found["accuracy"].value == metrics.accuracy_score(y, named)
    assert found["accuracy"].baseline == np.bincount(y).max() / len(y)
    assert found["balanced_accuracy"].value == pytest.approx(metrics.balanced_accuracy_score(y, named))
    assert found["mcc"].value == pytest.approx(metrics.matthews_corrcoef(y, named))
    assert found["macro_f1"].value == pytest.approx(metrics.f1_score(y, named, average="macro"))
    constant = np.full(len(y), np.bincount(y).argmax())
    assert found["macro_f1"].baseline == pytest.approx(metrics.f1_score(y, constant, average="macro"))
    if k == 2:
        assert found["roc_auc"].value == pytest.approx(metrics.roc_auc_score(y, p[:, 1]), abs=1e-4)
        assert found["average_precision"].value == pytest.approx(metrics.average_precision_score(y, p[:, 1]), abs=2e-3)
    else:
        wanted = metrics.roc_auc_score(y, p, multi_class="ovr", average="macro")
        assert found["macro_roc_auc"].value == pytest.approx(wanted, abs=1e-4)
    if k > 5:
        assert found["top_5_accuracy"].value == metrics.top_k_accuracy_score(y, p, k=5)


def test_calibration_is_that_of_scikit_learn_and_of_a_hand_formula() -> None:
    z, y = data(700, 4)
    facts = classes(z, y).calibration()
    p = z.double().softmax(1)
    one_hot = F.one_hot(y, 4).double()
    assert facts is not None
    assert facts.nll == pytest.approx(metrics.log_loss(y, p), rel=1e-9)
    assert facts.brier == pytest.approx(float((p - one_hot).square().sum(1).mean()), rel=1e-9)
    frequency = one_hot.mean(0)
    assert facts.baseline_nll == pytest.approx(metrics.log_loss(y, frequency.expand(700, 4)), rel=1e-9)
    assert facts.baseline_brier == pytest.approx(float((frequency - one_hot).square().sum(1).mean()), rel=1e-9)
    # fifteen groups of about equal mass, of confidences in even bins of 1/1000
    confidence, right = p.amax(1), p.argmax(1) == y
    assert sum(n for n, _, _ in facts.bins) == 700
    assert 12 <= len(facts.bins) <= 17
    order, place, gaps = torch.argsort((confidence * 1000).long(), stable=True), 0, 0.0
    for n, total, hits in facts.bins:
        chosen = order[place : place + n]
        assert total == pytest.approx(float(confidence[chosen].sum()))
        assert hits == int(right[chosen].sum())
        gaps += abs(float(confidence[chosen].sum()) - hits)
        place += n
    assert facts.ece == pytest.approx(gaps / 700)


def test_the_error_of_a_perfect_calibration_is_what_simulation_gives() -> None:
    """The expected calibration error is above zero for perfectly calibrated answers: about 0.038 at 300 samples."""
    rng = np.random.default_rng(0)
    p = torch.tensor(rng.uniform(0.5, 1, 300))
    logits = torch.stack([torch.zeros(300, dtype=torch.float64), torch.logit(p)], 1)
    found, nulls, stds = [], [], []
    for _ in range(150):
        y = torch.tensor(rng.uniform(size=300)) < p
        facts = classes(logits, y.long(), size=300).calibration()
        assert facts is not None
        found.append(facts.ece)
        nulls.append(facts.ece_null)
        stds.append(facts.ece_null_std)
    assert np.mean(found) == pytest.approx(np.mean(nulls), rel=0.06)
    assert np.std(found) == pytest.approx(np.mean(stds), rel=0.25)


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_the_temperature_is_where_the_likelihood_is_highest(scale: float) -> None:
    generator = torch.Generator().manual_seed(1)
    true = 2 * torch.randn(3000, 5, generator=generator, dtype=torch.float64)
    y = torch.distributions.Categorical(logits=true).sample()
    facts = classes(scale * true, y).calibration()
    wanted = minimize_scalar(
        lambda t: float(F.cross_entropy(scale * true / np.exp(t), y)), bounds=(-4, 4), method="bounded"
    )
    assert facts is not None
    assert facts.temperature == pytest.approx(np.exp(wanted.x), rel=0.02)
    assert facts.temperature == pytest.approx(scale, rel=0.1)
    assert facts.temperature_nll == pytest.approx(wanted.fun, abs=1e-3)


@pytest.mark.parametrize("k", [2, 4])
def test_probabilities_are_told_from_logits_and_give_the_same(k: int) -> None:
    z, y = data(300, k)
    one, other = classes(z.double(), y), classes(z.double().softmax(1), y)
    assert one.as_probabilities is None
    assert other.as_probabilities is not None
    a, b = one.calibration(), other.calibration()
    assert a is not None
    assert b is not None
    assert b.nll == pytest.approx(a.nll, rel=1e-6)
    assert b.ece == pytest.approx(a.ece, rel=1e-6)
    assert b.temperature == pytest.approx(a.temperature, rel=1e-4)
    found, wanted = by_name(other.scores()), by_name(one.scores())
    assert found.keys() == wanted.keys()
    for name in found:
        assert found[name].value == pytest.approx(wanted[name].value, abs=1e-6)


def test_ignored_labels_and_rows_that_are_not_numbers_are_counted_and_left_out() -> None:
    z, y = data(200, 3)
    y[:20], y[20:30] = -100, 7
    z[30:35] = float("nan")
    scores = classes(z, y)
    keep = torch.arange(35, 200)
    assert scores.ignored == 35
    assert scores.n == 165
    assert by_name(scores.scores())["accuracy"].value == metrics.accuracy_score(y[keep], z[keep].argmax(1))
    named = classes(z, y, ignore=0)  # a loss may ignore a class of its own choice
    assert named.n == int((y[keep] != 0).sum())


def test_one_class_missing_and_one_class_alone() -> None:
    z, _ = data(90, 3)
    y = torch.arange(90) % 2
    found = by_name(classes(z, y).scores())
    assert found["balanced_accuracy"].value == pytest.approx(
        np.mean([metrics.recall_score(y, z.argmax(1), labels=[c], average=None)[0] for c in (0, 1)])
    )
    assert found["balanced_accuracy"].baseline == 0.5
    alone = by_name(classes(z, torch.zeros(90, dtype=torch.long)).scores())
    assert set(alone) == {"accuracy"}
    assert alone["accuracy"].baseline == 1.0
    empty = ClassScores(3, None, -100)
    assert empty.scores() == []
    assert empty.calibration() is None
    assert empty.classification() is None


def test_equal_scores_count_as_ties() -> None:
    z, y = torch.zeros(40, 1), torch.tensor([0, 1] * 20).unsqueeze(1)
    found = by_name(yes_no(z, y).scores())
    assert found["roc_auc"].value == 0.5
    assert found["average_precision"].value == metrics.average_precision_score(y, z)
    # of equal scores the class with the lowest index is named, as argmax has it
    top = by_name(classes(torch.zeros(12, 6), torch.arange(12) % 6).scores())
    assert top["accuracy"].value == pytest.approx(1 / 6)
    assert top["top_5_accuracy"].value == pytest.approx(5 / 6)


def test_many_classes_keep_no_matrix_and_their_accuracy() -> None:
    z, y = data(50, 5000)
    scores = classes(z, y)
    found, facts = by_name(scores.scores()), scores.calibration()
    assert facts is not None
    assert facts.temperature is None  # it would cost all scores again for each that is tried
    assert scores.classification() is None
    assert found["accuracy"].value == metrics.accuracy_score(y, z.argmax(1))
    assert "mcc" not in found


@pytest.mark.parametrize("form", ["logits", "probabilities"])
def test_yes_or_no_against_scikit_learn(form: str) -> None:
    generator = torch.Generator().manual_seed(2)
    y = (torch.rand(400, 1, generator=generator) < 0.2).long()
    z = (torch.randn(400, 1, generator=generator) + 2 * y - 1).double()
    p = z.sigmoid()
    scores = yes_no(z if form == "logits" else p, y)
    found, named = by_name(scores.scores()), p > 0.5
    assert found["accuracy"].value == metrics.accuracy_score(y, named)
    assert found["mcc"].value == pytest.approx(metrics.matthews_corrcoef(y[:, 0], named[:, 0]))
    assert found["roc_auc"].value == pytest.approx(metrics.roc_auc_score(y, p), abs=5e-4)  # some ties of bins
    assert found["average_precision"].value == pytest.approx(metrics.average_precision_score(y, p), abs=3e-3)
    assert found["average_precision"].baseline == pytest.approx(float(y.double().mean()))
    facts = scores.calibration()
    assert facts is not None
    assert facts.nll == pytest.approx(metrics.log_loss(y, p), rel=1e-6)
    assert facts.brier == pytest.approx(metrics.brier_score_loss(y, p), rel=1e-6)
    (curve,) = scores.curves()
    for threshold, tp, fp in curve.points + curve.sweep:
        called = p >= threshold - 1e-9
        assert tp == int((called & (y == 1)).sum())
        assert fp == int((called & (y == 0)).sum())
    assert curve.best is not None
    wanted = max(metrics.f1_score(y, p >= t, zero_division=0) for t in np.linspace(0.02, 0.98, 200))
    _, tp, fp = curve.best
    assert 2 * tp / (tp + fp + curve.positives) >= wanted - 1e-9
    assert [round(t, 2) for t, _, _ in curve.sweep] == [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95]


def test_the_interval_of_the_area_is_delongs_and_covers() -> None:
    """Against the placements of DeLong, DeLong and Clarke-Pearson by hand, and over repeated draws."""
    rng, covered = np.random.default_rng(5), 0
    for turn in range(200):
        y = np.repeat([0, 1], [60, 40])
        z = rng.normal(y * 1.0, 1)
        curve = yes_no(torch.tensor(z)[:, None], torch.tensor(y)[:, None], 100).curves()[0]
        covered += curve.auc_low <= 0.7602 <= curve.auc_high  # Phi(1 / sqrt 2)
        if not turn:
            wins = (z[y == 1][:, None] > z[y == 0][None]).astype(float)
            error = np.sqrt(wins.mean(1).var(ddof=1) / 40 + wins.mean(0).var(ddof=1) / 60)
            assert curve.auc_high - curve.auc == pytest.approx(1.96 * error, rel=0.01)
    assert 180 <= covered <= 199


def test_a_perfect_separation_is_not_certain() -> None:
    z = torch.cat([torch.full((8, 1), -3.0), torch.full((5, 1), 3.0)])
    (curve,) = yes_no(z, (z > 0).long()).curves()
    assert curve.auc == 1.0
    assert curve.auc_low == pytest.approx(0.5655, abs=1e-3)  # Wilson for five of five
    assert curve.auc_high == 1.0


def test_infinite_scores_and_certain_probabilities_stay_in_order() -> None:
    separation = Separation(1)
    x = torch.tensor([[-torch.inf], [-1e300], [0.0], [1e300], [torch.inf]], dtype=torch.float64)
    yes = torch.tensor([[False], [False], [True], [True], [True]])
    separation.update(x, yes, torch.ones(5, 1, dtype=torch.bool))
    curve = separation.curve(0, "yes")
    assert curve is not None
    assert curve.auc == 1.0


def test_several_labels_against_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(6)
    y = (torch.rand(300, 4, generator=generator) < torch.tensor([0.5, 0.3, 0.1, 0.0])).long()
    z = (torch.randn(300, 4, generator=generator) + 1.5 * y - 0.7).double()
    scores = yes_no(z, y)
    found, named = by_name(scores.scores()), (z > 0).long()
    assert found["exact_match"].value == metrics.accuracy_score(y, named)
    # the best constant answer is the set of labels that most samples have, here none
    sets, times = y.unique(dim=0, return_counts=True)
    constant = sets[times.argmax()].expand_as(y)
    assert found["exact_match"].baseline == pytest.approx(metrics.accuracy_score(y, constant))
    assert found["label_accuracy"].value == pytest.approx(1 - metrics.hamming_loss(y, named))
    assert found["macro_f1"].value == pytest.approx(metrics.f1_score(y, named, average="macro", zero_division=0))
    assert found["micro_f1"].value == pytest.approx(metrics.f1_score(y, named, average="micro"))
    # a label that never occurs has no curve
    wanted = metrics.roc_auc_score(y[:, :3], z[:, :3], average="macro")
    assert found["macro_roc_auc"].value == pytest.approx(wanted, abs=1e-4)
    wanted = metrics.average_precision_score(y[:, :3], z[:, :3], average="macro")
    assert found["mean_average_precision"].value == pytest.approx(wanted, abs=3e-3)
    assert found["mean_average_precision"].baseline == pytest.approx(float(y[:, :3].double().mean()))
    tables = metrics.multilabel_confusion_matrix(y, named)
    assert [[[row.tn, row.fp], [row.fn, row.tp]] for row in scores.labels()] == tables.tolist()


def test_sets_of_labels_are_counted_over_batches_and_given_up_where_they_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    y = torch.tensor([[1, 0], [1, 0], [0, 1], [1, 0], [1, 1]])
    whole, one, other = (yes_no(2.0 * part - 1, part) for part in (y, y[:2], y[2:]))
    one.merge(other)
    assert by_name(one.scores())["exact_match"].baseline == by_name(whole.scores())["exact_match"].baseline == 0.6
    monkeypatch.setattr("reportgen.probe.scoring.yesno._SETS", 2)
    assert by_name(yes_no(2.0 * y - 1, y).scores())["exact_match"].baseline is None


def test_labels_left_out_do_not_count() -> None:
    z, y = torch.tensor([[3.0, -3.0], [3.0, 3.0]]), torch.tensor([[1.0, -1.0], [float("nan"), 1.0]])
    scores = yes_no(z, y)
    assert scores.ignored == 2
    assert by_name(scores.scores())["exact_match"].value == 1.0
    assert [row.tp + row.fp + row.fn + row.tn for row in scores.labels()] == [1, 1]


def test_intervals_cover_what_they_say() -> None:
    """Draws from a known confusion matrix: about 95 in 100 intervals hold its true figures."""
    rng = np.random.default_rng(7)
    p = np.array([[0.35, 0.05, 0.1], [0.02, 0.18, 0.05], [0.05, 0.05, 0.15]])
    truth = [float(np.mean(np.diagonal(p) / p.sum(1)))]
    t, q = p.sum(1), p.sum(0)
    truth.append(float((np.trace(p) - t @ q) / np.sqrt((1 - q @ q) * (1 - t @ t))))
    covered = np.zeros(2)
    for _ in range(120):
        table = rng.multinomial(300, p.ravel()).reshape(3, 3)
        for i, score in enumerate(of_confusion(table)[:2]):
            assert score.low is not None
            assert score.high is not None
            covered[i] += score.low <= truth[i] <= score.high
    assert (covered >= 105).all()
    assert (covered < 120).all()


def test_without_a_mistake_the_interval_is_that_of_the_accuracy() -> None:
    scores = by_name(of_confusion(np.array([[5, 0], [0, 5]])))
    assert scores["mcc"].value == 1.0
    assert scores["mcc"].low == pytest.approx(0.7225, abs=1e-3)
