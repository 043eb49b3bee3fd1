"""The gradient against differences, and what the loss takes beside a sample's own output and target."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from msgspec import structs
from torch import Tensor, nn
from torch.nn import functional as F

from reportgen.document.facts import WeightFacts, WeightRow
from reportgen.document.history import OptimizerRun
from reportgen.page import words_checks
from reportgen.probe.trials import coupling, derivative, pairing
from reportgen.probe.trials import run as trials
from reportgen.probe.trials.lab import Clock, Lab, NotApplicableError
from reportgen.subject.data import Batch

from .test_rules_model import BAD, FLAT, GOOD, causes, report, run, severity, tried


def lab(model: nn.Module, x: Tensor, y: Tensor, loss: Any) -> Lab:
    return trials.laboratory(model, loss, (), [Batch((x,), {}, y)], [], Clock(60.0), 0)


class Loop(nn.Module):
    """A recurrence by hand; the state may be cut at every step."""

    def __init__(self, *, cut: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cell, self.head, self.cut = nn.GRUCell(2, 8), nn.Linear(8, 1), cut

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(len(x), 8)  # of the default type
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h.detach() if self.cut else h)
        return self.head(h)


def test_a_state_that_is_cut_at_every_step_is_found_by_differences() -> None:
    x, y = torch.randn(16, 6, 2), torch.randn(16, 1)
    whole = derivative.gradient_check(lab(Loop(cut=False), x, y, nn.MSELoss())).numbers
    cut = derivative.gradient_check(lab(Loop(cut=True), x, y, nn.MSELoss()))
    assert whole["off"] == 0 == whole["worst"]
    assert whole["checked"] >= 4
    assert cut.numbers["off"] >= 1
    assert cut.detail["where"].startswith("cell.")
    assert torch.get_default_dtype() is torch.float32
    for numbers, detail in ((whole, {}), (cut.numbers, cut.detail)):
        assert words_checks.OUTCOMES["gradient-check"](numbers, detail).endswith(".")


class Handed(torch.autograd.Function):
    """Hand numbers on, and gradients times a factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.factor * grads[0], None


class Adversarial(nn.Module):
    """Two heads, one of which features are not to serve (Ganin and Lempitsky 2015)."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head, self.other = nn.Linear(5, 8), nn.Linear(8, 1), nn.Linear(8, 1)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.body(x))
        handed: Tensor = Handed.apply(h, self.factor)
        return torch.cat([self.head(h), self.other(handed)], 1)


def test_gradients_that_are_turned_round_on_purpose_are_no_cut_path() -> None:
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(16, 5, generator=g), 3 * torch.randn(16, 2, generator=g)
    with pytest.raises(NotApplicableError, match="turns gradients round"):
        derivative.gradient_check(lab(Adversarial(-0.3), x, y, nn.MSELoss()))
    # a factor that is wrong, and not turned round, is what the differences are there for
    assert derivative.gradient_check(lab(Adversarial(0.1), x, y, nn.MSELoss())).numbers["off"] >= 1
    assert derivative.gradient_check(lab(Adversarial(1.0), x, y, nn.MSELoss())).numbers["off"] == 0


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 3)),
        nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, 3)),
        nn.Sequential(nn.Linear(5, 16), nn.LayerNorm(16), nn.SiLU(), nn.Linear(16, 3)),
    ],
)
def test_the_gradient_of_usual_layers_is_whole(model: nn.Module) -> None:
    y = torch.randint(0, 3, (16,))
    numbers = derivative.gradient_check(lab(model, torch.randn(16, 5), y, nn.CrossEntropyLoss())).numbers
    assert numbers["checked"] >= 2
    assert numbers["off"] == 0


def test_a_loss_that_hardly_moves_is_not_held_against_its_rounding() -> None:
    """Weights so small that what the first layers do is lost behind the last digit of the loss."""
    torch.manual_seed(0)
    widths = [8, 32, 32, 32, 32, 32, 32, 32]
    model = nn.Sequential(*[k for a, b in pairwise(widths) for k in (nn.Linear(a, b), nn.Tanh())], nn.Linear(32, 1))
    for p in model.parameters():
        nn.init.normal_(p, std=0.003)
    y = torch.randint(0, 2, (16, 1)).float()
    numbers = derivative.gradient_check(lab(model, torch.randn(16, 8), y, nn.BCEWithLogitsLoss())).numbers
    assert numbers["off"] == 0


def test_outputs_that_are_drawn_have_no_differences() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.calls = nn.Linear(5, 1), 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return self.fc(x) * self.calls

    with pytest.raises(NotApplicableError, match="two passes"):
        derivative.gradient_check(lab(Noisy(), torch.randn(8, 5), torch.randn(8, 1), nn.MSELoss()))


def _rmse(o: Tensor, t: Tensor) -> Tensor:
    return F.mse_loss(o, t).sqrt()


def _correlation(o: Tensor, t: Tensor) -> Tensor:
    return 1 - F.cosine_similarity(o - o.mean(0), t - t.mean(0), dim=0).mean()


def _two_sets(o: Tensor, t: Tensor) -> Tensor:
    """Energy distance: every output meets every target on purpose."""
    return 2 * torch.cdist(o, t).mean() - torch.cdist(o, o).mean()


PAIRED: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], bool]] = {
    "mse": (F.mse_loss, False),
    "huber": (F.smooth_l1_loss, False),
    "root": (_rmse, False),
    "correlation": (_correlation, False),
    "two sets": (_two_sets, False),
    "broadcast": (lambda o, t: (o - t[:, 0]).square().mean(), True),
    "broadcast huber": (lambda o, t: F.smooth_l1_loss(o.expand(len(o), len(o)), t[:, 0].expand(len(t), len(t))), True),
}


@pytest.mark.parametrize("name", PAIRED)
def test_a_loss_that_compares_all_with_all(name: str) -> None:
    loss, sick = PAIRED[name]
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    numbers = pairing.loss_of_pairs(lab(model, torch.randn(16, 4), torch.randn(16, 1), loss)).numbers
    told = report(BAD, trials=tried("loss-of-pairs", {"output": "N × 1", "target": "N"}, **numbers))
    assert severity(told, "loss-crossed") == ("error" if sick else None)
    assert ("loss-shape-broadcast" in causes(told)) is sick
    assert words_checks.OUTCOMES["loss-of-pairs"](numbers, {}).endswith(".")


def test_a_distance_of_two_sets_is_least_where_they_are_one() -> None:
    """With one half of the outputs held against the other no two that are asked about meet."""

    def distance(o: Tensor, t: Tensor) -> Tensor:
        half = len(t) // 2
        within = torch.cdist(o[:half], o[half:]).mean() + torch.cdist(t[:half], t[half:]).mean()
        return 2 * torch.cdist(o, t).mean() - within

    torch.manual_seed(0)
    x, y = torch.randn(64, 4), torch.randn(64, 1)
    for loss, sick in ((distance, False), (lambda o, t: (o[:, None] - t[None]).square().mean(), True)):
        numbers = pairing.loss_of_pairs(lab(nn.Linear(4, 1), x, y, loss)).numbers
        assert numbers["outputs"] < 0.05 * numbers["other"]
        assert (numbers["met"] > numbers["level"]) is sick
        assert severity(report(BAD, trials=tried("loss-of-pairs", **numbers)), "loss-crossed") == (
            "error" if sick else None
        )


def _weighted(o: Tensor, t: Tensor) -> Tensor:
    return ((o - t[:, :1]).abs() * t[:, 1:]).sum() / t[:, 1:].sum()


WEIGHTED: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], bool]] = {
    "mean": (lambda o, t: ((o - t[:, :1]).square() * t[:, 1:]).mean(), False),
    "divided by the weights": (_weighted, False),
    "weights are left aside": (lambda o, t: (o - t[:, :1]).square().mean(), False),
    "only the first is read": (lambda o, t: (o - t[:, :1]).square().mean() * t[0, 1], False),
    "looked up": (lambda o, t: F.embedding(t[:, 1].long(), torch.ones(2, 1)).mul((o - t[:, :1]).abs()).mean(), False),
    "broadcast": (lambda o, t: ((o - t[:, :1]).abs() * t[:, 1]).mean(), True),
    "broadcast and summed": (lambda o, t: ((o - t[:, :1]).square() * t[:, 1]).sum() / len(o), True),
}


@pytest.mark.parametrize("name", WEIGHTED)
def test_weights_that_meet_the_errors_of_all_samples(name: str) -> None:
    loss, sick = WEIGHTED[name]
    torch.manual_seed(0)
    target = torch.cat([torch.randn(16, 1), (torch.rand(16, 1) < 0.7).float()], 1)
    numbers = pairing.loss_of_pairs(lab(nn.Linear(4, 1), torch.randn(16, 4), target, loss)).numbers
    told = report(BAD, trials=tried("loss-of-pairs", {"output": "N × 1", "target": "N × 2"}, **numbers))
    assert severity(told, "loss-crossed") == ("error" if sick else None)


def _chosen(o: Tensor, t: Tensor) -> Tensor:
    return o.gather(1, t[:, :1].long())


def _log_chosen(o: Tensor, t: Tensor) -> Tensor:
    return _chosen(o.log_softmax(1), t)[:, 0]


def _normalised(t: Tensor) -> Tensor:
    return (t[:, 1] - t[:, 1].mean()) / (t[:, 1].std() + 1e-8)


def _to_go(o: Tensor, t: Tensor) -> Tensor:
    """A batch is an episode, and what is earned later belongs to all that came before."""
    return (o.mean(1) - t[:, 1].flip(0).cumsum(0).flip(0)).square().mean()


def _in_groups(o: Tensor, t: Tensor) -> Tensor:
    above = (t[:, None, 1] > t[None, :, 1]).to(o)
    return (above * F.relu(1 - o[:, :1] + o[:, 0])).mean()


def _partial_likelihood(o: Tensor, t: Tensor) -> Tensor:
    """Cox: of all who are still there, the one whose time it is."""
    there = (t[None, :, 0] >= t[:, None, 0]).to(o)
    return -((o[:, 0] - (there * o[:, 0].exp()).sum(1).log()) * (t[:, 1] > 0)).mean()


ACTED: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], bool]] = {
    "of the action": (lambda o, t: F.smooth_l1_loss(_chosen(o, t)[:, 0], t[:, 1]), False),
    "policy gradient": (lambda o, t: -(_log_chosen(o, t) * t[:, 1]).mean(), False),
    "of a whole episode": (lambda o, t: -_log_chosen(o, t).sum() * t[:, 1].sum(), False),
    "advantages of the batch": (lambda o, t: -(_log_chosen(o, t) * _normalised(t)).mean(), False),
    "against a mean": (lambda o, t: (_chosen(o, t)[:, 0] - t[:, 1] + t[:, 1].mean()).square().mean(), False),
    "rewards to go": (_to_go, False),
    "ranked": (_in_groups, False),
    "survival": (_partial_likelihood, False),
    "both columns": (lambda o, t: (o[:, :2] - t).square().mean(), False),
    "broadcast": (lambda o, t: F.smooth_l1_loss(*torch.broadcast_tensors(_chosen(o, t), t[:, 1])), True),
    "broadcast, squared": (lambda o, t: (_chosen(o, t) - t[:, 1]).square().mean(), True),
    "broadcast the other way": (lambda o, t: (_chosen(o, t)[:, 0] - t[:, 1:]).square().mean(), True),
}


@pytest.mark.parametrize("largest", [1, 5])
@pytest.mark.parametrize("name", ACTED)
def test_actions_and_rewards_that_are_whole_numbers(name: str, largest: int) -> None:
    loss, sick = ACTED[name]
    torch.manual_seed(0)
    target = torch.stack([torch.randint(0, 4, (64,)), torch.randint(0, largest + 1, (64,))], 1).float()
    trial = pairing.loss_of_pairs(lab(nn.Linear(4, 4), torch.randn(64, 4), target, loss))
    told = report(BAD, trials=tried("loss-of-pairs", trial.detail, **trial.numbers))
    assert severity(told, "loss-crossed") == ("error" if sick else None)
    assert words_checks.OUTCOMES["loss-of-pairs"](trial.numbers, trial.detail).endswith(".")


def _pooled_dice(o: Tensor, t: Tensor) -> Tensor:
    p = o.sigmoid()
    return 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)


def _weights_of_batch(o: Tensor, t: Tensor) -> Tensor:
    yes = t.sum().clamp_min(1)
    return F.binary_cross_entropy_with_logits(o, t, pos_weight=(len(t) - yes) / yes)


def _by_positives(o: Tensor, t: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(o, t, reduction="sum") / t.sum().clamp_min(1)


def _ranked(o: Tensor, t: Tensor) -> Tensor:
    """Every yes above every no, by a logistic loss of differences: pairs are compared on purpose."""
    apart = o.reshape(-1, 1) - o.reshape(1, -1)
    pairs = t.reshape(-1, 1) * (1 - t.reshape(1, -1))
    return (F.softplus(-apart) * pairs).sum() / pairs.sum().clamp_min(1)


def _ranked_linear(o: Tensor, t: Tensor) -> Tensor:
    return ((1 - o) * t).sum() / t.sum().clamp_min(1) + (o * (1 - t)).sum() / (1 - t).sum().clamp_min(1)


def _margin(d: Tensor, same: Tensor) -> Tensor:
    return (same * d.square() + (1 - same) * F.relu(2 - d).square()).mean()


FLIPPED: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], bool]] = {
    "cross-entropy": (F.binary_cross_entropy_with_logits, False),
    "focal": (lambda o, t: ((t - o.sigmoid()).square() * F.softplus((1 - 2 * t) * o)).mean(), False),
    "dice over the batch": (_pooled_dice, False),
    "weights from the batch": (_weights_of_batch, False),
    "divided by the positives": (_by_positives, False),
    "ranked": (_ranked, False),
    "ranked on a line": (_ranked_linear, False),
    "margin": (_margin, False),
    "margin, broadcast": (lambda o, t: _margin(o, t[:, 0]), True),
    "hinge, broadcast": (lambda o, t: F.relu(1 - (2 * t[:, 0] - 1) * o).mean(), True),
    "focal, broadcast": (lambda o, t: ((t[:, 0] - o.sigmoid()).abs() * F.softplus(-o)).mean(), True),
    "own formula, broadcast": (
        lambda o, t: -(t[:, 0] * F.logsigmoid(o) + (1 - t[:, 0]) * F.logsigmoid(-o)).mean(),
        True,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("name", FLIPPED)
def test_targets_of_yes_and_no_are_turned_over_one_by_one(name: str, trained: bool, seed: int) -> None:
    loss, sick = FLIPPED[name]
    torch.manual_seed(seed)
    x, model = torch.randn(64, 4), nn.Linear(4, 1)
    target = (x[:, :1] + x[:, 1:2] > 0.2).float()
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    for _ in range(150 if trained else 0):
        optimizer.zero_grad()
        loss(model(x), target).backward()
        optimizer.step()
    numbers = pairing.loss_of_pairs(lab(model, x, target, loss)).numbers
    told = report(BAD, trials=tried("loss-of-pairs", {"output": "N × 1", "target": "N"}, **numbers))
    assert severity(told, "loss-crossed") == ("error" if sick else None)


def test_masks_are_turned_over_as_a_whole() -> None:
    torch.manual_seed(0)
    x = torch.randn(16, 1, 6, 6)
    for loss in (_pooled_dice, F.binary_cross_entropy_with_logits):
        numbers = pairing.loss_of_pairs(lab(nn.Conv2d(1, 1, 3, padding=1), x, (x > 1).float(), loss)).numbers
        assert severity(report(BAD, trials=tried("loss-of-pairs", **numbers)), "loss-crossed") is None


def test_large_masks_are_left_alone() -> None:
    x = torch.randn(16, 1, 80, 80)
    with pytest.raises(NotApplicableError, match="whole"):
        pairing.loss_of_pairs(lab(nn.Conv2d(1, 1, 1), x, (x > 1).float(), F.binary_cross_entropy_with_logits))


def test_rare_answers_are_too_few_to_be_turned_over() -> None:
    target = (torch.arange(64) < 3).float()[:, None]
    with pytest.raises(NotApplicableError, match="whole"):
        pairing.loss_of_pairs(lab(nn.Linear(4, 1), torch.randn(64, 4), target, F.binary_cross_entropy_with_logits))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_of_a_loss_that_takes_no_notice_is_no_meeting_of_pairs(dtype: torch.dtype) -> None:
    votes = torch.distributions.Multinomial(10, torch.tensor([0.4, 0.3, 0.2, 0.1])).sample((16,)) / 10

    def divergence(output: Tensor, target: Tensor) -> Tensor:
        return F.kl_div(output.to(dtype).log_softmax(1), target.to(dtype), reduction="batchmean")

    numbers = pairing.loss_of_pairs(lab(nn.Linear(4, 4), torch.randn(16, 4), votes, divergence)).numbers
    assert numbers["own"] == numbers["other"] == 0
    assert severity(report(BAD, trials=tried("loss-of-pairs", **numbers)), "loss-crossed") is None


def test_pairs_need_targets_that_are_numbers() -> None:
    with pytest.raises(NotApplicableError):
        pairing.loss_of_pairs(lab(nn.Linear(4, 3), torch.randn(16, 4), torch.randint(0, 3, (16,)), F.cross_entropy))
    with pytest.raises(NotApplicableError, match="whole"):
        pairing.loss_of_pairs(lab(nn.Linear(4, 1), torch.randn(16, 4), torch.ones(16, 1), F.mse_loss))


@pytest.mark.parametrize(
    ("loss", "low", "sick"),
    [
        (nn.PoissonNLLLoss(), 0.0, "error"),  # wants log rates, a ReLU gives none below rate 1
        (nn.PoissonNLLLoss(), -40.0, None),
        (nn.PoissonNLLLoss(log_input=False), 0.0, None),
        (nn.MSELoss(), 0.0, None),
    ],
)
def test_a_loss_of_logarithms_and_an_activation_without(loss: nn.Module, low: float, sick: str | None) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(64, 4), torch.poisson(torch.full((64, 1), 1.5))
    trial = pairing.loss_domain(lab(nn.Sequential(nn.Linear(4, 1), nn.Softplus()), x, y, loss))
    both = tried("loss-domain", **trial.numbers)
    both.trials.extend(tried("head-range", low=low, high=40.0).trials)
    told = report(BAD, trials=both, training=run(FLAT))
    assert severity(told, "loss-wants") == sick
    assert ("wrong-output-activation" in causes(told)) is (sick is not None)
    assert words_checks.OUTCOMES["loss-domain"](trial.numbers, {}).endswith(".")


@pytest.mark.parametrize(
    ("penalty", "size"),
    [
        (lambda w, b: 0.08 * (w.square().sum() + b.square().sum()), None),
        (lambda w, b: 0.1 * (w.abs().sum() + b.abs().sum()), None),
        (lambda w, b: w.norm() + b.norm(), None),
        (lambda w, b: 0.01 * w.norm() ** 2 + 5.0, 5.0),  # what does not depend on weights is no penalty
    ],
)
def test_a_penalty_is_weighed_by_its_derivatives_where_no_answers_are_known(penalty: Any, size: float | None) -> None:
    """A loss of several outputs, of which nobody knows the right ones: by hand, the penalty itself."""
    torch.manual_seed(0)
    model = Two()
    w, b = model.fc.weight, model.fc.bias
    x, y = torch.randn(32, 4), torch.randn(32, 3)
    trial = pairing.loss_penalty(lab(model, x, y, lambda o, t: (o[0] - t).square().mean() + penalty(w, b)))
    assert trial.numbers["penalty"] == pytest.approx(float(penalty(w, b).detach()) - (size or 0.0), rel=1e-4)


class Two(nn.Module):
    """Two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.fc(x)
        return y, y.square()


def test_a_penalty_inside_the_loss_is_found_where_the_outputs_are_fixed() -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    x, y = torch.randn(32, 4), torch.randint(0, 3, (32,))

    def loss(o: Tensor, t: Tensor) -> Tensor:
        return F.cross_entropy(o, t) + 0.1 * model.weight.abs().sum()

    sick = pairing.loss_penalty(lab(model, x, y, loss)).numbers
    assert sick["depends"] == 1
    assert sick["penalty"] == pytest.approx(float(0.1 * model.weight.detach().abs().sum()), rel=1e-4)
    plain = pairing.loss_penalty(lab(model, x, y, F.cross_entropy)).numbers
    assert plain["depends"] == 0
    critic = nn.Linear(3, 1)  # it has weights of its own, as that of a generator does
    assert pairing.loss_penalty(lab(model, x, y, lambda o, t: -critic(o).mean())).numbers["depends"] == 0
    for numbers in (sick, plain):
        assert words_checks.OUTCOMES["loss-penalty"](numbers, {}).endswith(".")


@pytest.mark.parametrize(
    ("penalty", "same", "wrong", "expected"),
    [
        (0.5, 1.1, 2.5, "warning"),
        (0.5, 1.6, 2.5, None),
        (0.01, 1.1, 2.5, None),
        (0.5, 1.1, 20.0, None),  # the fit is good: what is left is next to nothing of what wrong answers cost
    ],
)
def test_a_penalty_that_holds_the_fit_back(penalty: float, same: float, wrong: float, expected: str | None) -> None:
    told = tried("loss-penalty", depends=1.0, loss=1.5, penalty=penalty)
    told.trials.extend(tried("loss-of-answers", right=penalty, wrong=wrong, same_shape=1.0, pull=0.1).trials)
    told.trials.extend(tried("other-ways", before=1.5, same=same, steps=120.0, rate=0.01, decay=0.0, drop=0.0).trials)
    facts = report(GOOD, trials=told, training=run([2.3, 1.7, *[1.5] * 18], [1.5] * 20))
    assert severity(facts, "penalty-outweighs") == expected
    if expected:
        assert "over-regularised" in causes(facts)


def test_a_gradient_that_lacks_a_part_matters_where_the_fit_is_poor() -> None:
    trial = tried(
        "gradient-check", {"where": "cell.weight_hh", "names": "cell.weight_hh"}, off=3.0, checked=6.0, worst=0.4
    )
    assert severity(report(BAD, trials=trial, training=run(FLAT)), "gradient-partial") == "warning"
    assert "detached-graph" in causes(report(BAD, trials=trial, training=run(FLAT)))
    assert severity(report(GOOD, trials=trial, training=run()), "gradient-partial") == "info"
    whole = tried("gradient-check", off=0.0, checked=6.0, worst=0.0)
    assert severity(report(BAD, trials=whole, training=run(FLAT)), "gradient-partial") is None


def _views(o: Tensor, t: Tensor) -> Tensor:
    """A loss that needs no targets."""
    return (o[:, :4] - o[:, 4:]).square().mean()


def test_outputs_that_are_all_alike_under_a_loss_without_targets() -> None:
    torch.manual_seed(0)
    model, x, y = nn.Linear(6, 8), torch.randn(64, 6), torch.randint(0, 2, (64,))
    apart = pairing.loss_without_target(lab(model, x, y, _views)).numbers
    with torch.no_grad():
        model.weight.mul_(1e-4)
        model.bias.fill_(1.0)
    alike = pairing.loss_without_target(lab(model, x, y, _views)).numbers
    assert apart["ignored"] == alike["ignored"] == 1
    sick, well = (report(BAD, trials=tried("loss-without-target", **n), training=run()) for n in (alike, apart))
    assert severity(sick, "embedding-collapsed") == "warning"
    assert "layer-collapse" in causes(sick)
    assert severity(well, "embedding-collapsed") is None
    assert "underfitting" not in causes(well)  # outputs that are no answers are not scored as such
    silent = nn.Sequential(nn.Linear(6, 1), nn.Threshold(1e9, 0.0))  # nothing but zeros, which a product hides
    hidden = pairing.loss_without_target(lab(silent, x, y[:, None].float(), nn.PoissonNLLLoss())).numbers
    assert hidden["ignored"] == 0
    targeted = pairing.loss_without_target(lab(nn.Linear(6, 2), x, y, F.cross_entropy)).numbers
    assert targeted == {"ignored": 0.0, "samples": 64.0, "together": 0.0}
    for numbers in (alike, targeted):
        assert words_checks.OUTCOMES["loss-without-target"](numbers, {}).endswith(".")


def test_single_numbers_have_no_direction_to_be_alike_in() -> None:
    """Outputs of one sign, as the solution of an equation has: their residual needs no target."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 1), nn.Softplus())
    x, y = torch.randn(64, 6), torch.randn(64, 1)
    numbers = pairing.loss_without_target(lab(model, x, y, lambda o, t: (o - o.roll(1, 0)).square().mean())).numbers
    assert numbers["ignored"] == 1
    assert numbers["direction"] == numbers["fresh_direction"] == 0
    assert (
        severity(report(BAD, trials=tried("loss-without-target", **numbers), training=run()), "embedding-collapsed")
        is None
    )


class Siamese(nn.Module):
    """Two views of a sample, an encoder with a predictor behind it; the target of either may be held fast."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 8))
        self.predict = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8))

    def forward(self, views: dict[str, Tensor]) -> tuple[Tensor, ...]:
        a, b = self.encode(views["a"]), self.encode(views["b"])
        return a, b, self.predict(a), self.predict(b)


def _nearness(*, stopped: bool) -> Any:
    def loss(o: tuple[Tensor, ...], t: Tensor) -> Tensor:
        a, b, told_a, told_b = o
        if stopped:
            a, b = a.detach(), b.detach()
        return -F.cosine_similarity(told_a, b).mean() - F.cosine_similarity(told_b, a).mean()

    return loss


@pytest.mark.parametrize(("stopped", "expected"), [(True, None), (False, "warning")])
@pytest.mark.parametrize("seed", [0, 1])
def test_views_of_strangers_are_as_near_as_those_of_one_sample(stopped: bool, expected: str | None, seed: int) -> None:
    torch.manual_seed(seed)
    x, loss, model = torch.randn(512, 4) @ torch.randn(4, 16), _nearness(stopped=stopped), Siamese()

    def views(rows: Tensor) -> dict[str, Tensor]:
        return {"a": rows + 0.3 * torch.randn_like(rows), "b": rows + 0.3 * torch.randn_like(rows)}

    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(15):
        for rows in x.split(64):
            optimizer.zero_grad()
            loss(model(views(rows)), rows).backward()
            optimizer.step()
    asked = [Batch((views(x[:64]),), {}, torch.arange(64))]
    n = pairing.loss_without_target(trials.laboratory(model, loss, (), asked, [], Clock(60.0), 0)).numbers
    told = report(BAD, trials=tried("loss-without-target", **n), training=run())
    assert n["strangers"] > n["views"]
    assert severity(told, "embedding-collapsed") == expected
    # a mask of the shape of the input is no second view of it
    x2 = {"a": x[:64], "b": (torch.rand(64, 16) < 0.5).float()}
    masked = trials.laboratory(model, loss, (), [Batch((x2,), {}, torch.arange(64))], [], Clock(60.0), 0)
    assert "views" not in pairing.loss_without_target(masked).numbers


class Towers(nn.Module):
    """Two outputs of each sample, stacked or as a tuple."""

    def __init__(self, *, stacked: bool) -> None:
        super().__init__()
        self.stacked = stacked
        self.one, self.other = (
            nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 8)),
            nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 8)),
        )

    def forward(self, x: Tensor) -> Any:
        told = F.normalize(self.one(x[:, 0]), dim=1), F.normalize(self.other(x[:, 1]), dim=1)
        return torch.stack(told, 1) if self.stacked else told


def _contrast(sign: float) -> Any:
    def loss(o: Any, t: Tensor) -> Tensor:
        one, other = o.unbind(1) if isinstance(o, Tensor) else o
        return -sign * (one @ other.T / 0.1).log_softmax(1).diagonal().mean()

    return loss


def _decorrelated(o: Any, t: Tensor) -> Tensor:
    """Barlow twins: the correlations between both views, as the identity."""
    one, other = ((p - p.mean(0)) / p.std(0) for p in (o.unbind(1) if isinstance(o, Tensor) else o))
    return (one.T @ other / len(one) - torch.eye(one.shape[1])).square().sum()


@pytest.mark.parametrize("stacked", [True, False])
@pytest.mark.parametrize(
    ("loss", "expected"), [(_contrast(1.0), None), (_contrast(-1.0), "error"), (_decorrelated, None)]
)
def test_a_loss_of_pairs_that_drives_them_apart_has_the_wrong_sign(
    stacked: bool, loss: Any, expected: str | None
) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(512, 4)
    x = torch.stack([hidden @ torch.randn(4, 8), hidden @ torch.randn(4, 8)], 1)
    model = Towers(stacked=stacked)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(15):
        for rows in x.split(64):
            optimizer.zero_grad()
            loss(model(rows), rows).backward()
            optimizer.step()
    asked = trials.laboratory(model, loss, (), [Batch((x[:64],), {}, torch.arange(64))], [], Clock(60.0), 0)
    n = pairing.loss_without_target(asked).numbers
    told = report(BAD, trials=tried("loss-without-target", **n), training=run())
    assert severity(told, "loss-sign") == expected
    assert ("loss-sign-flipped" in causes(told)) == (expected is not None)


def test_a_mean_and_a_variance_are_no_two_outputs_that_belong_together() -> None:
    class Posterior(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.both = nn.Linear(6, 8)

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            return self.both(x).split(4, 1)

    def divergence(o: tuple[Tensor, ...], t: Tensor) -> Tensor:
        return 0.5 * (o[0].square() + o[1].exp() - o[1] - 1).sum(1).mean()

    torch.manual_seed(0)
    n = pairing.loss_without_target(lab(Posterior(), torch.randn(64, 6), torch.arange(64), divergence)).numbers
    assert severity(report(BAD, trials=tried("loss-without-target", **n), training=run()), "loss-sign") is None


@pytest.mark.parametrize(("loss", "expected"), [(0.04, None), (1e-9, "error")])
def test_answers_that_differ_by_rounding_are_neither_right_nor_wrong(loss: float, expected: str | None) -> None:
    """A distance of two sets is nothing for the targets in any order, but for the last digits."""
    told = tried("loss-of-answers", {"answers": "numbers"}, right=2e-9, wrong=-3e-9, same_shape=1.0, pull=0.1)
    step = {"trainable": 2.0, "connected": 1.0, "strangers": 0.0, "reached": 2.0, "pushed": 2.0, "held": 2.0}
    told.trials.extend(tried("one-step", loss=loss, **step, moved=2.0, stuck=0.0, largest_rate=0.1, slope=-1.0).trials)
    assert severity(report(GOOD, trials=told, training=run()), "loss-sign") == expected


def _pairs(margin: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Pull samples of one class together; push others apart up to a margin."""

    def loss(o: Tensor, t: Tensor) -> Tensor:
        far = (o[:, None] - o[None]).square().sum(-1)
        same = t[:, None] == t[None]
        return far[same].mean() + (margin - (far[~same] + 1e-9).sqrt()).clamp_min(0).square().mean()

    return loss


@pytest.mark.parametrize(("margin", "expected"), [(0.0, "warning"), (1.0, None)])
def test_embeddings_that_a_loss_only_pulls_together(margin: float, expected: str | None) -> None:
    torch.manual_seed(0)
    model, x, y = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 8)), torch.randn(64, 6), torch.arange(64) % 4
    x[:, 0] += 3 * y
    loss = _pairs(margin)
    at_first = pairing.loss_without_target(lab(model, x, y, loss)).numbers
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()
    n = pairing.loss_without_target(lab(model, x, y, loss)).numbers
    assert n["ignored"] == 0
    told = report(BAD, trials=tried("loss-without-target", **n), training=run())
    assert severity(told, "embedding-collapsed") == expected
    assert ("layer-collapse" in causes(told)) == (expected is not None)
    # such a loss is no fault where outputs still lie apart
    begun = report(BAD, trials=tried("loss-without-target", **at_first), training=run())
    assert severity(begun, "embedding-collapsed") is None


@pytest.mark.parametrize("loss", [F.cross_entropy, nn.MultiMarginLoss()])
def test_a_classifier_that_gives_one_answer_is_no_collapse_that_its_loss_asks_for(loss: Any) -> None:
    model, x, y = nn.Linear(6, 4), torch.randn(64, 6), torch.arange(64) % 4
    with torch.no_grad():
        model.weight.zero_()
        model.bias.zero_()
    n = pairing.loss_without_target(lab(model, x, y, loss)).numbers
    assert n["together"] == 0


class Patches(nn.Module):
    """Attention over patches, with or without places."""

    def __init__(self, *, places: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Linear(4, 16), nn.Linear(16, 3)
        self.mix = nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True)
        self.places = nn.Parameter(torch.randn(16, 16)) if places else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(F.unfold(x, 2, stride=2).transpose(1, 2))
        h = h if self.places is None else h + self.places
        return self.head(self.mix(h).mean(1))


@pytest.mark.parametrize(
    ("model", "shape", "blind"),
    [
        (Patches(places=False), (16, 1, 8, 8), True),
        (Patches(places=True), (16, 1, 8, 8), False),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten()), (16, 1, 8, 8), False),
        (nn.Sequential(nn.Conv1d(1, 4, 1), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten()), (16, 1, 12), True),
        (nn.Sequential(nn.Conv1d(1, 4, 3), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten()), (16, 1, 12), False),
    ],
)
def test_places_in_pictures_and_in_series(model: nn.Module, shape: tuple[int, ...], blind: bool) -> None:
    y = torch.randint(0, 3, (16,))
    change = coupling.tokens_reordered(lab(model, torch.randn(*shape), y, F.cross_entropy)).numbers["change"]
    assert (change < 1e-4) is blind


def test_patches_are_permuted_and_none_is_lost() -> None:
    x = torch.arange(2 * 3 * 4 * 6, dtype=torch.float32).reshape(2, 3, 4, 6)
    ways = coupling._orders(x, 0)
    assert set(ways) == {1, 2}
    for side, (permute, order) in ways.items():
        mixed = permute(x)
        assert torch.equal(mixed.flatten().sort().values, x.flatten())
        first = int(order[0])  # the patch that came to the corner
        row, column = first // (6 // side) * side, first % (6 // side) * side
        assert torch.equal(mixed[..., :side, :side], x[..., row : row + side, column : column + side])


@pytest.mark.parametrize(
    ("dtype", "eps", "expected"),
    [("float16", 1e-8, "warning"), ("float16", 1e-4, None), ("float32", 1e-8, None), ("bfloat16", 1e-8, None)],
)
def test_adam_in_half_precision_loses_its_eps(dtype: str, eps: float, expected: str | None) -> None:
    row = WeightRow(name="fc.weight", module="Linear", shape=[3, 4], dtype=dtype, role="weight", trainable=True)
    history = run()
    assert history.loop is not None
    made = OptimizerRun(name="Adam", n_steps=400, settings={"eps": eps})
    history = structs.replace(history, loop=structs.replace(history.loop, optimizers=[made]))
    assert float(torch.tensor(eps, dtype=torch.float16)) == 0 or eps > 2**-25
    facts = report(GOOD, weights=WeightFacts(rows=[row]), training=history)
    assert severity(facts, "adam-eps-lost") == expected
    if expected:
        assert "numerical-instability" in causes(facts)


@pytest.mark.parametrize(("far", "near", "known"), [(1.2, 1.195, 0.163), (1.2, 1.15, None), (1.04, 1.01, 0.0)])
def test_what_shrinks_with_the_step_is_no_path_that_was_cut(far: float, near: float, known: float | None) -> None:
    """A function whose slope depends on the step, as behind many kinks, beside a gradient of 1."""
    weight = nn.Parameter(torch.ones(1, dtype=torch.float64))
    weight.grad = torch.ones_like(weight)

    def loss() -> Tensor:
        moved = weight.detach() - 1
        return (moved * torch.where(moved.abs() > 5e-5, far, near)).sum()

    assert derivative._derivative(weight, loss, 1.0, 0.0) == (None if known is None else pytest.approx(known, abs=2e-3))
