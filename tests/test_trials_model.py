"""Experiments on how far gradients reach in time, what a latent holds, where mistakes fall, and on training longer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor, nn
from torch.nn import functional as F

from reportgen.probe.trials import confidence, coupling, latent, longer, repairs, through_time
from reportgen.probe.trials import run as trials
from reportgen.probe.trials.lab import Clock, Lab, NotApplicableError
from reportgen.subject.data import Batch

from .test_rules_model import report, run, severity, tried

CE = nn.CrossEntropyLoss()


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def lab(
    model: nn.Module, given: list[Batch], training: list[Batch] | None = None, loss: Any = CE, optimizer: Any = None
) -> Lab:
    optimizers = () if optimizer is None else (optimizer,)
    return trials.laboratory(model, loss, optimizers, given, training or [], Clock(60.0), 0)


# --------------------------------------------------------------------------------------------------- through time


class Reader(nn.Module):
    """A recurrent layer whose last state is the answer."""

    def __init__(self, kind: Any, recurrence: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn = kind(1, 4, batch_first=True)
        self.head = nn.Linear(4, 2)
        with torch.no_grad():
            self.rnn.weight_hh_l0.copy_(recurrence * torch.eye(4))

    def forward(self, x: Tensor) -> Tensor:
        h, _ = self.rnn(x)
        answer: Tensor = self.head(h[:, -1])
        return answer


def waves(length: int = 30) -> Batch:
    x = 0.01 * torch.randn(16, length, 1, generator=seeded(0))
    return Batch((x,), {}, torch.arange(16) % 2)


@pytest.mark.parametrize("recurrence", [0.5, 0.8, 1.0])
def test_the_gradient_fades_by_the_recurrent_weight_at_each_step(recurrence: float) -> None:
    """Of nearly linear units with recurrence w, the first of T steps gets w^(T-1) of the last."""
    model = Reader(nn.RNN, recurrence)
    with torch.no_grad():
        for bias in (model.rnn.bias_ih_l0, model.rnn.bias_hh_l0):
            bias.zero_()
    result = through_time.gradient_by_time(lab(model, [waves()]))
    # early is the median of steps 0, 1 and 2, late of 27, 28 and 29: 27 steps apart
    assert result.numbers["early"] / result.numbers["late"] == pytest.approx(recurrence**27, rel=0.05)
    assert result.numbers["steps"] == 30
    assert result.detail == {"layer": "rnn", "kind": "RNN"}


@pytest.mark.parametrize("place", ["start", "rest"])
def test_where_the_answer_stands_is_asked_of_a_linear_learner(place: str) -> None:
    x = 0.3 * torch.randn(400, 30, 1, generator=seeded(4))
    y = torch.randint(0, 2, (400,), generator=seeded(5))
    x[:, 1 if place == "start" else 20, 0] += 2.0 * y - 1.0
    data = [Batch((x[:250],), {}, y[:250])], [Batch((x[250:],), {}, y[250:])]
    work = trials.laboratory(Reader(nn.RNN, 0.5), nn.CrossEntropyLoss(), (), *data, Clock(60.0), 0, data)
    n = through_time.gradient_by_time(work).numbers
    told, other = (n["start"], n["rest"]) if place == "start" else (n["rest"], n["start"])
    assert told > 0.9
    assert other < 0.65
    assert (n["asked"], n["commonest"]) == (250, pytest.approx(0.5, abs=0.1))


def test_a_cell_in_a_loop_is_followed_call_by_call() -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.head = nn.RNNCell(1, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = torch.zeros(len(x), 4)
            for t in range(x.shape[1]):
                h = self.cell(x[:, t], h)
            answer: Tensor = self.head(h)
            return answer

    torch.manual_seed(0)
    result = through_time.gradient_by_time(lab(Loop(), [waves()]))
    assert (result.numbers["steps"], result.detail["kind"]) == (30, "RNNCell")
    assert result.numbers["ratio"] < 1e-3


def test_without_recurrence_or_with_short_sequences_time_is_not_judged() -> None:
    table = Batch((torch.randn(16, 5, generator=seeded(0)),), {}, torch.arange(16) % 2)
    with pytest.raises(NotApplicableError, match="step by step"):
        through_time.gradient_by_time(lab(nn.Linear(5, 2), [table]))
    with pytest.raises(NotApplicableError, match="too short"):
        through_time.gradient_by_time(lab(Reader(nn.RNN, 0.9), [waves(4)]))


# --------------------------------------------------------------------------------------------------------- latent


class Coder(nn.Module):
    def __init__(self, weight: float, shift: float) -> None:
        super().__init__()
        self.weight, self.shift = weight, shift
        self.decoder = nn.Linear(3, 6)

    def forward(self, x: Tensor) -> Any:
        mean = self.weight * x[:, :3]
        spread = torch.full_like(mean, self.shift)
        drawn = mean + (0.5 * spread).exp() * torch.randn_like(mean) if self.training else mean
        return self.decoder(drawn), mean, spread


class TwoViews(nn.Module):
    """An encoding, and the directions of two views of a sample: of one shape, and no posterior."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.drop = nn.Linear(6, 3), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Any:
        h = self.encoder(self.drop(x))
        return h, F.normalize(h, dim=1), F.normalize(h + 0.1, dim=1)


def test_the_divergence_is_that_of_gaussians() -> None:
    x = torch.randn(64, 6, generator=seeded(0))
    result = latent.latent_units(lab(Coder(2.0, -1.0), [Batch((x,), {}, x)], loss=lambda o, y: o[0].sum()))
    posterior = torch.distributions.Normal(2.0 * x[:, :3], float(np.exp(-0.5)))
    wanted = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
    assert result.numbers["divergence"] == pytest.approx(float(wanted), rel=1e-5)
    assert (result.numbers["active"], result.numbers["dimensions"]) == (3, 3)


def test_a_deviation_is_told_from_the_logarithm_of_a_variance() -> None:
    x = torch.randn(64, 6, generator=seeded(0))
    numbers = latent.latent_units(lab(Coder(0.01, 1.0), [Batch((x,), {}, x)], loss=lambda o, y: o[0].sum())).numbers
    assert numbers["divergence"] < 1e-3


def test_a_posterior_that_is_the_prior_holds_nothing() -> None:
    x = torch.randn(64, 6, generator=seeded(0))
    numbers = latent.latent_units(lab(Coder(0.01, 0.0), [Batch((x,), {}, x)], loss=lambda o, y: o[0].sum())).numbers
    assert numbers["active"] == 0
    assert numbers["divergence"] < 1e-3
    with pytest.raises(NotApplicableError, match="drawn"):
        latent.latent_units(lab(TwoViews(), [Batch((x,), {}, x)], loss=lambda o, y: o[0].sum()))
    with pytest.raises(NotApplicableError, match="one tensor"):
        latent.latent_units(lab(nn.Linear(6, 6), [Batch((x,), {}, x)], loss=F.mse_loss))


# ----------------------------------------------------------------------------------------------------- confidence


class Says(nn.Module):
    """The first columns of the input are the scores."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.one * x


def test_the_area_is_that_of_every_pair_compared() -> None:
    scores = torch.randn(120, 4, generator=seeded(0)).mul(2).round()  # with ties
    truth = torch.randint(4, (120,), generator=seeded(1))
    numbers = confidence.as_it_is(lab(Says(), [Batch((scores,), {}, truth)])).numbers
    sure, right = scores.double().softmax(1).amax(1), scores.argmax(1) == truth
    pairs = [float(a > b) + 0.5 * float(a == b) for a in sure[right] for b in sure[~right]]
    assert numbers["surer"] == pytest.approx(float(np.mean(pairs)))
    assert numbers["accuracy"] == pytest.approx(float(right.float().mean()))
    assert numbers["loss"] == pytest.approx(float(CE(scores, truth)))


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
@pytest.mark.parametrize("shares", [False, True])
def test_one_answer_of_yes_or_no_is_one_of_two_classes(shape: tuple[int, ...], shares: bool) -> None:
    logits = torch.randn(120, generator=seeded(0)).double()
    truth = torch.randint(2, (120,), generator=seeded(1))
    two = torch.stack([torch.zeros(120).double(), logits], 1)
    wanted = confidence.as_it_is(lab(Says(), [Batch((two,), {}, truth)])).numbers
    said = logits.sigmoid() if shares else logits
    loss = F.binary_cross_entropy if shares else F.binary_cross_entropy_with_logits
    pairs = zip(said.split(50), truth.double().split(50), strict=True)
    parts = [Batch((o.reshape(shape),), {}, t.reshape(shape)) for o, t in pairs]
    numbers = confidence.as_it_is(lab(Says(), parts, loss=loss)).numbers
    assert set(numbers) == set(wanted)
    assert all(numbers[key] == pytest.approx(wanted[key], rel=1e-4) for key in wanted)


@pytest.mark.parametrize("n", [500, 20_000])
@pytest.mark.parametrize(
    ("flipped", "overlap", "expected"),
    [(0.0, 0.8, None), (0.0, 1.2, None), (0.0, 1.5, None), (0.22, 0.05, "warning"), (0.3, 0.05, "warning")],
)
def test_two_classes_that_overlap_and_labels_that_are_wrong(
    n: int, flipped: float, overlap: float, expected: str | None
) -> None:
    """The outputs are the posterior of what was drawn, with the shares of wrong labels known to it."""
    x, draw = torch.randn(n, generator=seeded(0)).double(), torch.rand(n, generator=seeded(2))
    truth = x + overlap * torch.randn(n, generator=seeded(1)) > 0
    truth ^= draw < flipped
    yes = torch.special.ndtr(x / overlap) * (1 - 2 * flipped) + flipped
    numbers = confidence.as_it_is(lab(Says(), [Batch((yes,), {}, truth.double())], loss=F.binary_cross_entropy)).numbers
    told = report(trials=tried("as-it-is", **numbers), training=run())
    assert severity(told, "sure-and-wrong") == expected


def test_answers_at_every_place_are_counted_in_both_conventions() -> None:
    scores = torch.randn(10, 7, 3, generator=seeded(0))
    truth = torch.randint(3, (10, 7), generator=seeded(1))
    truth[0, :3] = -100
    known = truth != -100
    wanted = float((scores.argmax(-1) == truth)[known].float().mean())

    def by_token(output: Tensor, target: Tensor) -> Tensor:
        flat = output if output.shape[-1] == 3 else output.transpose(1, 2)
        return F.cross_entropy(flat.reshape(-1, 3), target.reshape(-1))

    for x in (scores, scores.transpose(1, 2)):
        numbers = confidence.as_it_is(lab(Says(), [Batch((x,), {}, truth)], loss=by_token)).numbers
        assert numbers["accuracy"] == pytest.approx(wanted)
        assert numbers["answers"] == float(known.sum())
        assert "surer" not in numbers
    numbers_ = confidence.as_it_is(
        lab(nn.Linear(3, 1), [Batch((scores[:, 0],), {}, scores[:, 0, :1])], loss=F.mse_loss)
    )
    assert set(numbers_.numbers) == {"loss", "samples"}


# --------------------------------------------------------------------------------------------------------- longer


def test_going_on_helps_a_model_that_had_hardly_begun_and_leaves_it_alone() -> None:
    torch.manual_seed(0)
    x = torch.randn(256, 4, generator=seeded(0))
    y = x @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]])
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    start = model.weight.detach().clone()
    parts = [Batch((x[i : i + 32],), {}, y[i : i + 32]) for i in range(0, 192, 32)]
    place = lab(model, [Batch((x[192:],), {}, y[192:])], parts, F.mse_loss, optimizer)
    numbers = longer.trained_on(place).numbers
    assert numbers["before"] == pytest.approx(float(F.mse_loss(model(x[192:]).detach(), y[192:])))
    assert numbers["after"] < 0.01 * numbers["before"]
    assert numbers["score_after"] > 0.99
    assert torch.equal(model.weight, start)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -2.0, 0.5, 3.0]]))
        model.bias.zero_()
    done = longer.trained_on(lab(model, place.given, parts, F.mse_loss, optimizer)).numbers
    assert done["after"] < 1e-6
    with pytest.raises(NotApplicableError, match="one optimizer"):
        longer.trained_on(lab(model, place.given, parts, F.mse_loss))


@pytest.mark.parametrize("loss", [F.binary_cross_entropy_with_logits, F.binary_cross_entropy])
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_answers_of_yes_and_no_are_scored_by_both(loss: Any, shape: tuple[int, ...]) -> None:
    """Logits lie far from 0 and 1 however right they are; and of rare answers of yes an accuracy tells little."""
    torch.manual_seed(0)
    x = torch.randn(1000, 1, generator=seeded(0))
    yes = (x[:, 0] > 1.5).float()
    told = 4 * (x[:, 0] - 1.8)  # some of those of yes are missed, and none of no
    told = told if loss is F.binary_cross_entropy_with_logits else told.sigmoid()
    model = Says()
    place = lab(model, [Batch((told.reshape(shape),), {}, yes.reshape(shape))], loss=loss)
    scored = longer.scored(place, place.fresh())
    guess = (told > (0 if loss is F.binary_cross_entropy_with_logits else 0.5)).numpy()
    assert scored.score == pytest.approx(balanced_accuracy_score(yes.numpy(), guess))
    assert scored.score < 0.9 < float((yes.numpy() == guess).mean())
    assert scored.weight == pytest.approx(4 / (1 / float(yes.sum()) + 1 / float((1 - yes).sum())))
    # of one answer alone nothing is known
    place = lab(model, [Batch((told.reshape(shape),), {}, torch.zeros_like(told).reshape(shape))], loss=loss)
    assert longer.scored(place, place.fresh()).score is None


@pytest.mark.parametrize(("rate", "shared"), [(0.05, True), (0.01, False)])
def test_what_went_on_as_before_is_not_gone_on_with_again(rate: float, shared: bool) -> None:
    """``other-ways`` goes on at the highest rate of the run, so both do the same where the rate is that one now."""
    torch.manual_seed(0)
    x = torch.randn(256, 4, generator=seeded(0))
    y = (x @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]])).sin()
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    optimizer.param_groups[0]["lr"] = rate
    optimizer.param_groups[0]["initial_lr"] = 0.05
    parts = [Batch((x[i : i + 32],), {}, y[i : i + 32]) for i in range(0, 192, 32)]
    after, alone = (lab(model, [Batch((x[192:],), {}, y[192:])], parts, F.mse_loss, optimizer) for _ in range(2))
    ways = repairs.other_ways(after).numbers
    numbers = longer.trained_on(after).numbers
    assert numbers == longer.trained_on(alone).numbers
    assert (ways["same"] == numbers["after"]) == shared


# ---------------------------------------------------------------------------------------------------------- order


class Bag(nn.Module):
    def __init__(self, window: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.windows = nn.Embedding(4, 8), nn.Conv1d(8, 8, window)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.head(self.windows(self.embed(x).transpose(1, 2)).relu().mean(2))
        return answer


def test_a_model_that_says_the_same_to_all_is_asked_with_random_weights() -> None:
    """Two symbols in either order: a bag of them is the same for every sample, whatever the weights."""
    x = torch.tensor([[0, 1], [1, 0]]).repeat(16, 1)
    batch = Batch((x,), {}, x[:, 0])
    blind = coupling.tokens_reordered(lab(Bag(1), [batch])).numbers
    seeing = coupling.tokens_reordered(lab(Bag(2), [batch])).numbers
    assert blind["drawn"] == 1
    assert blind["change"] < 1e-5
    assert seeing["drawn"] == 0
    assert seeing["change"] > 0.1
