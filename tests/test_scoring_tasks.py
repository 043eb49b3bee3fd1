"""Numbers, sequences, maps, examples and slices, against scikit-learn or a hand formula."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn import metrics
from torch import Tensor
from torch.nn import functional as F

from reportgen.document.evaluation import EvaluationFacts, Score
from reportgen.document.scores import wilson
from reportgen.probe.evaluation import EvaluationProbe
from reportgen.probe.scoring.answers import shuffled
from reportgen.probe.scoring.numbers import NumberScores
from reportgen.probe.scoring.regions import RegionScores
from reportgen.probe.scoring.sequences import SequenceScores
from reportgen.probe.scoring.slices import values_of
from reportgen.subject.data import Batch


def by_name(scores: list[Score]) -> dict[str, Score]:
    return {score.name: score for score in scores}


def numbers(p: Tensor, y: Tensor, size: int = 33) -> NumberScores:
    scores, start = NumberScores(p[0].numel() if p.dim() == 2 else 1), 0
    for a, b in zip(p.split(size), y.split(size), strict=True):
        scores.update(a, b, start + torch.arange(len(a)))
        start += len(a)
    return scores


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_scores_of_numbers_are_those_of_scikit_learn(offset: float) -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(3, 2, 500) + offset
    p = y + rng.normal(0.2, 0.5, 500) * (1 + abs(y - offset)) / 4
    scores = numbers(torch.tensor(p)[:, None], torch.tensor(y)[:, None])
    found, facts = by_name(scores.scores()), scores.regression()
    assert facts is not None
    assert found["r2"].value == pytest.approx(metrics.r2_score(y, p), rel=1e-6)
    assert found["mae"].value == pytest.approx(metrics.mean_absolute_error(y, p), rel=1e-9)
    assert found["rmse"].value == pytest.approx(metrics.root_mean_squared_error(y, p), rel=1e-9)
    assert found["rmse"].baseline == pytest.approx(y.std(), rel=1e-6)
    assert found["mae"].baseline == pytest.approx(abs(y - np.median(y)).mean(), rel=5e-3)
    rows = np.array_split(np.argsort(y), 10)
    assert [d.mae for d in facts.deciles] == pytest.approx([abs(p - y)[r].mean() for r in rows], rel=1e-6)
    assert [d.bias for d in facts.deciles] == pytest.approx([(p - y)[r].mean() for r in rows], abs=1e-6)
    assert facts.spread_correlation == pytest.approx(spearmanr(abs(p - y), p).statistic, abs=1e-6)


def test_intervals_of_numbers_are_those_of_resampling() -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(0, 1, 400)
    p = 0.7 * y + rng.standard_t(6, 400) * 0.5
    found = by_name(numbers(torch.tensor(p)[:, None], torch.tensor(y)[:, None]).scores())
    drawn = [rng.integers(0, 400, 400) for _ in range(600)]
    for name, figure in (
        ("r2", metrics.r2_score),
        ("mae", metrics.mean_absolute_error),
        ("rmse", metrics.root_mean_squared_error),
    ):
        wanted = np.std([figure(y[i], p[i]) for i in drawn])
        score = found[name]
        assert score.low is not None
        assert score.high is not None
        assert (score.high - score.low) / 3.92 == pytest.approx(wanted, rel=0.12)


def test_several_targets_are_scored_one_by_one() -> None:
    rng = np.random.default_rng(2)
    y = rng.normal(0, [1, 1000, 1], (200, 3))
    y[:, 2] = 4.0
    p = y + rng.normal(0, [0.5, 100, 0.1], (200, 3))
    facts = numbers(torch.tensor(p), torch.tensor(y)).regression()
    assert facts is not None
    wanted = metrics.r2_score(y[:, :2], p[:, :2], multioutput="raw_values")
    assert [t.r2 for t in facts.targets[:2]] == pytest.approx(wanted)
    assert facts.targets[2].r2 is None  # a target that does not vary has none
    assert facts.r2 == pytest.approx(wanted.mean())
    rmse = metrics.root_mean_squared_error(y, p, multioutput="raw_values")
    assert [t.rmse for t in facts.targets] == pytest.approx(rmse)
    assert [t.std for t in facts.targets] == pytest.approx(y.std(0), abs=1e-6)


def test_more_targets_than_are_told_apart_are_scored_as_one() -> None:
    rng = np.random.default_rng(5)
    y = rng.normal(0, 1, (60, 80))
    p = y + rng.normal(0, 0.5, (60, 80))
    facts = numbers(torch.tensor(p), torch.tensor(y), 16).regression()
    assert facts is not None
    assert facts.targets == []
    assert facts.r2 == pytest.approx(metrics.r2_score(y.reshape(-1), p.reshape(-1)))
    assert facts.mae == pytest.approx(abs(p - y).mean())


def test_parts_whose_targets_lie_far_apart_merge_to_the_whole() -> None:
    rng = np.random.default_rng(6)
    y = np.concatenate([rng.normal(0, 1, 200), rng.normal(50, 3, 100)])
    p = y + rng.normal(0, 1, 300)
    y[0], y[-1] = math.nan, math.nan
    both = [torch.tensor(v)[:, None] for v in (p, y)]
    one, other = (NumberScores(1) for _ in range(2))
    one.update(both[0][:200], both[1][:200], torch.arange(200))
    other.update(both[0][200:], both[1][200:], torch.arange(200, 300))
    one.merge(other)
    whole = numbers(*both, size=300)
    assert one.ignored == whole.ignored == 2
    for found, wanted in zip(one.scores(), whole.scores(), strict=True):
        assert (found.name, found.value) == (wanted.name, pytest.approx(wanted.value))
        assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), rel=1e-6)


def test_numbers_that_are_not_finite_are_left_out() -> None:
    p, y = torch.tensor([[1.0], [math.nan], [3.0], [4.0]]), torch.tensor([[1.0], [2.0], [math.inf], [5.0]])
    scores = numbers(p, y)
    facts = scores.regression()
    assert scores.ignored == 2
    assert facts is not None
    assert facts.mae == 0.5
    assert numbers(p[1:2], y[1:2]).regression() is None


def sequences(z: Tensor, y: Tensor, size: int = 3, ignore: int = -100, *, shifted: bool = False) -> SequenceScores:
    scores = SequenceScores(z.shape[2], ignore, shifted=shifted)
    for a, b in zip(z.split(size), y.split(size), strict=True):
        scores.update(a, b)
    return scores


def test_perplexity_is_the_exponential_of_the_cross_entropy_over_legal_tokens() -> None:
    generator = torch.Generator().manual_seed(3)
    z, y = torch.randn(10, 7, 11, generator=generator), torch.randint(11, (10, 7), generator=generator)
    y[:, 5:], y[0, 0] = -100, 99
    scores = sequences(z, y)
    legal = (y >= 0) & (y < 11)
    wanted = float(F.cross_entropy(z[legal].double(), y[legal]))
    found, facts = by_name(scores.scores()), scores.tokens_facts()
    assert facts is not None
    assert found["perplexity"].value == pytest.approx(math.exp(wanted), rel=1e-6)
    assert found["accuracy"].value == pytest.approx(metrics.accuracy_score(y[legal], z[legal].argmax(1)))
    top = metrics.top_k_accuracy_score(y[legal], z[legal], k=5, labels=range(11))
    assert found["top_5_accuracy"].value == pytest.approx(top)
    frequency = np.bincount(y[legal]) / int(legal.sum())
    assert found["nll"].baseline == pytest.approx(-float((frequency * np.log(frequency + 1e-300)).sum()))
    assert (facts.n_tokens, facts.n_ignored) == (49, 21)
    loss = F.cross_entropy(z.transpose(1, 2), y.where(legal, -100), reduction="none")
    by_place = {place: (n, mean) for place, n, mean in facts.by_position}
    assert by_place[0] == (9, pytest.approx(float(loss[1:, 0].mean()), rel=1e-5))
    assert by_place[2] == (20, pytest.approx(float(loss[:, 2:4].mean()), rel=1e-5))
    assert by_place[4] == (10, pytest.approx(float(loss[:, 4].mean()), rel=1e-5))


def test_the_interval_knows_that_tokens_of_a_sequence_belong_together() -> None:
    """Sequences that are right or wrong as a whole: the interval is that of so many sequences, not tokens."""
    y = torch.zeros(40, 25, dtype=torch.long)
    right = torch.arange(40) % 4 > 0
    z = torch.zeros(40, 25, 2)
    z[:, :, 0] = torch.where(right, 4.0, -4.0)[:, None]
    found = by_name(sequences(z, y).scores())["accuracy"]
    assert found.value == 0.75
    assert found.low is not None
    assert 0.75 - found.low == pytest.approx(1.96 * math.sqrt(0.75 * 0.25 / 39), rel=0.01)


def test_a_padding_class_that_the_loss_ignores_is_ignored() -> None:
    z, y = torch.randn(4, 5, 3), torch.randint(1, 3, (4, 5))
    y[:, 3:] = 0
    probe = EvaluationProbe(torch.nn.CrossEntropyLoss(ignore_index=0), "tokens")
    probe.update(z.transpose(1, 2), Batch((y,), {}, y))
    facts = probe.facts()
    assert facts is not None
    assert facts.tokens is not None
    assert facts.tokens.n_tokens == 12
    assert facts.loss == pytest.approx(facts.tokens.nll, rel=1e-5)


def test_a_language_model_is_held_against_the_next_token() -> None:
    y = torch.randint(9, (6, 12), generator=torch.Generator().manual_seed(4))
    ahead = 5.0 * F.one_hot(torch.cat([y[:, 1:], y[:, :1]], 1), 9).float()
    copied = 5.0 * F.one_hot(y, 9).float()
    for z, shifted in ((ahead, True), (copied, False)):
        probe = EvaluationProbe(None)
        probe.update({"logits": z}, Batch((y,), {}, y))
        facts = probe.facts()
        assert facts is not None
        assert facts.tokens is not None
        assert facts.tokens.shifted is shifted
        assert facts.tokens.n_tokens == (66 if shifted else 72)
        accuracy = facts.score("accuracy")
        assert accuracy is not None
        assert accuracy.value == 1.0


def regions(z: Tensor, y: Tensor, size: int = 4) -> RegionScores:
    scores, start = RegionScores(z.shape[1], None, -100), 0
    for a, b in zip(z.split(size), y.split(size), strict=True):
        scores.update(a, b, start + torch.arange(len(a)))
        start += len(a)
    return scores


def test_overlap_is_that_of_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(5)
    y = torch.randint(3, (20, 6, 6), generator=generator)
    z = torch.randn(20, 4, 6, 6, generator=generator) + F.one_hot(y, 4).permute(0, 3, 1, 2)
    z[:, 3] = -9.0  # a class that occurs nowhere
    y[0, 0] = -100
    scores = regions(z, y)
    legal = y >= 0
    truth, named = y[legal], z.argmax(1)[legal]
    wanted = metrics.jaccard_score(truth, named, average=None, labels=[0, 1, 2])
    rows = scores.regions()
    assert [row.iou for row in rows[:3]] == pytest.approx(wanted)
    assert rows[3].iou is None
    found = by_name(scores.scores())
    assert found["mean_iou"].value == pytest.approx(wanted.mean())
    assert found["mean_dice"].value == pytest.approx(metrics.f1_score(truth, named, average="macro"))
    assert found["pixel_accuracy"].value == pytest.approx(metrics.accuracy_score(truth, named))
    assert scores.mean_nll() == pytest.approx(float(F.cross_entropy(z, y, ignore_index=-100)), rel=1e-5)
    assert scores.ignored == 6


def test_intervals_of_overlap_are_those_of_resampling_images() -> None:
    rng = np.random.default_rng(6)
    generator = torch.Generator().manual_seed(6)
    y = torch.randint(2, (60, 5, 5), generator=generator)
    skill = torch.tensor(rng.normal(1.5, 1.5, 60), dtype=torch.float32)[:, None, None]
    z = (torch.randn(60, 5, 5, generator=generator) + skill * (2 * y - 1)).unsqueeze(1)
    score = by_name(regions(z, y).scores())["mean_iou"]
    assert score.low is not None
    assert score.high is not None
    named, values = (z[:, 0] > 0).long(), []
    for _ in range(300):
        i = rng.integers(0, 60, 60)
        values.append(metrics.jaccard_score(y[i].flatten(), named[i].flatten(), average="macro"))
    assert (score.high - score.low) / 3.92 == pytest.approx(np.std(values), rel=0.2)


@pytest.mark.parametrize("form", ["logits", "probabilities"])
def test_one_channel_is_yes_or_no_by_place(form: str) -> None:
    generator = torch.Generator().manual_seed(7)
    y = torch.randint(2, (8, 4, 4), generator=generator)
    z = torch.randn(8, 1, 4, 4, generator=generator) * 3
    rows = regions(z if form == "logits" else z.sigmoid(), y).regions()
    wanted = metrics.jaccard_score(y.flatten(), (z[:, 0] > 0).flatten(), average=None)
    assert [row.iou for row in rows] == pytest.approx(wanted)


def test_examples_are_the_highest_losses_and_the_surest_mistakes() -> None:
    generator = torch.Generator().manual_seed(8)
    z, y = torch.randn(300, 5, generator=generator) * 3, torch.randint(5, (300,), generator=generator)
    x = torch.randn(300, 3, generator=generator)
    probe = EvaluationProbe(None, None, [*"abcde"])
    for i in range(0, 300, 32):
        probe.update(z[i : i + 32], Batch((x[i : i + 32],), {}, y[i : i + 32]))
    facts = probe.facts()
    assert facts is not None
    loss = F.cross_entropy(z.double(), y, reduction="none")
    worst = [e for e in facts.examples if e.reason == "worst"]
    assert [e.index for e in worst] == loss.argsort(descending=True)[:6].tolist()
    assert worst[0].loss == pytest.approx(float(loss.max()))
    assert worst[0].row == pytest.approx(x[worst[0].index].tolist())
    assert worst[0].target == "abcde"[int(y[worst[0].index])]
    p, named = z.softmax(1).max(1)
    wrong = torch.where(named != y, p, 0.0)
    sure = [e for e in facts.examples if e.reason == "confident"]
    assert [e.index for e in sure] == wrong.argsort(descending=True)[:4].tolist()
    assert sure[0].prediction == "abcde"[int(named[sure[0].index])]
    typical = [e.index for e in facts.examples if e.reason == "typical"]
    assert typical == shuffled(torch.arange(300)).argsort()[:4].tolist()


def test_tokens_and_texts_of_an_example_are_kept() -> None:
    tokens, y = torch.arange(120).reshape(2, 60), torch.tensor([0, 1])
    probe = EvaluationProbe(None)
    probe.update(torch.randn(2, 2), Batch((tokens,), {}, y, carried={"text": ["how now", "brown cow"]}))
    facts = probe.facts()
    assert facts is not None
    first = next(e for e in facts.examples if e.index == 1)
    assert first.tokens == list(range(60, 108))
    assert first.text == "brown cow"


def test_slices_are_scored_with_their_intervals() -> None:
    y = torch.zeros(100, dtype=torch.long)
    site = ["a", "b"] * 50
    right = torch.tensor([i % 2 == 0 or i % 10 == 1 for i in range(100)])  # a: all, b: one in five
    z = torch.where(right[:, None], torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0]))
    length, unique = torch.arange(100) % 40, [f"id {i}" for i in range(100)]
    probe = EvaluationProbe(None)
    for i in range(0, 100, 30):
        part = slice(i, i + 30)
        carried = {"site": site[part], "length": length[part], "id": unique[part]}
        probe.update(z[part], Batch((z[part],), {}, y[part], carried=carried))
    facts = probe.facts()
    assert facts is not None
    assert facts.slice_score == "accuracy"
    sites = [s for s in facts.slices if s.key == "site"]
    assert [(s.value, s.n, s.score) for s in sites] == [("b", 50, 0.2), ("a", 50, 1.0)]
    assert (sites[0].low, sites[0].high) == wilson(10, 50)
    lengths = {s.value: s.n for s in facts.slices if s.key == "length"}
    assert lengths["16 … 32"] == 36  # numbers fall into octaves
    assert not [s for s in facts.slices if s.key == "id"]  # values of fewer than five samples are no groups


def test_numbers_are_grouped_by_octaves_with_fixed_ends() -> None:
    column = [0.0, 3.0, 4.0, -3.0, 0.3, 15, 16, -16, True, "a" * 80, 1e308, 10**400, math.nan, -math.inf, None]
    assert values_of(column, len(column)) == [
        "0",
        "2 … 4",
        "4 … 8",
        "-4 … -2",
        "0.25 … 0.5",
        "15",
        "16 … 32",
        "-32 … -16",
        "True",
        "a" * 60,
        *[None] * 4,
        "None",
    ]
    assert values_of([2**53 - 1], 1) == [f"{2.0**52:g} … {2.0**53:g}"]


def test_slices_of_numbers_are_compared_by_loss() -> None:
    p, y = torch.zeros(20, 1), torch.tensor([1.0] * 10 + [3.0, 5.0] * 5).unsqueeze(1)
    probe = EvaluationProbe(None, "regression")
    probe.update(p, Batch((p,), {}, y, carried={"day": torch.tensor([1] * 10 + [2] * 10)}))
    facts = probe.facts()
    assert facts is not None
    assert facts.slice_score == "loss"
    assert [(s.value, s.score) for s in facts.slices] == [("2", 17.0), ("1", 1.0)]
    assert facts.slices[0].high - 17 == pytest.approx(1.96 * 8 / 3, rel=1e-3)


def test_a_target_that_the_model_rules_out_leaves_a_report_that_can_be_read() -> None:
    z, y = torch.zeros(6, 4, 5), torch.ones(6, 4, dtype=torch.long)
    z[0, 0, 1] = -math.inf
    probe = EvaluationProbe(None)
    probe.update(z, Batch((torch.zeros(6, 2),), {}, y, carried={"site": ["a"] * 6}))
    facts = probe.facts()
    assert facts is not None
    assert facts.tokens is None
    assert [s.name for s in facts.scores] == ["accuracy"]
    assert msgspec.json.decode(msgspec.json.encode(facts), type=EvaluationFacts) == facts


def test_numbers_whose_powers_leave_float64_have_no_interval() -> None:
    y = torch.linspace(0, 1e100, 40, dtype=torch.float64)[:, None]
    probe = EvaluationProbe(None, "regression")
    probe.update(y * 1.1, Batch((y,), {}, y, carried={"site": ["a"] * 40}))
    facts = probe.facts()
    assert facts is not None
    found = by_name(facts.scores)
    assert found["mae"].value == pytest.approx(5e98)
    assert found["rmse"].low is None
    assert msgspec.json.decode(msgspec.json.encode(facts), type=EvaluationFacts) == facts


def test_a_perfect_regression_has_an_interval_of_no_width() -> None:
    y = torch.arange(20.0)[:, None]
    found = by_name(numbers(y, y).scores())
    assert (found["r2"].value, found["r2"].low, found["r2"].high) == (1.0, 1.0, 1.0)
    assert (found["mae"].low, found["mae"].high) == (0.0, 0.0)


def test_a_first_sample_that_looks_like_a_probability_is_read_as_the_rest() -> None:
    z = torch.tensor([[0.2], [0.9], [4.0], [-3.0]])
    y = torch.tensor([[1.0], [0.0], [1.0], [0.0]])
    probe = EvaluationProbe(None)
    for i in range(4):
        probe.update(z[i : i + 1], Batch((z[i : i + 1],), {}, y[i : i + 1], carried={"site": ["a"]}))
    facts = probe.facts()
    assert facts is not None
    worst = [e for e in facts.examples if e.reason == "worst"]
    wanted = F.binary_cross_entropy_with_logits(z, y, reduction="none").flatten()
    assert {e.index: e.loss for e in worst} == pytest.approx(dict(enumerate(wanted.tolist())), rel=1e-6)
    assert next(e for e in worst if e.index == 0).prediction == "1"  # 0.2 is below a half, and above 0
