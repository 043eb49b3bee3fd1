"""Grad-CAM over the tokens of patches, held against gradients that are kept by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.probe.pictures.token_heat import heat_of_tokens, norms_of_tokens
from reportgen.subject.data import Batch

GRID = (3, 2)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.attention, self.mlp = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm1(x)
        x = x + self.attention(h, h, h, need_weights=False)[0]
        out: Tensor = x + self.mlp(self.norm2(x)).relu()
        return out


class Patches(nn.Module):
    """A vision transformer; ``beside`` tokens stand before those of the patches, and the first of them is read."""

    def __init__(self, beside: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cut = nn.Conv2d(1, 8, 4, stride=4)
        self.beside = nn.Parameter(torch.randn(1, beside, 8)) if beside else None
        self.place = nn.Parameter(torch.randn(1, beside + GRID[0] * GRID[1], 8))
        self.blocks, self.norm, self.head = nn.ModuleList(Block() for _ in range(2)), nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.cut(x).flatten(2).mT
        if self.beside is not None:
            tokens = torch.cat([self.beside.expand(len(x), -1, -1), tokens], 1)
        tokens = tokens + self.place
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        out: Tensor = self.head(tokens[:, 0] if self.beside is not None else tokens.mean(1))
        return out


def pictures(n: int = 5) -> Tensor:
    return torch.randn(n, 1, 12, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("beside", "layer"), [(1, "blocks.1.norm1"), (4, "blocks.1.norm1"), (0, "norm")])
def test_heat_over_patches_is_that_made_by_hand(beside: int, layer: str) -> None:
    model, x = Patches(beside).eval(), pictures()
    names = norms_of_tokens(model, Batch((x,)), GRID)
    assert names == ["blocks.0.norm2", "blocks.1.norm1", "blocks.1.norm2", "norm"]
    found = heat_of_tokens(model, Batch((x,)), names, GRID)
    assert found is not None
    assert found[0] == layer
    assert all(p.grad is None for p in model.parameters())

    kept: list[Tensor] = []
    handle = model.get_submodule(layer).register_forward_hook(lambda module, args, output: kept.append(output))
    scores = model(x)
    handle.remove()
    (slope,) = torch.autograd.grad(scores.max(1).values.sum(), kept)
    patches = slice(beside, None)  # the tokens beside them are no place of the picture
    weights = slope[:, patches].mean(1)
    expected = torch.einsum("nc,ntc->nt", weights, kept[0][:, patches]).relu().reshape(5, *GRID)
    torch.testing.assert_close(found[1], expected.detach().double(), atol=1e-6, rtol=1e-5)
    assert float(found[1].max()) > 0


def test_norms_over_other_numbers_of_tokens_are_none_of_patches() -> None:
    model, x = Patches(1).eval(), pictures(2)
    assert norms_of_tokens(model, Batch((x,)), (4, 2)) == []
    assert norms_of_tokens(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)).eval(), Batch((x,)), (10, 6)) == []


def test_where_no_gradient_leads_back_there_is_no_heat() -> None:
    class Cut(Patches):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).detach()

    model, x = Cut(1).eval(), pictures(2)
    assert heat_of_tokens(model, Batch((x,)), norms_of_tokens(model, Batch((x,)), GRID), GRID) is None


def test_a_report_shows_the_heat_of_the_last_norm_before_the_attention() -> None:
    model, x = Patches(1), pictures(30)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    data = DataLoader(TensorDataset(x, torch.arange(30) % 3), 10)
    facts = reportgen.examine(model, data, options=reportgen.Options(trial_budget=0)).pictures
    assert facts is not None
    assert facts.heat_layer == "blocks.1.norm1"
    assert sum(view.heat is not None for view in facts.samples) == 3 + 4
    assert [sheet.layer for sheet in facts.maps] == ["cut"]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
