"""Seeding before a pass: the draws are those of torch.manual_seed, and nothing is left for CUDA to read."""

from __future__ import annotations

import pytest
import torch

from reportgen.probe.seeding import seed_generators


def test_draws_are_those_of_torch() -> None:
    torch.manual_seed(1234)
    expected = torch.rand(5), torch.randperm(9)
    torch.rand(3)
    seed_generators(1234)
    assert torch.equal(torch.rand(5), expected[0])
    assert torch.equal(torch.randperm(9), expected[1])
    seed_generators(1235)
    assert not torch.equal(torch.rand(5), expected[0])


def test_an_accelerator_in_use_is_seeded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    seeded: list[int] = []
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch, "manual_seed", seeded.append)
    for in_use in (False, True):
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda in_use=in_use: in_use)
        seed_generators(7)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("mps"))
    seed_generators(8)
    assert seeded == [7, 8]
