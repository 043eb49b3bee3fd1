"""The future of a sequence: which targets are it, and who sees it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from reportgen.probe.trials import later
from reportgen.probe.trials.lab import NotApplicableError
from reportgen.subject.data import Batch

from .test_trials import Made, lab

RANDOM = torch.Generator().manual_seed(3)


def walks(channels: int = 1, ahead: int = 1) -> tuple[Tensor, Tensor]:
    """Return walks (N, C, T) and what they come to, so many steps later."""
    x = torch.randn(9, channels, 16 + ahead, generator=RANDOM).cumsum(2)
    return x[..., :-ahead], x[..., ahead:]


def convolution(channels: int, ours: int, both_sides: bool) -> nn.Module:
    torch.manual_seed(0)
    pad = (1, 1) if both_sides else (2, 0)
    return Made(lambda s, x: s.c(functional.pad(x, pad)), c=nn.Conv1d(channels, ours, 3))


@pytest.mark.parametrize("both_sides", [True, False])
@pytest.mark.parametrize("ahead", [1, 3])
def test_channels_by_time_tell_of_a_convolution_that_is_padded_on_both_sides(both_sides: bool, ahead: int) -> None:
    x, y = walks(ahead=ahead)
    change = later.later_tokens(lab(convolution(1, 1, both_sides), Batch((x,), {}, y))).numbers["change"]
    assert change > 0.01 if both_sides else change < 1e-6


@pytest.mark.parametrize("both_sides", [True, False])
def test_one_channel_of_several_may_be_what_is_asked_for(both_sides: bool) -> None:
    x, y = walks(3)
    change = later.later_tokens(lab(convolution(3, 1, both_sides), Batch((x,), {}, y[:, 1]))).numbers["change"]
    assert change > 0.01 if both_sides else change < 1e-6


def test_what_is_known_ahead_may_be_seen_ahead() -> None:
    """The day of the week, in the second channel, is read one step early, and the series is not."""
    x, y = walks(2)
    model = Made(lambda s, x: s.c(functional.pad(x[:, :1], (2, 0))) + x[:, 1:].roll(-1, 2), c=nn.Conv1d(1, 1, 3))
    assert later.later_tokens(lab(model, Batch((x,), {}, y[:, :1]))).numbers["change"] < 1e-6


@pytest.mark.parametrize(("layers", "low", "high"), [(False, 0.0, 1e-6), (True, 0.01, 1e9)])
def test_tokens_may_be_one_hot(layers: bool, low: float, high: float) -> None:
    tokens = torch.randint(0, 7, (9, 13), generator=RANDOM)
    torch.manual_seed(0)
    rnn = nn.GRU(7, 4, batch_first=True, bidirectional=layers)
    model = Made(lambda s, x: s.fc(s.rnn(x)[0]), rnn=rnn, fc=nn.Linear(8 if layers else 4, 7))
    batch = Batch((functional.one_hot(tokens[:, :-1], 7).float(),), {}, tokens[:, 1:])
    assert low <= later.later_tokens(lab(model, batch)).numbers["change"] <= high


def within(output: Tensor, target: Tensor) -> Tensor:
    """Move the targets along inside the loss, as language models of libraries do."""
    return functional.cross_entropy(output[:, :-1].flatten(0, 1), target[:, 1:].flatten())


def everywhere(output: Tensor, target: Tensor) -> Tensor:
    return functional.cross_entropy(output.flatten(0, 1), target.flatten())


def test_a_loss_may_move_the_targets_itself() -> None:
    tokens = torch.randint(0, 7, (9, 13), generator=RANDOM)
    batch = Batch((tokens,), {}, tokens.clone())
    torch.manual_seed(0)
    for both, low, high in ((False, 0.0, 1e-6), (True, 0.01, 1e9)):
        rnn = nn.GRU(6, 4, batch_first=True, bidirectional=both)
        model = Made(
            lambda s, x: s.fc(s.rnn(s.e(x))[0]), e=nn.Embedding(7, 6), rnn=rnn, fc=nn.Linear(8 if both else 4, 7)
        )
        assert low <= later.later_tokens(lab(model, batch, loss=within)).numbers["change"] <= high
        # what puts its own input together again, at all places, has no future
        with pytest.raises(NotApplicableError, match="shifted by one"):
            later.later_tokens(lab(model, batch, loss=everywhere))


@pytest.mark.parametrize("shape", [(9, 1, 16), (9, 16, 1), (9, 16)])
def test_a_series_that_is_rebuilt_as_it_stands_has_no_future(shape: tuple[int, ...]) -> None:
    wave = torch.arange(16.0).mul(torch.pi / 2).sin().round().expand(9, 16) * torch.arange(1, 10.0)[:, None]
    x = wave.reshape(shape)  # the same again after four steps
    with pytest.raises(NotApplicableError, match="shifted by one"):
        later.later_tokens(lab(nn.Identity(), Batch((x,), {}, x.clone())))
