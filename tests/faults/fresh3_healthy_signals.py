"""Third fresh healthy programs: pictures, rows and what is made up. They look odd on purpose, and all of them work."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adadelta, lr_scheduler

from . import fresh3_data, nets
from .case import Metric, Training, healthy
from .data import Data, counting
from .fresh3_programs import MASK, Segmenter, Sentence, Tower, classifier, convolutions, cosine, step_down
from .fresh3_sick_steps import digits_scaled
from .metrics import R2
from .programs import adam, adamw, program, sgd, token_loss

# pictures


class Numerals(nn.Module):
    """The net of PyTorch's first example, for smaller digits: two convolutions, two dropouts, log-softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 16, 3), nn.Conv2d(16, 32, 3)
        self.dropout1, self.dropout2 = nn.Dropout(0.25), nn.Dropout(0.5)
        self.fc1, self.fc2 = nn.Linear(128, 64), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        x = self.dropout1(F.max_pool2d(x, 2)).flatten(1)
        return F.log_softmax(self.fc2(self.dropout2(F.relu(self.fc1(x)))), dim=1)


@healthy("cnn", bar=0.93)
def first_example_of_pytorch(seed: int) -> Training:
    """Adadelta at 1.0, StepLR by 0.7 each epoch, ``nll_loss``."""
    optimizer = lambda m: Adadelta(m.parameters(), lr=1.0)  # noqa: E731
    training = program(Numerals(), digits_scaled(), optimizer, 10, loss=nn.NLLLoss())
    training.scheduler = lr_scheduler.StepLR(training.optimizer, 1, gamma=0.7)
    return training


@healthy("cnn", bar=0.85)
def frozen_body_and_a_new_head(seed: int) -> Training:
    """A body that has learned gratings is frozen, in eval mode; SGD and StepLR(7, 0.1) as in the transfer tutorial."""
    table = fresh3_data.gratings3(1800, kinds=6, noise=0.4)
    body = nn.Sequential(*convolutions(1, 16, 32), nn.AdaptiveMaxPool2d(1), nn.Flatten())
    first = nn.Sequential(body, nn.Linear(32, 6))
    optimizer = torch.optim.Adam(first.parameters(), lr=4e-3)
    for _ in range(160):
        rows = torch.randint(0, 900, (32,))
        step_down(F.cross_entropy(first(table.x[rows]), table.y[rows]), optimizer)
    body.requires_grad_(False)
    model = nn.Sequential(body, nn.Linear(32, 3))
    kinds = Data(table.x[900:], table.y[900:] // 2, table.x_val, table.y_val // 2)
    head = lambda m: torch.optim.SGD(m[1].parameters(), lr=0.01, momentum=0.9)  # noqa: E731
    training = program(model, kinds, head, 14)
    training.scheduler = lr_scheduler.StepLR(training.optimizer, 7, 0.1)

    def begin(training: Training, epoch: int) -> None:
        training.model.train()
        body.eval()

    training.begin_epoch = begin
    return training


@healthy("cnn", bar=0.9)
def pupil_of_a_larger_net(seed: int) -> Training:
    """What a larger net says, softened, is most of the loss (Hinton 2015)."""
    table = fresh3_data.glyphs(1300)
    teacher = classifier(5, widths=(16, 32))
    optimizer = torch.optim.Adam(teacher.parameters(), lr=5e-3)
    for _ in range(150):
        rows = torch.randint(0, len(table.x), (32,))
        step_down(F.cross_entropy(teacher(table.x[rows]), table.y[rows]), optimizer)
    teacher.eval()

    def step(training: Training, batch: Any) -> Tensor:
        x, y = batch
        with torch.no_grad():
            soft = (teacher(x) / 3).softmax(1)
        output = training.model(x)
        loss = 9 * F.kl_div((output / 3).log_softmax(1), soft, reduction="batchmean") * 0.8
        loss = loss + 0.2 * F.cross_entropy(output, y)
        step_down(loss, training.optimizer)
        return loss

    return cosine(program(classifier(5, widths=(8, 16)), table, adam(6e-3), 10, step=step))


@healthy("segmentation", bar=0.8)
def small_discs_by_their_overlap(seed: int) -> Training:
    """Group norm, dice loss and cross-entropy; one pixel in twenty is a disc."""

    def norms(module: nn.Module) -> nn.Module:
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.GroupNorm(4, child.num_features))
            else:
                norms(child)
        return module

    def loss(output: Tensor, y: Tensor) -> Tensor:
        share = output.softmax(1)[:, 1]
        dice = 1 - (2 * (share * y).sum() + 1) / (share.sum() + y.sum() + 1)
        return dice + F.cross_entropy(output, y)

    data, _ = fresh3_data.lesions()
    return cosine(program(norms(Segmenter()), data, adam(6e-3), 8, loss=loss, metric=MASK))


@healthy("cnn", bar=0.85)
def instance_norm_and_swish_by_one_cycle(seed: int) -> Training:
    layers: list[nn.Module] = []
    for a, b in ((1, 16), (16, 32)):
        layers += [nn.Conv2d(a, b, 3, padding=1), nn.InstanceNorm2d(b, affine=True), nn.SiLU(), nn.MaxPool2d(2)]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(288, 5))
    training = program(model, fresh3_data.glyphs(2000), sgd(0.05, momentum=0.9, weight_decay=5e-4), 10)
    total = training.epochs * len(training.train)
    training.scheduler = lr_scheduler.OneCycleLR(training.optimizer, 0.1, total_steps=total + 1)
    training.scheduler_every = "step"
    return training


@healthy("regression", bar=0.85)
def counting_dots(seed: int) -> Training:
    model = nn.Sequential(*convolutions(1, 12, 24), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 1))
    return cosine(program(model, fresh3_data.sprinkled(1400), adam(5e-3), 12, loss=nn.MSELoss(), metric=R2))


@healthy("vit", bar=0.9)
def patches_of_digits(seed: int) -> Training:
    """Half-size patches, mean of all, warm-up and cosine; four gradients are added up on purpose."""
    model = nets.ViT(10, size=8, patch=2, width=32)
    training = program(model, digits_scaled(), adamw(4e-3), 14, batch=16)
    seen = {"n": 0}

    def step(training: Training, batch: Any) -> Tensor:
        loss = training.loss(training.model(batch[0]), batch[1])
        (loss / 4).backward()
        seen["n"] += 1
        if seen["n"] % 4 == 0:
            nn.utils.clip_grad_norm_(training.model.parameters(), 1.0)
            training.optimizer.step()
            training.optimizer.zero_grad()
        return loss

    training.step = step
    total = training.epochs * len(training.train)
    training.scheduler = lr_scheduler.LambdaLR(
        training.optimizer, lambda i: min((i + 1) / 60, 0.5 + 0.5 * math.cos(math.pi * min(1.0, i / total)))
    )
    training.scheduler_every = "step"
    return training


# rows


class Language(nn.Module):
    """PyTorch's word language model, small: vectors, an LSTM, words."""

    def __init__(self) -> None:
        super().__init__()
        self.drop, self.embed = nn.Dropout(0.1), nn.Embedding(11, 48)
        self.rnn, self.decoder = nn.LSTM(48, 48, batch_first=True), nn.Linear(48, 11)
        nn.init.uniform_(self.embed.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)
        nn.init.uniform_(self.decoder.weight, -0.1, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.drop(self.rnn(self.drop(self.embed(x)))[0]))


@healthy("language-model", bar=0.7)
def word_language_model_at_a_rate_of_four(seed: int) -> Training:
    """SGD at 4, every gradient clipped to 0.25, a quarter of the rate when validation stalls: as in the example."""

    def step(training: Training, batch: Any) -> Tensor:
        loss = training.loss(training.model(batch[0]), batch[1])
        training.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(training.model.parameters(), 0.25)
        training.optimizer.step()
        return loss

    training = program(Language(), counting(900), sgd(4.0), 16, loss=token_loss, step=step)
    training.scheduler = lr_scheduler.ReduceLROnPlateau(training.optimizer, factor=0.25, patience=0)
    return training


@healthy("language-model", bar=0.7)
def tower_warmed_up_as_noam_did(seed: int) -> Training:
    """Norms after the sums, betas (0.9, 0.98), the rate up and then down with the root of the step."""
    model = Tower(7, 16)
    training = program(
        model, fresh3_data.second_order(1600), adam(1.0, betas=(0.9, 0.98), eps=1e-9), 14, loss=token_loss
    )
    training.scheduler = lr_scheduler.LambdaLR(
        training.optimizer, lambda i: 0.05 * min((i + 1) ** -0.5, (i + 1) * 100**-1.5)
    )
    training.scheduler_every = "step"
    return training


@healthy("text", bar=0.9)
def encoder_layers_of_torch(seed: int) -> Training:
    return cosine(program(Sentence(20, 2, 8, depth=2), fresh3_data.denials(2600), adam(2e-3), 12))


def _spoken(output: Tensor, y: Tensor) -> float:
    """Share of rows whose best path, repeats and blanks left out, is what was said."""
    right = 0
    for path, said in zip(output.argmax(2), y, strict=True):
        path = path.unique_consecutive()
        path = path[path > 0]
        right += int(len(path) == len(said) and bool((path == said).all()))
    return right / len(y)


@healthy("ctc", bar=0.7)
def three_sounds_with_no_marks_of_time(seed: int) -> Training:
    """CTC: for a long while the best path is blank everywhere."""
    data, _ = fresh3_data.spoken(1600)

    def loss(output: Tensor, y: Tensor) -> Tensor:
        n, t, _ = output.shape
        return F.ctc_loss(output.log_softmax(2).transpose(0, 1), y, torch.full((n,), t), torch.full((n,), 3))

    model = nets.Recurrent(nn.GRU, 5, 32, 5)
    model.every_step = True
    metric = Metric("said", _spoken, lambda y: 1 / 64)
    return cosine(program(model, data, adam(1.2e-2), 18, loss=loss, metric=metric))


class BothWays(nn.Module):
    """Two layers of LSTM in both directions, with dropout between."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(1, 20, num_layers=2, bidirectional=True, dropout=0.2, batch_first=True)
        self.head = nn.Linear(40, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0].amax(1))


@healthy("recurrent", bar=0.9)
def chirps_in_both_directions(seed: int) -> Training:
    return cosine(program(BothWays(), fresh3_data.chirps(900), adamw(8e-3), 10))


@healthy("recurrent", bar=0.9)
def one_row_at_a_time(seed: int) -> Training:
    """Batches of one by plain descent, log-softmax and ``NLLLoss``, as in the tutorial on names."""
    model = nn.Sequential(nn.Flatten(), nets.mlp(30, 48, 3), nn.LogSoftmax(dim=1))
    table = fresh3_data.crescents(700)
    table = Data(table.x.repeat(1, 15), table.y, table.x_val.repeat(1, 15), table.y_val)
    return program(model, table, sgd(0.005), 12, loss=nn.NLLLoss(), batch=1)


@healthy("forecast", bar=0.85)
def what_markets_do_next_by_dilated_layers(seed: int) -> Training:
    class Dilated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Conv1d(a, 24, 2, dilation=d) for a, d in ((1, 1), (24, 2), (24, 4), (24, 8)))
            self.head = nn.Linear(24, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = x.transpose(1, 2)
            for layer in self.layers:
                h = F.relu(layer(F.pad(h, (layer.dilation[0], 0))))
            return self.head(h[..., -1])

    return cosine(program(Dilated(), fresh3_data.markets(1200), adam(4e-3), 12, loss=nn.MSELoss(), metric=R2))
