"""Grad-CAM of models that cut an image into patches: over the tokens of the patches, laid out as the patches lie.

The maps are what a norm of the last block puts out, as is usual for vision transformers. Behind the last attention the
token that is read alone has a gradient, so the latest norm is taken at which the patches have one too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...subject.data import Batch, call
from ..layers import main_tensor
from .maps import said_score

_NORMS = 4  # the last ones: of a block, behind all blocks, and of a head
_BESIDE = 16  # tokens of no patch at most: of the class, registers


def norms_of_tokens(model: nn.Module, batch: Batch, grid: Sequence[int]) -> list[str]:
    """Return the last norms over (N, tokens, features) with a token for each of ``grid`` patches, in their order."""
    n, found = grid[0] * grid[1], dict[str, None]()

    def look(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if _are_tokens(output) and n <= output.shape[1] <= n + _BESIDE:
                found.pop(name, None)
                found[name] = None

        return hook

    model.eval()
    named = [(name, m) for name, m in model.named_modules() if "norm" in type(m).__name__.lower()]
    handles = [m.register_forward_hook(look(name)) for name, m in named if not isinstance(m, torch.jit.ScriptModule)]
    try:
        with torch.no_grad():
            call(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    return [*found][-_NORMS:]


def heat_of_tokens(
    model: nn.Module, batch: Batch, names: Sequence[str], grid: Sequence[int]
) -> tuple[str, Tensor] | None:
    """Return the norm that was taken, and heat (N, h, w); None where no gradient leads back to the patches."""
    n, kept = grid[0] * grid[1], dict[str, Tensor]()
    model.eval()
    with torch.no_grad(), _kept(model, names, kept):
        score = said_score(main_tensor(call(model, batch)))
        if score is None or not kept:
            return None
        with torch.enable_grad():
            slopes = torch.autograd.grad(score, [*kept.values()], allow_unused=True)
        for (name, tokens), slope in reversed([*zip(kept.items(), slopes, strict=True)]):
            if slope is not None and bool((slope[:, -n:] != 0).any()):  # patches come last
                weights = slope[:, -n:].mean(1, keepdim=True)
                heat = (weights * tokens.detach()[:, -n:]).sum(2).clamp(min=0)
                return name, heat.reshape(-1, *grid).cpu().to(torch.float64)
    return None


def _are_tokens(output: Any) -> bool:
    return isinstance(output, Tensor) and output.dim() == 3 and output.is_floating_point()


@contextmanager
def _kept(model: nn.Module, names: Sequence[str], kept: dict[str, Tensor]) -> Iterator[None]:
    """Keep what these layers put out; the graph begins at the first of them, so no parameter gets a gradient."""
    modules = dict(model.named_modules())

    def keep(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            if not _are_tokens(output):
                return None
            if not output.requires_grad:
                output = output.detach().requires_grad_()
                torch.set_grad_enabled(True)  # no_grad around the pass ends it
            kept[name] = output
            return output.clone()  # the next layer may change it in place

        return hook

    handles = [modules[name].register_forward_hook(keep(name)) for name in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
