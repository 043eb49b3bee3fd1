"""What a fresh copy learns of either split, and what rules make of it: splits that disagree, healthy ones beside."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from msgspec import structs
from msgspec.structs import replace
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from reportgen.document.evaluation import Regression
from reportgen.document.facts import DatasetFacts, EvaluationFacts, Report
from reportgen.document.history import LayerRun, LoopFacts, OptimizerRun, ParameterRun, Trace
from reportgen.document.samples import Order, Signal, SplitFacts
from reportgen.document.stats import TensorStats
from reportgen.page import words_anew
from reportgen.probe.trials import anew
from reportgen.probe.trials import run as trials
from reportgen.probe.trials.lab import Clock, Lab, NotApplicableError, Outfit, OutOfTimeError
from reportgen.probe.trials.scores import found_places
from reportgen.probe.turns import turned
from reportgen.subject.data import Batch

from .test_rules_model import BAD, FALL, FLAT, GOOD, causes, report, run, severity, tried


def clusters(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Four classes around four corners of a square, in six columns."""
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 4, (n,), generator=g)
    x = torch.randn(n, 6, generator=g)
    x[:, 0] += 4.0 * (y % 2)
    x[:, 1] += 4.0 * (y // 2)
    return x, y


def net(*widths: int) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def lab(model: nn.Module, training: tuple[Tensor, Tensor], given: tuple[Tensor, Tensor], loss: Any = None) -> Lab:
    ours, theirs = ([Batch((x,), {}, y)] for x, y in (training, given))
    loss = loss or nn.CrossEntropyLoss()
    return trials.laboratory(model, loss, (), theirs, ours, Clock(120.0), 0, (theirs, ours))


def test_what_is_learned_from_one_half_holds_in_the_other_and_in_the_other_split() -> None:
    result = anew.learned_anew(lab(net(6, 16, 4), clusters(400, 1), clusters(240, 2)))
    n = result.numbers
    assert min(n["training_training"], n["training_given"], n["given_given"], n["given_training"]) > 0.85
    assert n["commonest_training"] < 0.4
    assert (n["learned_training"], n["learned_given"]) == (200, 120)
    assert result.detail == {"kind": "classes"}
    assert "scaled" not in n  # two layers are not asked what helps a deep net
    assert words_anew.OUTCOMES["learned-anew"](n, result.detail).endswith(".")


def test_columns_in_another_order_teach_nothing_of_the_other_split() -> None:
    x, y = clusters(240, 2)
    result = anew.learned_anew(lab(net(6, 16, 4), clusters(400, 1), (x.roll(2, 1), y)))
    n = result.numbers
    assert min(n["training_training"], n["given_given"]) > 0.85
    assert max(n["training_given"], n["given_training"]) < 0.5


def test_a_model_that_works_is_left_alone_and_samples_seen_are_not_scored() -> None:
    x, y = clusters(400, 1)
    model = net(6, 16, 4)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    with pytest.raises(NotApplicableError, match="works"):
        anew.learned_anew(lab(model, (x, y), clusters(240, 2)))
    with pytest.raises(NotApplicableError, match="more than once"):
        anew.learned_anew(lab(net(6, 16, 4), (x[:20].repeat(20, 1), y[:20].repeat(20)), clusters(240, 2)))


@pytest.mark.slow
def test_a_deep_plain_net_learns_from_scaled_weights() -> None:
    deep = anew.learned_anew(lab(net(6, *[16] * 22, 4), clusters(400, 1), clusters(240, 2))).numbers
    assert deep["scaled"] > deep["training_given"] + 0.2


def test_numbers_are_scored_by_their_explained_variance() -> None:
    x, _ = clusters(400, 1)
    y = x[:, :1] * 2
    far = net(6, 16, 1)
    nn.init.constant_(far[2].bias, 30.0)
    n = anew.learned_anew(lab(far, (x, y), (x[:200] + 0.01, y[:200]), nn.MSELoss())).numbers
    assert n["training_training"] > 0.8
    assert n["as_is"] == -1
    assert n["onward"] < n["training_given"]  # thirty off, which 300 small steps do not make good


SCORES = {
    "commonest_training": 0.25,
    "commonest_given": 0.25,
    "asked_training": 450.0,
    "asked_given": 150.0,
    "learned_training": 450.0,
    "learned_given": 150.0,
    "training_training": 0.9,
    "training_given": 0.88,
    "given_given": 0.8,
    "given_training": 0.8,
    "as_is": 0.8,
}


UNRELATED = {"training_training": 0.3, "training_given": 0.27, "as_is": 0.3}
NOTHING = {"training_given": 0.3, "training_training": 0.3, "as_is": 0.3, "given_given": 0.3}


def facts(table: Any = BAD, redrawn: float | None = None, **scores: float) -> Report:
    told = tried("learned-anew", {"kind": "classes"}, **SCORES | scores)
    return report(table, trials=told, training=run(FLAT), splits=SplitFacts(redrawn=redrawn))


@pytest.mark.parametrize(
    ("onward", "clipped", "expected"), [(0.85, 99, "warning"), (0.35, 99, "info"), (0.85, 10, None)]
)
def test_clipping_that_held_back_what_goes_on_without_it(onward: float, clipped: int, expected: str | None) -> None:
    loop = LoopFacts(
        optimizers=[OptimizerRun(name="SGD", n_steps=100)],
        n_clip_checked=100,
        n_clipped=clipped,
        clip_factor=1e-3,
        clip_norm=0.01,
    )
    told = tried("learned-anew", {"kind": "classes"}, **SCORES | {"as_is": 0.4, "onward": onward})
    found = report(GOOD, trials=told, training=replace(run(FALL), loop=loop))
    assert severity(found, "clip-fraction") == expected
    assert ("gradient-clipping-too-small" in causes(found)) is (expected == "warning")


@pytest.mark.parametrize(
    ("scores", "rule", "expected", "cause"),
    [
        ({"training_given": 0.3}, "splits-disagree", "warning", "train-val-mismatch"),
        (UNRELATED, "only-given-learns", "error", "label-corruption"),
        ({"as_is": 0.3, "onward": 0.85}, "fresh-copy-ahead", "warning", "underfitting"),
        ({"as_is": 0.3, "onward": 0.32}, "fresh-copy-ahead", "warning", "bad-init"),
        (NOTHING | {"scaled": 0.7}, "scale-helps", "warning", "vanishing-gradients"),
    ],
)
def test_what_the_scores_say(scores: dict[str, float], rule: str, expected: str, cause: str) -> None:
    sick = facts(**scores)
    assert severity(sick, rule) == expected
    assert cause in causes(sick)
    assert severity(facts(), rule) is None


@pytest.mark.parametrize(("loss", "expected"), [("MSELoss", "error"), ("listnet", None)])
def test_scores_that_rank_are_not_asked_what_they_explain(loss: str, expected: str | None) -> None:
    zero = {"commonest_training": 0.0, "commonest_given": 0.0, "training_training": -0.6, "training_given": -0.7}
    told = tried("learned-anew", {"kind": "numbers"}, **SCORES | zero | {"as_is": -0.5, "given_given": 0.9})
    scores = stats_of(-0.5)
    facts = report(None, trials=told, training=run(FLAT), evaluation=scores)
    facts = replace(facts, subject=replace(facts.subject, loss=loss))
    assert severity(facts, "only-given-learns") == expected


def stats_of(r2: float) -> EvaluationFacts:
    target = TensorStats(count=300, sum=0.0, m2=300.0, min=-3.0, max=3.0)
    fit = Regression(r2=r2, mse=1 - r2, mae=1.0, target=target, residual=target, sample=[])
    return EvaluationFacts(task="regression", n_samples=300, regression=fit, loss=0.4)


def in_blocks(correlation: float | None) -> DatasetFacts:
    order = Order(n=450, same=110, expected=112.0, inputs=correlation)
    return DatasetFacts(n_samples=450, n_batches=15, shape="450 × 3", dtype="float32", order=order)


@pytest.mark.parametrize(
    ("correlation", "onward", "cause"),
    [
        (0.99, 0.85, "unshuffled-data"),
        (0.5, 0.85, "underfitting"),
        (None, 0.85, "underfitting"),
        (0.99, 0.32, "bad-init"),  # mixed batches do not help its weights either
    ],
)
def test_inputs_in_blocks_where_mixed_batches_help(correlation: float | None, onward: float, cause: str) -> None:
    sick = facts(as_is=0.3, onward=onward)
    assert causes(replace(sick, train_dataset=in_blocks(correlation))) == {cause}


def test_inputs_in_blocks_of_a_model_that_learned_are_no_fault() -> None:
    assert severity(replace(facts(), train_dataset=in_blocks(0.99)), "d-order") is None


@pytest.mark.parametrize(
    ("moved", "cause"), [((18.0, 11.0, 0.4), "lr-too-high"), ((18.0, 1.1, 0.4), "bad-init"), ((), "bad-init")]
)
def test_weights_that_steps_carried_away_did_not_begin_badly(moved: tuple[float, ...], cause: str) -> None:
    rows = [
        ParameterRun(name=f"{i}.weight", module="Linear", shape=[9, 9], is_matrix=True, trainable=True, moved=far)
        for i, far in enumerate(moved)
    ]
    sick = facts(as_is=0.3, onward=0.32)
    assert sick.training is not None
    assert causes(replace(sick, training=replace(sick.training, parameters=rows))) == {cause}


@pytest.mark.parametrize(
    ("size", "falls", "expected"), [(0.0625, 10.0, True), (0.58, 10.0, False), (0.0625, 1.2, False)]
)
def test_outputs_that_fade_behind_small_weights_are_a_bad_start(size: float, falls: float, expected: bool) -> None:
    rows = [
        ParameterRun(
            name=f"{i}.weight", module="Linear", shape=[9, 9], is_matrix=True, trainable=True, start_rms=size / 3
        )
        for i in range(6)
    ]
    layers = [
        LayerRun(name=str(i), kind="Linear", order=i, train_calls=9, rms=Trace(x=[1.0], y=[falls**-i]))
        for i in range(6)
    ]
    sick = facts(as_is=0.3, onward=0.85)
    assert sick.training is not None
    told = causes(replace(sick, training=replace(sick.training, parameters=rows, layers=layers)))
    assert told == {"bad-init" if expected else "underfitting"}


@pytest.mark.parametrize(
    "scores",
    [
        {"training_training": 0.3, "training_given": 0.28, "given_given": 0.29},  # nothing can be learned of either
        {"training_training": 0.55, "training_given": 0.48},  # a little is lost
        {"training_training": 0.6, "training_given": 0.55, "given_given": 0.85},  # augmented data teach less
        {"as_is": 0.8, "training_given": 0.9},
    ],
)
def test_healthy_scores_are_left_alone(scores: dict[str, float]) -> None:
    told = facts(GOOD, **scores)
    for rule in ("splits-disagree", "only-given-learns", "augmentation-hurts", "fresh-copy-ahead", "scale-helps"):
        assert severity(told, rule) is None, rule


def test_training_data_that_are_drawn_anew_are_spoiled_by_their_augmentation() -> None:
    spoiled = facts(redrawn=1.0, training_training=0.3, training_given=0.27, as_is=0.3)
    assert "wrong-augmentation" in causes(spoiled)
    assert "label-corruption" not in causes(spoiled)


HELD_BACK = {"training_training": 0.5, "training_given": 0.55, "as_is": 0.6, "given_given": 0.9}
"""What augmented samples taught, and what samples as they are taught."""


def test_augmented_samples_that_teach_less_than_samples_as_they_are_are_spoiled() -> None:
    spoiled = facts(redrawn=0.75, **HELD_BACK)
    assert severity(spoiled, "augmentation-hurts") == "warning"
    assert "wrong-augmentation" in causes(spoiled)
    assert "train-val-mismatch" not in causes(facts(redrawn=0.75, **HELD_BACK | {"training_given": 0.35}))


@pytest.mark.parametrize(
    ("redrawn", "scores"),
    [
        (0.0, {}),  # not augmented
        (None, {}),
        (1.0, {"as_is": 0.85}),  # a longer run learned from them
        (1.0, {"training_given": 0.8}),  # as the copy did
        (1.0, {"given_given": 0.7}),  # little is lost
        (1.0, {"given_given": 0.7, "training_training": 0.4, "training_given": 0.4, "as_is": 0.4, "asked_given": 40.0}),
        (1.0, {"learned_training": 100.0}),  # samples as they are were more
    ],
)
def test_augmentation_that_does_no_harm_is_left_alone(redrawn: float | None, scores: dict[str, float]) -> None:
    assert severity(facts(redrawn=redrawn, **HELD_BACK | scores), "augmentation-hurts") is None


class Slow(nn.Module):
    """A net on whose clock every pass in train mode takes a second."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock, self.inner, self.passes = [clock], net(6, 16, 4), 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.passes += 1
            self.clock[0].began -= 1
        out: Tensor = self.inner(x)
        return out

    def __deepcopy__(self, memo: Any) -> Slow:
        return self  # so that passes of copies count


@pytest.mark.parametrize(("budget", "passes"), [(200.0, 20), (1e4, 21)])
def test_what_cannot_be_finished_in_time_is_given_up_early(budget: float, passes: int) -> None:
    clock = Clock(budget)
    model = Slow(clock)
    made = dataclasses.replace(lab(net(6, 16, 4), clusters(400, 1), clusters(240, 2)), clock=clock)
    outfit = Outfit(model, (), nn.CrossEntropyLoss())
    part = made.wide_training[0]
    if passes > 20:
        anew.learn(made, outfit, part)
        assert model.passes >= passes
        return
    with pytest.raises(OutOfTimeError):
        anew.learn(made, outfit, part)
    assert model.passes == passes


PAIR = {
    "pair_given_given": 0.85,
    "pair_training_training": 0.5,
    "pair_training_given": 0.48,
    "pair_as_is": 0.45,
    "pair_asked_given": 75.0,
    "pair_asked_training": 220.0,
}


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({}, "warning"),
        ({"pair_as_is": 0.6}, None),  # the model tells them apart by a longer run
        ({"pair_training_training": 0.7}, None),  # so does the copy, as they were augmented
        ({"pair_asked_given": 15.0}, None),  # few samples
        ({"learned_training": 100.0}, None),
    ],
)
def test_two_classes_that_augmentation_makes_one(scores: dict[str, float], expected: str | None) -> None:
    alike = {"training_training": 0.74, "training_given": 0.73, "as_is": 0.72, "given_given": 0.86}
    told = facts(redrawn=1.0, **alike | PAIR | scores)
    assert severity(told, "augmentation-hurts") == expected
    assert severity(facts(redrawn=0.0, **alike | PAIR | scores), "augmentation-hurts") is None


@pytest.mark.parametrize(
    ("after", "cause"),
    [
        ((1.1507, 1.1798, 1.1837), "lr-too-low"),  # ten times the rate, ten times the way
        ((1.1790, 1.1798, 1.1837), "underfitting"),  # a higher rate is no help
        ((1.2, 1.1798, 1.1837), "underfitting"),
        ((1.1507, 1.1798, 1.1842), "underfitting"),  # nor is what a lower rate does not go along
    ],
)
def test_a_loss_that_falls_in_proportion_to_the_rate_had_too_little_of_it(
    after: tuple[float, float, float], cause: str
) -> None:
    sick = facts(as_is=0.3, onward=0.85)
    assert sick.trials is not None
    numbers = dict(zip(("faster", "same", "slower"), after, strict=True))
    ways = tried("other-ways", before=1.1842, rate=2e-5, decay=0.0, drop=0.0, steps=120.0, samples=800.0, **numbers)
    trials = replace(sick.trials, trials=[*sick.trials.trials, *ways.trials])
    assert cause in causes(replace(sick, trials=trials))


TURNED = {"pair_given_given": 0.73, "pair mirrored": 0.14, "pair upside down": 0.8}


@pytest.mark.parametrize(
    ("scores", "turned", "expected"),
    [
        ({}, {"mirrored": 0.5}, "warning"),
        ({}, {"mirrored": 0.5, "upside down": 0.2}, "warning"),
        ({}, {}, None),  # augmented otherwise
        ({}, {"upside down": 0.5}, None),  # by what leaves them as they are
        ({"pair mirrored": 0.55}, {"mirrored": 0.5}, None),  # not known when mirrored, and no other class
        ({"pair_as_is": 0.64}, {"mirrored": 0.5}, None),  # the model knows them about as well
        ({"pair_asked_given": 20.0}, {"mirrored": 0.5}, None),  # few samples
    ],
)
def test_two_classes_that_a_turn_makes_one_another(
    scores: dict[str, float], turned: dict[str, float], expected: str | None
) -> None:
    alike = {"training_training": 0.76, "training_given": 0.75, "as_is": 0.76, "given_given": 0.77}
    told = facts(redrawn=1.0, **alike | PAIR | TURNED | scores)
    assert told.splits is not None
    told = replace(told, splits=replace(told.splits, turned=turned))
    assert severity(told, "augmentation-hurts") == expected


class Turning(Dataset[tuple[Tensor, Tensor]]):
    """Samples that are changed at every second reading, with noise."""

    def __init__(self, samples: Tensor, change: Callable[[Tensor], Tensor], noise: float = 0.0) -> None:
        self.samples, self.change, self.noise, self.n = samples, change, noise, 0

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        self.n += 1
        x = self.change(self.samples[place]) if self.n % 2 else self.samples[place]
        return (x + self.noise * torch.randn_like(x) if self.noise else x), torch.tensor(0)


IMAGES = torch.randn(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("samples", "change", "noise", "expected"),
    [
        (IMAGES, lambda x: x.flip(-1), 0.1, {"mirrored": 1.0}),
        (IMAGES, lambda x: x.flip(-2), 0.0, {"upside down": 1.0}),
        (IMAGES, lambda x: x.rot90(1, (-2, -1)), 0.1, {"three quarters of a turn": 1.0}),  # the way back
        (IMAGES, lambda x: -x, 0.1, {"negated": 1.0}),
        (IMAGES[:, 0, :1], lambda x: x.flip(-1), 0.1, {"mirrored": 1.0}),  # one channel of a signal
        (IMAGES[:, 0, 0], lambda x: x.flip(-1), 0.1, {"mirrored": 1.0}),
        (torch.arange(320).view(40, 8), lambda x: x.flip(-1), 0.0, {"mirrored": 1.0}),  # tokens
        (IMAGES[..., :4], lambda x: x.flip(-1), 0.0, {}),  # four values, which have no order
        (IMAGES, lambda x: x.flip(-1), 1.0, {}),  # noise as large as the samples
        (IMAGES + IMAGES.flip(-1), lambda x: x.flip(-1), 0.05, {}),  # the same when mirrored
        (IMAGES, lambda x: x + 1, 0.1, {}),
    ],
)
def test_samples_that_are_turned_when_read_again(
    samples: Tensor, change: Callable[[Tensor], Tensor], noise: float, expected: dict[str, float]
) -> None:
    assert turned(DataLoader(Turning(samples, change, noise), 8)).shares == expected
    assert turned(iter([samples])).shares == {}


class Masked(Dataset[tuple[Tensor, Tensor]]):
    """Images and maps, each of which may be mirrored at every second reading."""

    def __init__(self, image: bool, mask: bool, masks: Tensor, dim: int = -1) -> None:
        self.image, self.mask, self.masks, self.dim, self.n = image, mask, masks, dim, 0

    def __len__(self) -> int:
        return len(IMAGES)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        self.n += 1
        x, y, now = IMAGES[place], self.masks[place], bool(self.n % 2)
        x = x.flip(self.dim) if now and self.image else x
        return x + 0.05 * torch.randn_like(x), y.flip(-1) if now and self.mask else y


MASKS = (IMAGES[:, 0] > 0.3).long()


@pytest.mark.parametrize(
    ("data", "torn"),
    [
        (Masked(True, False, MASKS), (32, 32)),
        (Masked(False, True, MASKS), (32, 32)),
        (Masked(True, True, MASKS), (0, 32)),
        (Masked(False, False, MASKS), (0, 32)),
        (Masked(True, True, MASKS, dim=-2), (32, 32)),  # one upside down, the other left for right
        (Masked(True, False, MASKS[:, None].float()), (32, 32)),
        (Masked(True, False, MASKS | MASKS.flip(-1)), (0, 0)),  # the same when mirrored
        (Masked(True, False, torch.zeros(40, 8, 8)), (0, 0)),
        (Masked(True, False, torch.arange(40)), (0, 0)),  # a class
        (Masked(True, False, torch.randn(40, 9, 8)), (0, 0)),  # of another size
    ],
)
def test_maps_that_do_not_turn_with_their_images(data: Masked, torn: tuple[int, int]) -> None:
    found = turned(DataLoader(data, 8))
    assert (found.torn, found.maps) == torn


@pytest.mark.parametrize(("torn", "expected"), [(12, "warning"), (2, None), (0, None)])
def test_an_image_that_is_turned_without_its_map_is_told(torn: int, expected: str | None) -> None:
    found = report(GOOD, training=run(FALL), splits=SplitFacts(redrawn=0.5, torn=torn, torn_of=30))
    assert severity(found, "augmentation-torn") == expected
    assert ("wrong-augmentation" in causes(found)) is (expected is not None)


def test_the_pair_is_asked_again_in_every_turn() -> None:
    made = anew._turned(Batch((IMAGES,), target=torch.zeros(40)))
    assert torch.equal(made["mirrored"].args[0], IMAGES.flip(-1))
    assert len(made) == 6
    assert {*anew._turned(Batch((IMAGES[..., :5],), target=torch.zeros(40)))} == {
        "negated",
        "mirrored",
        "upside down",
        "half a turn",
    }
    assert {*anew._turned(Batch((IMAGES.flatten(1),), target=torch.zeros(40)))} == {"negated", "mirrored"}
    assert {*anew._turned(Batch((torch.zeros(40, 9).long(),), target=torch.zeros(40)))} == {"mirrored"}


def arrows(n: int, seed: int, mirrored: float) -> tuple[Tensor, Tensor]:
    """Rows whose first half or second half is bright, and two kinds that are the same in both; some rows mirrored."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 4
    x = 0.7 * torch.randn(n, 12, generator=generator)
    x[y == 0, :6] += 1
    x[y == 1, 6:] += 1
    x[y == 2] += 2
    x[y == 3] -= 2
    over = torch.rand(n, generator=generator) < mirrored
    return torch.where(over[:, None], x.flip(1), x), y


@pytest.mark.parametrize(("classes", "expected"), [([0, 1, 2, 3], "warning"), ([0, 0, 2, 3], None)])
def test_mirrored_samples_are_held_against_samples_as_they_are(classes: list[int], expected: str | None) -> None:
    """Left and right are two classes, which mirroring makes one; or one class, which it leaves as it is."""
    (x, y), (vx, vy) = arrows(800, 1, 0.5), arrows(400, 2, 0.0)
    numbered = torch.tensor(classes)
    y, vy, model = numbered[y], numbered[vy], net(12, 24, 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for part in torch.arange(800).repeat(10).split(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[part]), y[part]).backward()
        optimizer.step()
    augmented = as_augmented(lab(model, (x, y), (vx, vy)))
    if expected is None:
        with pytest.raises(NotApplicableError, match="the model works"):
            anew.learned_anew(augmented)
        return
    n = anew.learned_anew(augmented).numbers
    assert n["pair_given_given"] > 0.85
    assert n["pair mirrored"] < 0.15
    assert max(n["pair_as_is"], n["pair_training_training"], n["pair_training_given"]) < 0.65
    trial = tried("learned-anew", {"kind": "classes"}, **n)
    told = report(GOOD, trials=trial, training=run(FALL), splits=SplitFacts(redrawn=0.5))
    assert severity(told, "augmentation-hurts") == expected
    assert "wrong-augmentation" in causes(told)


def as_augmented(made: Lab) -> Lab:
    return dataclasses.replace(made, augmented=True)


def discs(n: int, seed: int, mirrored: float = 0.0) -> tuple[Tensor, Tensor]:
    """A bright square somewhere in a dark field, and a mask of it, of which a share is upside down."""
    generator = torch.Generator().manual_seed(seed)
    x, y = 0.2 * torch.randn(n, 1, 10, 10, generator=generator), torch.zeros(n, 10, 10, dtype=torch.long)
    for i in range(n):
        top, left = (int(v) for v in torch.randint(0, 8, (2,), generator=generator))
        x[i, 0, top : top + 3, left : left + 3] += 1.5
        y[i, top : top + 3, left : left + 3] = 1
    over = torch.rand(n, generator=generator) < mirrored
    return x, torch.where(over[:, None, None], y.flip(1), y)


@pytest.mark.slow
@pytest.mark.parametrize("heads", [2, 1])
def test_maps_are_learned_by_class(heads: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, heads, 3, padding=1))
    (x, y), (vx, vy) = discs(200, 1, mirrored=0.7), discs(160, 2)
    loss: nn.Module = nn.CrossEntropyLoss()
    if heads == 1:
        loss, y, vy = nn.BCEWithLogitsLoss(), y[:, None].float(), vy[:, None].float()
    told = anew.learned_anew(lab(model, (x, y), (vx, vy), loss))
    n = told.numbers
    assert told.detail == {"kind": "maps"}
    assert n["commonest_given"] == 0.5  # the ground alone would be nine tenths of the places
    assert n["given_given"] > 0.9
    assert n["training_training"] < n["given_given"] - 0.2
    assert 0.05 < n["spread"] < 0.5
    assert words_anew.OUTCOMES["learned-anew"](n, told.detail).startswith("Places of a class")


def test_places_found_are_counted_by_class() -> None:
    target = torch.tensor([[[0, 0, 0, 1]], [[0, 0, -100, -100]]])
    there, found = found_places(target, torch.tensor([[[0, 1, 0, 1]], [[0, 0, 1, 1]]]))
    assert there.tolist() == [[3, 1], [2, 0]]
    assert found[0].tolist() == [pytest.approx(2 / 3), 1.0]
    assert found[1].tolist() == [1.0, 0.0]


def test_a_score_of_maps_is_as_sure_as_its_samples_are_alike() -> None:
    for spread, expected in ((0.1, "warning"), (0.6, None)):
        scores = {"spread": spread, "asked_given": 60.0, **HELD_BACK, "given_given": 0.8}
        told = tried("learned-anew", {"kind": "maps"}, **SCORES | scores)
        sick = report(BAD, trials=told, training=run(FLAT), splits=SplitFacts(redrawn=1.0))
        assert severity(sick, "augmentation-hurts") == expected


NOWHERE = {f"{a}_{b}": 0.25 for a in ("training", "given") for b in ("training", "given")} | {"as_is": 0.25}


@pytest.mark.parametrize(
    ("z", "scores", "table", "expected"),
    [
        (1.0, {}, BAD, "warning"),
        (5.0, {}, BAD, None),  # neighbours know something
        (1.0, {"given_given": 0.6}, BAD, "info"),  # so does a copy
        (1.0, {"scaled": 0.6}, BAD, "info"),  # or one that starts from weights of another scale
        (1.0, {}, GOOD, "info"),  # and so does the model
    ],
)
def test_labels_from_which_nothing_learns_anything_are_unrelated(
    z: float, scores: dict[str, float], table: Any, expected: str | None
) -> None:
    signal = Signal(kind="classes", n=400, k=5, score=0.25 + 0.01 * z, null_mean=0.25, null_std=0.01)
    told = tried("learned-anew", {"kind": "classes"}, **SCORES | NOWHERE | scores)
    splits = SplitFacts(training_signal=signal, given_signal=signal)
    data = DatasetFacts(n_samples=400, n_batches=4, shape="N x 8", dtype="float32", signal=signal)
    found = report(table, trials=told, training=run(FLAT), splits=splits, train_dataset=data)
    assert severity(found, "d-label-signal") == expected
    # a tower that nobody calls: copies lack it too
    rows = [
        ParameterRun(
            name=f"{name}.weight",
            module="Linear",
            shape=[9, 9],
            is_matrix=True,
            trainable=True,
            optimizer=0,
            n_looked=9,
            n_grad_none=9 * (name == "items"),
            changed=name != "items",
        )
        for name in ("users", "items")
    ]
    layers = [
        LayerRun(name=n, kind="Linear", order=i, train_calls=9 * (1 - i)) for i, n in enumerate(("users", "items"))
    ]
    part = replace(run(FLAT), parameters=rows, layers=layers)
    assert severity(replace(found, training=part), "d-label-signal") == (expected and "info")
    # nor do they get a gradient where it ran and what it made was left out
    for given, told in ((True, expected), (False, expected and "info")):
        rows = [replace(p, n_grad_none=0) for p in rows] if given else part.parameters
        both = replace(part, parameters=rows, layers=[replace(row, train_calls=9) for row in layers])
        assert severity(replace(found, training=both), "d-label-signal") == told
    if expected == "warning":
        assert "label-corruption" in causes(found)


def test_an_untrained_model_and_noise_are_not_judged() -> None:
    sick = facts(training_given=0.3)
    noise = structs.replace(sick, subject=structs.replace(sick.subject, inputs="synthetic"))
    assert severity(noise, "splits-disagree") is None


def test_splits_whose_targets_are_of_different_kinds_are_not_compared() -> None:
    """Findings that nobody looked for are -1 in the training data alone, and left out by the loss."""
    x, y = torch.randn(400, 8, generator=torch.Generator().manual_seed(0)), torch.ones(400, 2)
    y[::2, 0] = 0.0
    masked = torch.where(torch.arange(400)[:, None] % 3 == 0, torch.tensor(-1.0), y)
    work = lab(net(8, 16, 2), (x, masked), (x + 0.01, y), nn.BCEWithLogitsLoss())
    for trial in (anew.learned_anew, anew.unseen_half):
        with pytest.raises(NotApplicableError, match="different kinds"):
            trial(work)
