"""Second fresh healthy programs: letters, cloth, rooms and dials."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.optim import SGD, AdamW, lr_scheduler

from . import data, fresh2_data, nets
from .case import Metric, Training, healthy
from .fresh2_programs import PIXELS, Pooled, classifier, convolutions, cosine, step_down
from .metrics import R2
from .programs import adam, adamw, program, sgd


@healthy("cnn", bar=0.9)
def letters_with_batch_norm(seed: int) -> Training:
    return cosine(program(classifier(4), fresh2_data.letters(), adam(4e-3), 8))


@healthy("cnn", bar=0.9)
def letters_without_a_norm(seed: int) -> Training:
    return cosine(program(classifier(4, norm=False), fresh2_data.letters(1200), adam(4e-3), 10))


@healthy("cnn", bar=0.9)
def letters_in_batches_of_four(seed: int) -> Training:
    """Batches too small for batch norm: the channels are normalised in groups."""
    model = nn.Sequential(
        *(nn.Conv2d(1, 12, 3, padding=1), nn.GroupNorm(3, 12), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(12, 24, 3, padding=1), nn.GroupNorm(4, 24), nn.ReLU(), Pooled(), nn.Linear(48, 4)),
    )
    return cosine(program(model, fresh2_data.letters(900), adam(1e-3), 5, batch=4))


class Separable(nn.Module):
    """Each channel by itself, then across channels."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.each = nn.Conv2d(a, a, 3, padding=1, groups=a, bias=False)
        self.across, self.norm = nn.Conv2d(a, b, 1, bias=False), nn.BatchNorm2d(b)

    def forward(self, x: Tensor) -> Tensor:
        return F.hardswish(self.norm(self.across(self.each(x))))


@healthy("depthwise", bar=0.9)
def cloth_by_depthwise_convolutions(seed: int) -> Training:
    stem = (nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.Hardswish())
    model = nn.Sequential(*stem, Separable(16, 24), nn.AvgPool2d(2), Separable(24, 32), Pooled(), nn.Linear(64, 4))
    return cosine(program(model, fresh2_data.fabrics(), adamw(5e-3, weight_decay=0.05), 8))


class Bottleneck(nn.Module):
    """x + narrow, look around, widen; the last norm starts at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.body = nn.Sequential(
            *(nn.Conv2d(width, half, 1, bias=False), nn.BatchNorm2d(half), nn.ReLU()),
            *(nn.Conv2d(half, half, 3, padding=1, bias=False), nn.BatchNorm2d(half), nn.ReLU()),
            *(nn.Conv2d(half, width, 1, bias=False), nn.BatchNorm2d(width)),
        )
        nn.init.zeros_(self.body[-1].weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


@healthy("resnet", bar=0.9)
def cloth_by_bottlenecks_with_zero_gain(seed: int) -> Training:
    stem = (nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    model = nn.Sequential(*stem, Bottleneck(16), Bottleneck(16), Pooled(), nn.Linear(32, 4))
    optimizer = sgd(0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    return cosine(program(model, fresh2_data.fabrics(1000), optimizer, 8))


class Patches(nn.Module):
    """A vision transformer with a class token and learned places."""

    def __init__(self, channels: int, size: int, patch: int, classes: int, width: int = 32) -> None:
        super().__init__()
        self.cut = nn.Conv2d(channels, width, patch, stride=patch)
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.places = nn.Parameter(0.02 * torch.randn((size // patch) ** 2 + 1, width))
        self.blocks = nn.Sequential(nets.Block(width), nets.Block(width))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        h = self.cut(x).flatten(2).transpose(1, 2)
        h = self.blocks(torch.cat([self.token.expand(len(x), -1, -1), h], 1) + self.places)
        return self.head(self.norm(h[:, 0]))


@healthy("vit", bar=0.85)
def cloth_by_patches_and_a_class_token(seed: int) -> Training:
    training = program(Patches(3, 10, 5, 4), fresh2_data.fabrics(1400, noise=0.25), adamw(3e-3), 12)
    training.scheduler = lr_scheduler.OneCycleLR(training.optimizer, 3e-3, training.epochs * len(training.train))
    training.scheduler_every = "step"
    return training


class Segmenter(nn.Module):
    """Down once, up once, with the fine map carried across."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.fine = nn.Sequential(*convolutions(1, width, pool=False))
        self.coarse = nn.Sequential(nn.MaxPool2d(2), *convolutions(width, 2 * width, 2 * width, pool=False))
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.head = nn.Sequential(*convolutions(2 * width, width, pool=False), nn.Conv2d(width, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(x)
        return self.head(torch.cat([fine, self.up(self.coarse(fine))], 1))


@healthy("segmentation", bar=0.9)
def boxes_in_rooms_pixel_by_pixel(seed: int) -> Training:
    return cosine(program(Segmenter(), fresh2_data.rooms(500), adam(3e-3), 6, metric=PIXELS))


@healthy("cnn-regression", bar=0.95)
def where_a_hand_points(seed: int) -> Training:
    model = nn.Sequential(
        *(nn.Conv2d(1, 12, 3, stride=2, padding=1), nn.SiLU(), nn.Conv2d(12, 24, 3, stride=2, padding=1), nn.SiLU()),
        *(nn.Flatten(), nn.Linear(216, 32), nn.SiLU(), nn.Linear(32, 2)),
    )
    return cosine(program(model, fresh2_data.dials(), adam(3e-3), 10, loss=nn.MSELoss(), metric=R2))


class Heat(nn.Module):
    """A map that adds up to how many there are."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(*convolutions(1, 12, 12, norm=False, pool=False), nn.Conv2d(12, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).sum((2, 3)) / 16


@healthy("counting", bar=0.85)
def spots_counted_by_a_map(seed: int) -> Training:
    return cosine(program(Heat(), fresh2_data.cells(), adam(4e-3), 10, loss=nn.SmoothL1Loss(), metric=R2))


# ways of training


@healthy("mixup", bar=0.9)
def letters_mixed_in_pairs(seed: int) -> Training:
    beta = torch.distributions.Beta(0.4, 0.4)

    def step(training: Training, batch: Any) -> Tensor:
        x, y = batch
        other, share = torch.randperm(len(x)), beta.sample()
        scores = training.model(share * x + (1 - share) * x[other])
        loss = share * F.cross_entropy(scores, y) + (1 - share) * F.cross_entropy(scores, y[other])
        step_down(loss, training.optimizer)
        return loss

    return cosine(program(classifier(4), fresh2_data.letters(), adam(4e-3), 10, step=step))


@healthy("augmentation", bar=0.9)
def cloth_mirrored_and_rolled(seed: int) -> Training:
    """Cloth looks the same in a mirror and wherever it is cut."""

    def step(training: Training, batch: Any) -> Tensor:
        x, y = batch
        x = x.roll((int(torch.randint(0, 10, ())), int(torch.randint(0, 10, ()))), (2, 3))
        x = x.flip(2) if torch.rand(()) < 0.5 else x
        loss = training.loss(training.model(x), y)
        step_down(loss, training.optimizer)
        return loss

    return cosine(program(classifier(4, 3), fresh2_data.fabrics(), adam(6e-3), 10, step=step))


def _learned(table: data.Data, model: nn.Module, steps: int = 150) -> nn.Module:
    """Train a model on a table before the program starts."""
    optimizer = AdamW(model.parameters(), lr=4e-3)
    for _ in range(steps):
        rows = torch.randint(0, len(table.x), (32,))
        step_down(F.cross_entropy(model(table.x[rows]), table.y[rows]), optimizer)
    return model


@healthy("fine-tuning", bar=0.85)
def new_letters_over_a_frozen_body(seed: int) -> Training:
    """The body has learned other letters; its norms stay in eval mode, only the head learns."""
    body = _learned(fresh2_data.letters(1200, kinds="bdpqxz"), classifier(6, widths=(16, 32)))[:-1]
    body.requires_grad_(False)
    model = nn.Sequential(*body, nn.Linear(64, 4))

    def begin(training: Training, epoch: int) -> None:
        training.model.eval()
        training.model[-1].train()

    head = lambda m: AdamW(m[-1].parameters(), lr=1e-2)  # noqa: E731
    return cosine(program(model, fresh2_data.letters(kinds="pqxz"), head, 10, begin_epoch=begin))


class Added(nn.Module):
    """A frozen linear layer and a product of two thin ones beside it; the second starts at zero."""

    def __init__(self, base: nn.Linear, rank: int = 4) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + 2 * x @ self.down.T @ self.up.T


@healthy("lora", bar=0.85)
def corners_moved_and_met_by_thin_layers(seed: int) -> Training:
    table = fresh2_data.corners(2400, kinds=4)
    first = _learned(table.take(800), nets.mlp(10, 48, 48, 4))
    turn = torch.linalg.qr(torch.eye(10) + 0.25 * torch.randn(10, 10)).Q
    moved = data.Data(table.x[800:] @ turn, table.y[800:], table.x_val @ turn, table.y_val)
    model = nn.Sequential(*(Added(layer) if isinstance(layer, nn.Linear) else layer for layer in first))
    trained = lambda m: AdamW([p for p in m.parameters() if p.requires_grad], lr=6e-3)  # noqa: E731
    return cosine(program(model, moved, trained, 12))


@healthy("pruned", bar=0.85)
def letters_with_half_of_all_weights_gone(seed: int) -> Training:
    """Half of the weights of each layer are cut after four epochs, then it learns on."""
    model = classifier(4)
    training = program(model, fresh2_data.letters(), adam(5e-3), 12)

    def begin(training: Training, epoch: int) -> None:
        model.train()
        if epoch == 4:
            for module in model.modules():
                if isinstance(module, nn.Conv2d | nn.Linear):
                    prune.l1_unstructured(module, "weight", 0.5)

    def finish(training: Training) -> None:
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                prune.remove(module, "weight")

    training.begin_epoch, training.finish = begin, finish
    return cosine(training)


@healthy("amp", bar=0.9)
def letters_in_bfloat16(seed: int) -> Training:
    def step(training: Training, batch: Any) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = training.loss(training.model(batch[0]), batch[1])
        step_down(loss, training.optimizer)
        return loss

    return cosine(program(classifier(4), fresh2_data.letters(), adam(4e-3), 8, step=step))


@healthy("swa", bar=0.9)
def cloth_by_averaged_weights(seed: int) -> Training:
    """Weights are averaged over the last epochs; the norms then see the training data once more."""
    model = classifier(4, 3)
    average = torch.optim.swa_utils.AveragedModel(model)
    training = program(model, fresh2_data.fabrics(), sgd(0.05, momentum=0.9), 10)

    def validate(training: Training) -> None:
        model.eval()

    def begin(training: Training, epoch: int) -> None:
        if epoch >= 6:
            average.update_parameters(model)
        model.train()

    def finish(training: Training) -> None:
        average.update_parameters(model)
        torch.optim.swa_utils.update_bn(training.train, average)
        model.load_state_dict(average.module.state_dict())

    training.begin_epoch, training.begin_validation, training.finish = begin, validate, finish
    training.scheduler = lr_scheduler.LambdaLR(training.optimizer, lambda epoch: max(0.1, 1 - epoch / 6))
    return training


@healthy("early-stop", bar=0.9)
def letters_until_they_stop_getting_better(seed: int) -> Training:
    """Stops on its own; the best weights are put back."""
    model = classifier(4, norm=False)
    best: dict[str, Any] = {}

    def finish(training: Training) -> None:
        model.load_state_dict(best["state"])

    def begin(training: Training, epoch: int) -> None:
        model.eval()
        with torch.no_grad():
            loss = float(sum(training.loss(model(x), y) * len(y) for x, y in training.val))
        if loss < best.get("loss", float("inf")):
            best.update(loss=loss, state={k: v.clone() for k, v in model.state_dict().items()})
        model.train()

    table = fresh2_data.letters(1200, noise=0.4)
    return program(model, table, adamw(4e-3), 30, begin_epoch=begin, finish=finish, patience=3)


@healthy("schedule", bar=0.9)
def rate_lowered_where_the_loss_stands_still(seed: int) -> Training:
    training = program(
        classifier(4), fresh2_data.letters(1600, noise=0.35), sgd(0.03, momentum=0.9, weight_decay=2e-3), 12
    )
    training.scheduler = lr_scheduler.ReduceLROnPlateau(training.optimizer, factor=0.3, patience=1)
    return training


@healthy("gradient-accumulation", bar=0.9)
def cloth_in_steps_of_four_small_batches(seed: int) -> Training:
    held = [0]

    def step(training: Training, batch: Any) -> Tensor:
        loss = training.loss(training.model(batch[0]), batch[1])
        (loss / 4).backward()
        held[0] += 1
        if held[0] % 4 == 0:
            training.optimizer.step()
            training.optimizer.zero_grad()
        return loss

    model = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.SiLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 24, 3, padding=1), nn.GroupNorm(4, 24), nn.SiLU(), Pooled(), nn.Linear(48, 4)),
    )
    return program(model, fresh2_data.fabrics(), adamw(4e-3), 8, batch=8, step=step)


class Views(nn.Module):
    """Vectors of unit length of two noisy views of each letter, (N, 2, D)."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.body = nn.Sequential(*convolutions(1, 12, 24, norm=False), Pooled(), nn.Linear(48, width))

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.body(x.flatten(0, 1)), dim=1).unflatten(0, (len(x), 2))


def _contrast(output: Tensor, y: Tensor) -> Tensor:
    scores = output[:, 0] @ output[:, 1].T / 0.2
    here = torch.arange(len(scores))
    return (F.cross_entropy(scores, here) + F.cross_entropy(scores.T, here)) / 2


def _found(output: Tensor, y: Tensor) -> float:
    """Share of views whose nearest other view among the first 64 is their own."""
    scores = output[:64, 0] @ output[:64, 1].T
    return float((scores.argmax(1) == torch.arange(len(scores))).float().mean())


@healthy("contrastive", bar=0.5)
def two_views_of_a_letter_found_among_others(seed: int) -> Training:
    table = fresh2_data.letters(2600, kinds="bdpqxz", noise=0.0)
    views = [torch.stack([t + 0.5 * torch.randn_like(t) for _ in range(2)], 1) for t in (table.x, table.x_val)]
    pairs = data.Data(views[0], table.y, views[1], table.y_val)
    metric = Metric("found", _found, lambda y: 1 / 64)
    return cosine(program(Views(), pairs, adam(4e-3), 10, loss=_contrast, metric=metric, batch=64))


@healthy("distillation", bar=0.9)
def small_student_of_cloth(seed: int) -> Training:
    table = fresh2_data.fabrics(1000)
    teacher = _learned(table, classifier(4, 3, widths=(24, 48)), 200).requires_grad_(False).eval()

    def step(training: Training, batch: Any) -> Tensor:
        x, y = batch
        scores, soft = training.model(x), (teacher(x) / 2).softmax(1)
        loss = 0.3 * F.cross_entropy(scores, y) + 0.7 * 4 * F.kl_div(
            (scores / 2).log_softmax(1), soft, reduction="batchmean"
        )
        step_down(loss, training.optimizer)
        return loss

    return cosine(program(classifier(4, 3, widths=(8, 12)), table, adam(6e-3), 8, step=step))


@healthy("cnn", bar=0.9)
def mirrored_letters_with_a_rate_for_each_part(seed: int) -> Training:
    """The body learns at a third of the head's rate."""
    model = classifier(4)

    def groups(model: nn.Module) -> SGD:
        return SGD([{"params": model[:-1].parameters(), "lr": 0.03}, {"params": model[-1].parameters()}], 0.1, 0.9)

    return cosine(program(model, fresh2_data.letters(kinds="bdpq"), groups, 10))
