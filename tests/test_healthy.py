"""Healthy things that look sick: one test each. None of them may raise a warning or an error.

Where a name is given as the second argument of ``alarms``, only that rule has to be silent: the thing is shown on a
model that is not trained far enough to be well in every other way.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.optim import Adam, AdamW, lr_scheduler

import reportgen
from reportgen.document.facts import Report
from tests.faults import data, nets
from tests.faults.case import CASES, Training
from tests.faults.catalogue import chosen
from tests.faults.loop import plain_step, run, watched
from tests.faults.metrics import R2
from tests.faults.programs import adam, adamw, counting_gpt, program, sgd, shapes_cnn, token_loss

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def alarms(report: Report, *rules: str) -> list[str]:
    """Return the diagnoses of severity warning or error, each with its proofs; only those with these rules if any."""
    told = []
    for diagnosis in report.diagnoses:
        if diagnosis.severity.rank == 0:
            continue
        proofs = {f.rule for f in (*diagnosis.findings, *diagnosis.consequences) if f.severity.rank}
        if not rules or proofs & set(rules):
            told.append(f"{diagnosis.severity} {diagnosis.cause} ({', '.join(sorted(proofs))})")
    return told


def trained(training: Training) -> Report:
    """Train with the monitor in the loop, and examine."""
    return watched(training)[1]


def case(name: str, seed: int = 20) -> Report:
    """Train a healthy case of the bench with a seed of neither split."""
    assert CASES[name] in chosen()
    return run(CASES[name], seed, monitored=True).report


def unlearned(model: nn.Module, table: data.Data) -> Report:
    """Examine a model before its first step, with all that a user has at hand then."""
    training = program(model, table, adam(1e-3), 1)
    return reportgen.examine(
        model, training.val, train_data=training.train, loss=training.loss, optimizer=training.optimizer
    )


# ------------------------------------------------------------------------------- zero initialisation on purpose


class LayerScale(nn.Module):
    """x + γ f(x) with a small γ by channel (CaiT, ConvNeXt)."""

    def __init__(self, width: int, initial: float) -> None:
        super().__init__()
        self.f = nets.mlp(width, 2 * width, width, act=nn.GELU)
        self.gamma = nn.Parameter(torch.full((width,), initial))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gamma * self.f(x)


def test_residual_branches_that_start_at_nothing() -> None:
    model = nets.resnet()
    for module in model.modules():
        if isinstance(module, nets.Residual):
            nn.init.zeros_(module.norm2.weight)
    assert not alarms(unlearned(model, data.shapes(400)))
    assert not alarms(case("resnet-zero-gamma"))


def test_layer_scale_of_a_millionth() -> None:
    model = nn.Sequential(nn.Linear(12, 32), LayerScale(32, 1e-6), LayerScale(32, 1e-6), nn.ReLU(), nn.Linear(32, 5))
    table = data.clusters()
    assert not alarms(unlearned(model, table))
    assert not alarms(trained(program(model, table, adam(4e-3), 12)))


def test_rezero() -> None:
    model = nn.Sequential(nn.Linear(12, 32), LayerScale(32, 0.0), LayerScale(32, 0.0), nn.ReLU(), nn.Linear(32, 5))
    assert not alarms(unlearned(model, data.clusters()))


def test_low_rank_adapter_whose_second_factor_is_zero() -> None:
    assert not alarms(case("low-rank-adapters"))


def test_zero_convolution() -> None:
    """A control branch that is joined through a convolution of zeros."""

    class Controlled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.control = nn.Conv2d(1, 12, 3, padding=1), nn.Conv2d(1, 12, 3, padding=1)
            self.zero = nn.Conv2d(12, 12, 1)
            nn.init.zeros_(self.zero.weight)
            nn.init.zeros_(self.zero.bias)
            self.rest = nets.cnn(channels=12)

        def forward(self, x: Tensor) -> Tensor:
            return self.rest(self.stem(x) + self.zero(self.control(x).relu()))

    drawings = data.shapes()
    model = Controlled()
    assert not alarms(unlearned(model, drawings))
    assert not alarms(trained(program(model, drawings, adam(3e-3), 7)))


def _zero_head() -> nn.Sequential:
    model = nets.mlp(12, 32, 32, 5)
    nn.init.zeros_(model[-1].weight)
    nn.init.zeros_(model[-1].bias)
    return model


def test_zero_head() -> None:
    """Every gradient below a head of zeros is exactly zero at the first step."""
    assert not alarms(trained(program(_zero_head(), data.clusters(), adam(3e-3), 12)))


def test_zero_head_before_its_first_step() -> None:
    assert not alarms(unlearned(_zero_head(), data.clusters()))


# --------------------------------------------------------------------------------------------------- activations


def test_fresh_batch_norm_in_eval_mode() -> None:
    """Before any batch the running statistics are 0 and 1, and describe nothing."""
    assert not alarms(unlearned(nets.resnet(), data.shapes(400)))


def test_half_of_all_relu_outputs_are_zero() -> None:
    report = case("mlp-on-clusters")
    assert report.activations is not None
    zeros = [r.stats.zeros / r.stats.count for r in report.activations.rows if r.rectifier and r.stats]
    assert max(zeros) > 0.33
    assert not alarms(report)


def test_feed_forward_units_that_never_fire() -> None:
    """Large language models have layers with most ReLU units dead, and are well."""
    training = counting_gpt(10)
    block = training.model.blocks[1]
    block.mlp = nets.mlp(24, 96, 24)
    with torch.no_grad():
        block.mlp[0].bias[30:] = -30.0  # two thirds
    training.optimizer = AdamW(training.model.parameters(), lr=3e-3)
    assert not alarms(trained(training))


class Experts(nn.Module):
    """Top-1 routing over experts."""

    def __init__(self, n: int = 4) -> None:
        super().__init__()
        self.router = nn.Linear(12, n)
        self.experts = nn.ModuleList(nets.mlp(12, 24, 16) for _ in range(n))
        self.shared, self.head = nn.Linear(12, 16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        weight, chosen = self.router(x).softmax(1).max(1)
        h = self.shared(x)
        for i, expert in enumerate(self.experts):
            mine = chosen == i
            if mine.any():
                h = h.index_put((mine.nonzero()[:, 0],), weight[mine, None] * expert(x[mine]), accumulate=True)
        return self.head(h.relu())


def test_experts_that_the_probe_does_not_use() -> None:
    model = Experts()
    with torch.no_grad():
        model.router.bias[3] = -20.0  # this one is never chosen
    assert not alarms(trained(program(model, data.clusters(), adam(4e-3), 14)))


def test_massive_activations_and_attention_sinks() -> None:
    """One channel of the stream is a thousand times larger than the others at the first place."""
    training = counting_gpt(10)
    with torch.no_grad():
        training.model.positions[0, 3] = 300.0
    training.optimizer = AdamW(training.model.parameters(), lr=3e-3)
    assert not alarms(trained(training))


def test_head_that_looks_at_the_previous_symbol_only() -> None:
    """Attention with an entropy near zero is what a previous-token head is for."""

    class Previous(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(6, 24)
            self.positions = nn.Parameter(torch.eye(12, 24), requires_grad=False)
            self.softmax = nn.Softmax(dim=-1)
            self.mlp, self.head = nets.mlp(48, 48, 24), nn.Linear(24, 2)
            shift = torch.zeros(12, 12)
            shift[torch.arange(1, 12), torch.arange(11)] = 30.0
            shift[0, 0] = 30.0
            self.register_buffer("scores", shift)

        def forward(self, x: Tensor) -> Tensor:
            t = x.shape[1]
            h = self.embed(x) + self.positions[:t]
            before = self.softmax(self.scores[:t, :t]) @ h
            return self.head(self.mlp(torch.cat([h, before], -1)).relu())

    assert not alarms(trained(program(Previous(), data.tagging(900), adam(5e-3), 9, loss=token_loss)))


def test_saturated_gates() -> None:
    """Gates that stand open or shut are how an LSTM remembers."""
    model = nets.Recurrent(nn.LSTM, 4, 24, 4, symbols=True)
    with torch.no_grad():
        model.rnn.bias_hh_l0[24:48] = 6.0
    assert not alarms(trained(program(model, data.first_symbol(900, 16), adam(1e-2), 14)))


def test_stacked_gates_and_projections_of_different_scale() -> None:
    """The three parts of a qkv matrix, and the four of an LSTM, need not have one scale."""
    training = counting_gpt(10)
    with torch.no_grad():
        for block in training.model.blocks:
            block.attention.qkv.weight[:48] *= 4  # queries and keys
    training.optimizer = AdamW(training.model.parameters(), lr=3e-3)
    assert not alarms(trained(training))


# ------------------------------------------------------------------------------------------------------- weights


def test_depthwise_kernels_alike() -> None:
    """Nine numbers a kernel: many pairs correlate by chance."""
    assert not alarms(case("depthwise-separable"))


def test_filters_in_pairs_of_opposite_sign() -> None:
    training = shapes_cnn(8, norm=False)
    first = training.model[0]
    with torch.no_grad():
        first.weight[6:] = -first.weight[:6]
        first.bias[6:] = -first.bias[:6]
    assert not alarms(trained(training))


def test_fixed_blur_at_the_stem() -> None:
    blur = nn.Conv2d(1, 4, 3, padding=1, bias=False)
    blur.weight = nn.Parameter(torch.full((4, 1, 3, 3), 1 / 9), requires_grad=False)
    model = nn.Sequential(blur, nets.cnn(channels=4))
    assert not alarms(trained(program(model, data.shapes(), adam(4e-3), 8)))


def test_features_that_collapse_to_one_point_a_class() -> None:
    """At the end of training the inputs of the classifier have rank K - 1, and that is fine."""
    training = program(nets.mlp(12, 64, 64, 5), data.clusters(1500, spread=0.3), adam(3e-3), 25)
    assert not alarms(trained(training))


def test_rows_of_zeros_for_padding() -> None:
    assert not alarms(case("padded-and-masked"))


def test_pruned_model() -> None:
    training = shapes_cnn(8)
    prune.ln_structured(training.model[4], "weight", amount=0.3, n=2, dim=0)
    training.optimizer = Adam(training.model.parameters(), lr=3e-3)
    assert not alarms(trained(training))


def test_quantised_model() -> None:
    """Weights that lie on 255 steps."""
    training = shapes_cnn(8)

    def quantise(training: Training) -> None:
        with torch.no_grad():
            for parameter in training.model.parameters():
                step = parameter.abs().max() / 127
                parameter.copy_((parameter / step).round() * step)

    training.finish = quantise
    assert not alarms(trained(training))


def test_embedding_and_head_of_their_own() -> None:
    """A language model whose embedding and head are not tied, though they have one shape."""
    training = counting_gpt(10)
    assert training.model.embed.weight.shape == training.model.head.weight.shape
    assert not alarms(trained(training))


def test_head_with_the_prior_of_a_rare_class_in_its_bias() -> None:
    assert not alarms(case("focal-prior-bias"))


# --------------------------------------------------------------------------------------------------- loss curves


def test_training_loss_above_validation_loss() -> None:
    """With dropout and augmentation the training figures are the worse ones."""
    assert not alarms(case("dropout-half"))
    assert not alarms(case("shifted-and-noisy-augmentation"))


def test_training_loss_to_nothing_while_validation_stays_flat() -> None:
    """A wide net that has every training sample right, and loses nothing by it."""
    table = data.clusters(2400, spread=0.7)
    training = program(nets.mlp(12, 128, 128, 5), table, sgd(0.1, momentum=0.9), 25)
    training.scheduler = lr_scheduler.CosineAnnealingLR(training.optimizer, 25)
    assert not alarms(trained(training))


def test_drop_of_the_loss_when_the_rate_steps() -> None:
    training = program(nets.mlp(12, 32, 32, 5), data.clusters(1500, spread=1.2), sgd(0.15, momentum=0.8), 16)
    training.scheduler = lr_scheduler.MultiStepLR(training.optimizer, [9, 13], gamma=0.1)
    assert not alarms(trained(training))


def test_bump_at_the_end_of_the_warm_up() -> None:
    training = program(nets.mlp(12, 32, 32, 5), data.clusters(1500), sgd(0.3, momentum=0.8), 14)
    training.scheduler = lr_scheduler.LinearLR(training.optimizer, start_factor=0.01, total_iters=4)
    assert not alarms(trained(training))


def test_warm_restarts() -> None:
    assert not alarms(case("warm-restarts"))


def test_end_of_a_cosine_schedule() -> None:
    """The last steps are as good as nothing."""
    assert not alarms(case("cosine-to-zero"))


def test_converged_model_with_tiny_gradients() -> None:
    table = data.clusters(1500, spread=0.3)
    training = program(nets.mlp(12, 24, 5), table, adam(5e-3), 40)
    report = trained(training)
    assert report.gradients is not None
    assert not alarms(report)


def test_label_smoothing() -> None:
    """The loss has a floor and the model is not confident, by design."""
    assert not alarms(case("label-smoothing"))


def test_noise_in_a_regression_target() -> None:
    assert not alarms(case("noisy-targets"))


def test_adversarial_losses() -> None:
    assert not alarms(case("generative-adversarial"))


def test_contrastive_loss() -> None:
    assert not alarms(case("siamese-pairs"))


def test_policy_gradient_loss() -> None:
    """The loss of REINFORCE wanders about zero while the reward rises."""
    model = nets.mlp(12, 32, 5)
    table = data.clusters(1500)

    def step(training: Training, batch: Any) -> Tensor:
        x, y = batch
        chances = torch.distributions.Categorical(logits=training.model(x))
        action = chances.sample()
        reward = (action == y).float()
        loss = -(chances.log_prob(action) * (reward - reward.mean())).mean()
        training.optimizer.zero_grad()
        loss.backward()
        training.optimizer.step()
        return loss

    training = program(model, table, adam(5e-3), 20, step=step)
    curves, report = watched(training)
    if curves.scores[-1] < 0.9:
        raise RuntimeError("the policy learned nothing")
    assert not alarms(report)


# ----------------------------------------------------------------------------------------- gradients and updates


def test_early_gradients_of_a_resnet_are_the_largest() -> None:
    model = nets.resnet()
    assert not alarms(unlearned(model, data.shapes(600)), "grad-depth-slope")
    assert not alarms(case("small-resnet-sgd"))


def test_gradient_of_a_layer_scale_thousands_of_times_its_weight() -> None:
    model = nn.Sequential(nn.Linear(12, 32), LayerScale(32, 1e-5), LayerScale(32, 1e-5), nn.ReLU(), nn.Linear(32, 5))
    assert not alarms(trained(program(model, data.clusters(), sgd(0.1, momentum=0.9), 10)))


def test_steps_skipped_by_a_gradient_scaler() -> None:
    """The first steps of mixed precision overflow and are skipped until the scale has come down."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20, growth_interval=10_000)
    skipped = [0]

    def step(training: Training, batch: Any) -> Tensor:
        loss = training.loss(training.model(batch[0]), batch[1])
        training.optimizer.zero_grad()
        scaler.scale(loss).backward()
        if skipped[0] < 3:
            skipped[0] += 1
            training.model[0].weight.grad[0, 0] = math.inf
        scaler.step(training.optimizer)
        scaler.update()
        return loss

    assert not alarms(trained(program(nets.mlp(12, 32, 32, 5), data.clusters(), adam(3e-3), 12, step=step)))


def test_weight_decay_on_layers_before_a_norm() -> None:
    """Their scale does not matter: decay and gradient come to rest against each other."""
    model = nets.mlp(12, 32, 32, 5, norm=True)
    optimizer = sgd(0.05, momentum=0.9, weight_decay=0.01)
    training = program(model, data.clusters(1500), optimizer, 12)
    training.scheduler = lr_scheduler.CosineAnnealingLR(training.optimizer, 12)
    assert not alarms(trained(training))


# ----------------------------------------------------------------------------------------------- data and inputs


def test_frozen_backbone_with_statistics_of_its_old_domain() -> None:
    """Pictures twice as strong as those that the backbone was trained on; only the head learns."""
    before = program(nets.cnn(4), data.shapes(700, classes=4), adam(3e-3), 5)
    for _ in range(before.epochs):
        for batch in before.train:
            plain_step(before, batch)
    model = copy.deepcopy(before.model)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model[-1] = nn.Linear(24, 6)
    drawings = data.shapes(1200)
    drawings = data.Data(1.3 * drawings.x, drawings.y, 1.3 * drawings.x_val, drawings.y_val)
    training = program(model, drawings, adam(1e-2), 8)
    training.optimizer = Adam(model[-1].parameters(), lr=1e-2)
    training.begin_epoch = lambda training, epoch: training.model.eval()
    assert not alarms(trained(training))


def test_pictures_normalised_as_usual_reach_beyond_one() -> None:
    """The customary figures of natural pictures give values from -2.1 to 2.6."""
    patches = data.tinted(900)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])

    def prepared(x: Tensor) -> Tensor:
        picture = (x * 0.4 + 0.5).clamp(0, 1)
        return (picture - mean[:, None, None]) / std[:, None, None]

    patches = data.Data(prepared(patches.x), patches.y, prepared(patches.x_val), patches.y_val)
    assert patches.x.max() > 2
    assert not alarms(trained(program(nets.cnn(3, channels=3), patches, adam(3e-3), 5)))


class MaskedAttention(nn.Module):
    """Attention written out, with -inf where it must not look."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 24)
        self.positions = nn.Parameter(0.1 * torch.randn(13, 24))
        self.qkv, self.out = nn.Linear(24, 72), nn.Linear(24, 24)
        self.softmax = nn.Softmax(dim=-1)
        self.mlp, self.head = nets.mlp(24, 64, 24), nn.Linear(24, 11)
        self.register_buffer("mask", torch.full((13, 13), -math.inf).triu(1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x) + self.positions
        q, k, v = self.qkv(h).chunk(3, -1)
        h = h + self.out(self.softmax(q @ k.transpose(1, 2) / 24**0.5 + self.mask) @ v)
        return self.head(h + self.mlp(h))


def test_masks_of_minus_infinity() -> None:
    training = program(MaskedAttention(), data.counting(900), adamw(5e-3), 12, loss=token_loss)
    assert not alarms(trained(training))


def test_random_noise_as_a_probe() -> None:
    """Noise made from an input size says nothing about dead units, scale or skill."""
    model = nets.cnn()
    training = program(model, data.shapes(), adam(3e-3), 6)
    for _ in range(training.epochs):
        for batch in training.train:
            plain_step(training, batch)
    report = reportgen.examine(model, options=reportgen.Options(input_size=[1, 12, 12]))
    assert report.subject.inputs == "synthetic"
    assert not alarms(report)


def test_regression_of_large_but_scaled_counts() -> None:
    """A head that is told the mean and the deviation of its target may answer in thousands."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nets.mlp(8, 48, 1)

        def forward(self, x: Tensor) -> Tensor:
            return 5000 + 800 * self.body(x)

    table = data.friedman()
    table = data.Data(table.x, 5000 + 800 * table.y, table.x_val, 5000 + 800 * table.y_val)

    def loss(output: Tensor, y: Tensor) -> Tensor:
        return F.mse_loss(output / 800, y / 800)

    assert not alarms(trained(program(Scaled(), table, adam(5e-3), 14, loss=loss, metric=R2)))
