"""A model in eval mode that nothing was loaded into, and others that are as they were drawn for good reason."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.document.facts import Severity

pytestmark = pytest.mark.slow  # models are trained, pages are drawn

X = torch.randn(400, 40, generator=torch.Generator().manual_seed(0))
Y = (X[:, :3].sum(1) > 0).long()
DATA = DataLoader(TensorDataset(X, Y), 50)
QUICK = reportgen.Options(trial_budget=0, pictures=0)


def net(norm: bool) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(40, 64), nn.BatchNorm1d(64) if norm else nn.Tanh(), nn.ReLU(), nn.Linear(64, 2))


def told(model: nn.Module, **more: Any) -> set[str]:
    given = {"loss": nn.CrossEntropyLoss(), "options": QUICK} | more
    report = reportgen.examine(model, DATA, **given)
    return {d.cause for d in report.diagnoses if d.severity.rank >= Severity.WARNING.rank}


@pytest.mark.parametrize("norm", [True, False])
def test_a_file_whose_keys_do_not_match_loads_nothing(norm: bool) -> None:
    state = {f"module.{key}": value for key, value in net(norm).state_dict().items()}
    model = net(norm)
    model.load_state_dict(state, strict=False)
    assert told(model.eval()) == {"checkpoint-not-loaded"}


def test_untrained_models_that_are_not_evaluated() -> None:
    assert told(net(True)) == set()  # in training mode: it is about to be trained
    model = net(True).eval()
    assert told(model, optimizer=torch.optim.Adam(model.parameters())) == set()
    assert told(model, loss=None) == set()
    assert "checkpoint-not-loaded" not in told(model, history={"train_loss": [0.7, 0.7, 0.7]})  # others tell why


def test_a_model_that_was_trained_a_little_may_be_evaluated() -> None:
    model = net(False)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(X), Y).backward()
        optimizer.step()
    assert told(model.eval()) == set()


class Attending(nn.Module):
    """Five tokens of eight values through one block of attention and norms."""

    def __init__(self, *, normal: bool = False) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.enter = nn.Linear(8, 48)
        self.block = nn.TransformerEncoderLayer(48, 4, 96, dropout=0.0, batch_first=True)
        self.leave = nn.Linear(48, 2)
        if normal:  # as language models draw their weights
            for parameter in self.parameters():
                if parameter.dim() > 1:
                    nn.init.normal_(parameter, std=0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.leave(self.block(self.enter(x.reshape(-1, 5, 8))).mean(1))


@pytest.mark.parametrize("normal", [False, True])
def test_a_transformer_into_which_nothing_was_loaded(normal: bool) -> None:
    state = {f"_orig_mod.{key}": value for key, value in Attending(normal=normal).state_dict().items()}
    model = Attending(normal=normal)
    model.load_state_dict(state, strict=False)
    assert told(model.eval()) == {"checkpoint-not-loaded"}


@pytest.mark.parametrize("normal", [False, True])
def test_a_single_step_moves_the_norms_of_a_transformer(normal: bool) -> None:
    model = Attending(normal=normal)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    nn.functional.cross_entropy(model(X), Y).backward()
    optimizer.step()
    assert "checkpoint-not-loaded" not in told(model.eval())
