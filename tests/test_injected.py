"""Normal noise in eval mode: added to make training harder, or drawn because the model says so."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from reportgen.probe.trials import chance
from reportgen.subject.data import Batch

from .test_rules_model import report, severity, tried
from .test_trials import Made, lab


def batch(width: int = 1) -> Batch:
    x = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    return Batch((x,), {}, x[:, :width])


def noisy(s: Any, x: Tensor) -> Tensor:
    h = s.a(x).tanh()
    return s.b(h + 0.6 * torch.randn_like(h))


def in_place(s: Any, x: Tensor) -> Tensor:
    h = s.a(x).tanh()
    h += torch.empty_like(h).normal_(0, 0.3).to(h.dtype)
    return s.b(h)


def around(s: Any, x: Tensor) -> Tensor:
    return s.b(torch.normal(s.a(x), 0.2))


def variational(s: Any, x: Tensor) -> Tensor:
    mean, scale = s.a(x).chunk(2, 1)
    return s.c(mean + torch.exp(0.5 * scale) * torch.randn_like(scale))


def distributed(s: Any, x: Tensor) -> Tensor:
    mean, scale = s.a(x).chunk(2, 1)
    return s.c(torch.distributions.Normal(mean, functional.softplus(scale)).rsample())


def learned_gain(s: Any, x: Tensor) -> Tensor:
    h = s.a(x)
    return s.b(h + s.gain * torch.randn_like(h))


def weights(s: Any, x: Tensor) -> Tensor:
    drawn = s.b.weight + functional.softplus(s.gain) * torch.randn_like(s.b.weight)
    return functional.linear(s.a(x).tanh(), drawn)


def from_noise(s: Any, x: Tensor) -> Tensor:
    return s.b(s.a(torch.randn_like(x)).tanh())


def relaxed(s: Any, x: Tensor) -> Tensor:
    return s.b(functional.gumbel_softmax(s.a(x), hard=True))


def model(forward: Any) -> nn.Module:
    torch.manual_seed(0)
    made = Made(forward, a=nn.Linear(8, 6), b=nn.Linear(6, 1), c=nn.Linear(3, 1))
    made.gain = nn.Parameter(torch.zeros(6))
    nn.init.constant_(made.gain, 0.1)
    return made


@pytest.mark.parametrize("forward", [noisy, in_place, around])
def test_noise_of_a_fixed_size_inside_is_told(forward: Any) -> None:
    assert chance.eval_twice(lab(model(forward), batch())).detail["source"] == "noise inside"


@pytest.mark.parametrize("forward", [variational, distributed, learned_gain, weights, from_noise, relaxed])
def test_what_the_model_draws_on_purpose_is_sampling(forward: Any) -> None:
    found = chance.eval_twice(lab(model(forward), batch()))
    assert found.numbers["change"] > 0
    assert found.detail["source"] in ("sampling", "noise on the input") or forward is relaxed


def test_a_denoiser_may_be_noisy() -> None:
    torch.manual_seed(0)
    made = Made(lambda s, x: s.b(s.a(x) + torch.randn(6)), a=nn.Linear(8, 6), b=nn.Linear(6, 8))
    assert chance.eval_twice(lab(made, batch(8))).detail["source"] == "sampling"


@pytest.mark.parametrize(("source", "expected"), [("noise inside", "warning"), ("sampling", "info")])
def test_what_the_rule_makes_of_it(source: str, expected: str) -> None:
    facts = report(None, trials=tried("eval-twice", {"source": source}, change=0.5, same_seed=0.0))
    assert severity(facts, "eval-nondeterminism") == expected
