"""Change the neighbours of a sample, or the future of a position, and watch the outputs that must not move."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...subject.data import Batch, tensors
from ..layers import kind_of, layers_of, main_tensor
from ..seeding import seed_generators
from .lab import UNSTEADY, Lab, NotApplicableError, Result, a_row_each, answer, output_of, spread
from .modes import right_answers
from .order import worth_of_order
from .place import shifted, worth_of_place
from .sample import changed, rows

_ROUNDING = 4e-6  # of the largest output: other batch sizes take other kernels, which add up in another order

_BLIND = 1e-4  # movement of the outputs, in their spread, below which the model sees no order
_BLIND_TO_PLACE = 1e-3


def neighbours(lab: Lab) -> Result:
    """Replace every second sample, leave the second half away, reorder the others; the rest must not move.

    ``change``: largest movement of an output that should stay, over the spread of the outputs; ``noise``: what
    rounding and a plain repeat amount to on the same scale. Where a batch norm couples them, ``mixed`` is the accuracy
    on batches that are drawn from all of the data given.
    """
    if any(".quantized.dynamic" in type(module).__module__ for module in lab.model.modules()):
        raise NotApplicableError("activations are rounded by their range over the batch")
    batch = lab.samples(32, least=6)
    n, model, seed = batch.n_samples, lab.model, lab.seed
    base = a_row_each(answer(model, batch, seed), n)
    repeat = a_row_each(answer(model, batch, seed), n)
    unit = spread(base)
    if not unit > 1e-6 * float(base.abs().max()):
        raise NotApplicableError("the outputs do not vary from sample to sample")
    numbers = {"noise": (float((repeat - base).abs().max()) + _ROUNDING * float(base.abs().max())) / unit}
    drawn = float((answer(model, batch, seed + 1).reshape(n, -1) - base).abs().max()) > 1e-3 * unit
    for name, index, kept, place in _rearrangements(n):
        if drawn and name != "replaced":  # random numbers fall on other samples where order or number changes
            continue
        output = answer(model, rows(batch, index), seed)
        if output.shape[:1] != index.shape or output[0].numel() != base.shape[1]:
            raise NotApplicableError("the size of an output depends on the number of samples")
        moved = output.reshape(len(index), -1)[place] - base[kept]
        numbers[name] = float(moved.abs().max()) / unit
    numbers["change"] = max(numbers.get(name, 0.0) for name in ("replaced", "fewer", "reordered"))
    detail = {}
    if numbers["change"] > max(1e-3, 20 * numbers["noise"]):
        detail = {"first": _first_coupled(lab, batch)}
        if "BatchNorm" in detail["first"]:
            numbers |= _mixed(lab)
    return Result(numbers, detail)


def _mixed(lab: Lab) -> dict[str, float]:
    """Return the accuracy on the data given where samples of all batches are mixed; nothing where there is none."""
    batches = [b for b in lab.given if b.target is not None]
    if len(batches) < 2:
        return {}
    right = []
    for batch in batches:
        lab.clock.need(1)
        with torch.no_grad():
            right.append(right_answers(output_of(lab.model, batch), batch.target))
    known = torch.cat([r for r in right if r is not None]) if all(r is not None for r in right) else None
    return {} if known is None else {"mixed": float(known.float().mean()), "mixed_samples": float(len(known))}


class _Rearrangement(NamedTuple):
    name: str
    order: Tensor
    """Samples of the changed batch."""
    kept: Tensor
    """Samples to watch, by their place in the batch as it was."""
    place: Tensor
    """Where those stand in the changed batch."""


def _rearrangements(n: int) -> list[_Rearrangement]:
    all_ = torch.arange(n)
    even = all_[::2]
    fewer = all_[: n // 2]
    return [
        _Rearrangement("replaced", _odd_replaced(n), even, even),
        _Rearrangement("fewer", fewer, fewer, fewer),
        _Rearrangement("reordered", all_.flip(0), all_, all_.flip(0)),
    ]


def _odd_replaced(n: int) -> Tensor:
    index = torch.arange(n)
    index[1::2] = 1  # one sample for all of them: a permutation would leave sums over the batch as they are
    return index


def _first_coupled(lab: Lab, batch: Batch) -> str:
    """Name the first layer, in order of execution, whose output for a kept sample moves with its neighbours."""
    n = batch.n_samples
    even = torch.arange(n)[::2]
    first = dict(_layer_rows(lab, batch, even))
    for name, value in _layer_rows(lab, rows(batch, _odd_replaced(n)), even):
        before = first.get(name)
        if before is None or before.shape != value.shape:
            continue
        unit = float(before.abs().max())
        if float((value - before).abs().max()) > 1e-3 * unit:
            return f"{name} ({kind_of(dict(lab.model.named_modules())[name])})"
    return ""


def _layer_rows(lab: Lab, batch: Batch, kept: Tensor) -> Iterator[tuple[str, Tensor]]:
    found: dict[str, Tensor] = {}

    def watch(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            tensor = main_tensor(output)
            if tensor is not None and tensor.dim() and tensor.shape[0] == batch.n_samples and name not in found:
                found[name] = tensor.detach()[kept.to(tensor.device)].float().clone()

        return hook

    handles = [module.register_forward_hook(watch(name)) for name, module in layers_of(lab.model).items()]
    try:
        seed_generators(lab.seed)
        with torch.no_grad():
            output_of(lab.model, batch)
    finally:
        for handle in handles:
            handle.remove()
    yield from found.items()


def inputs_permuted(lab: Lab) -> Result:
    """Hand the model the inputs of other samples: outputs that do not follow do not depend on the input.

    ``spread``: of the outputs over samples, over their root mean square; ``input_spread`` the same of the inputs, and
    ``real_spread`` of targets that are as many numbers a sample, as the real ones beside those of a generator are.
    With several inputs, ``input_k`` is how much outputs move when only the k-th is permuted, over their spread.
    """
    batch = lab.samples(ROWS_TO_PERMUTE)
    n = batch.n_samples
    base = a_row_each(answer(lab.model, batch, lab.seed), n)
    inputs = list(tensors((batch.args, batch.kwargs)))
    varied = max(spread(t.reshape(n, -1).double()) for t in inputs)
    if not varied:
        raise NotApplicableError("the inputs do not vary from sample to sample")
    size = float(base.square().mean().sqrt())
    unit = spread(base)
    numbers = {"samples": float(n), "spread": unit / size if size else 0.0, "input_spread": varied}
    target = batch.target
    if isinstance(target, Tensor) and target.is_floating_point() and target.numel() == base.numel():
        real = target.detach().reshape(n, -1).double()
        numbers["real_spread"] = spread(real) / max(float(real.square().mean().sqrt()), 1e-12)
    if len(inputs) > 1 and unit:
        for k, one in enumerate(inputs):
            other = changed(batch, lambda t, one=one: t.roll(1, 0) if t is one else t)  # type: ignore[misc]
            moved = a_row_each(answer(lab.model, other, lab.seed), n) - base
            if spread(one.reshape(n, -1).double()):
                numbers[f"input_{k}"] = float(moved.square().mean().sqrt()) / unit
    return Result(numbers)


ROWS_TO_PERMUTE = 64


def tokens_reordered(lab: Lab) -> Result:
    """Permute the positions of every sequence: a model whose outputs only follow along cannot see the order.

    ``change``: largest movement of the outputs (put back in order where there is one to a position), over their spread.
    Of channels by length both are permuted, of pictures square patches of several sizes that divide them; the smallest
    movement counts, and ``patch`` says which it was.
    Where the model says the same to every sample, a copy with random weights is asked instead, with elements dealt out
    anew (``drawn``): what no weights can see, the architecture hides. Where nothing moves, ``ordered`` and ``mixed``
    say what a simple learner makes of the order (see ``worth_of_order``). Else, of pictures, ``shifted``: the same for
    content that is moved as a whole (see ``shifted``), and what a simple learner makes of pictures that stay in place.
    """
    batch = lab.samples(32)
    model, n = lab.model, batch.n_samples
    sequence = batch.first
    if sequence is None or sequence.dim() not in (2, 3, 4) or len(list(tensors((batch.args, batch.kwargs)))) != 1:
        raise NotApplicableError("the input is no single sequence")
    if sequence.is_floating_point() and sequence.dim() == 2:
        raise NotApplicableError("the input is a table, not a sequence")
    if not _orders(sequence, lab.seed):
        raise NotApplicableError("the sequences are of one element")
    numbers = {"drawn": 0.0}
    if not _varies(a_row_each(answer(model, batch, lab.seed), n)):
        model, numbers["drawn"] = _drawn(lab), 1.0
        batch = changed(batch, _scattered)
    base = a_row_each(answer(model, batch, lab.seed), n)
    if not _varies(base):
        raise NotApplicableError("the outputs do not vary from sample to sample")
    unit = spread(base)
    if float((a_row_each(answer(model, batch, lab.seed), n) - base).abs().max()) > 1e-3 * unit:
        raise NotApplicableError(UNSTEADY)
    moves: dict[int, float] = {}
    for patch, (permute, order) in _orders(sequence, lab.seed).items():
        lab.clock.need(1)
        output = answer(model, changed(batch, permute), lab.seed)
        same = float((output.reshape(n, -1) - base).abs().max())
        if output.dim() == 3 and output.shape[1] == len(order) == sequence.shape[1]:
            back = output.index_select(1, order.argsort().to(output.device)).reshape(n, -1)
            same = min(same, float((back - base).abs().max()))
        moves[patch] = same
    least = min(moves, key=moves.__getitem__)
    numbers |= {"patch": float(least)} if sequence.dim() == 4 else {}
    same = moves[least]
    attends = any(isinstance(m, (nn.MultiheadAttention, nn.TransformerEncoderLayer)) for m in model.modules())
    attends |= any("attention" in kind_of(m).lower() or "transformer" in kind_of(m).lower() for m in model.modules())
    recurs = any(isinstance(m, nn.RNNBase) for m in model.modules())
    numbers |= {"change": same / unit, "attention": float(attends), "recurrent": float(recurs)}
    return Result(numbers | (_worth(lab) if numbers["change"] < _BLIND else _where(lab, batch)))


def _worth(lab: Lab) -> dict[str, float]:
    lab.clock.need(10)
    return worth_of_order(lab)


def _where(lab: Lab, batch: Batch) -> dict[str, float]:
    """Ask whether weights drawn anew can tell where in a picture something is, and what that is worth."""
    if not isinstance(batch.target, Tensor) or len(batch.target) != batch.n_samples:
        return {}
    moved = shifted(partial(_said, _drawn(lab), lab.seed), batch)
    if moved is None or moved >= _BLIND_TO_PLACE:
        return {}
    lab.clock.need(10)
    return {"shifted": moved, **worth_of_place(lab)}


def _said(model: nn.Module, seed: int, batch: Batch) -> Tensor:
    return a_row_each(answer(model, batch, seed), batch.n_samples)


_Permute = Callable[[Tensor], Tensor]


def _orders(sequence: Tensor, seed: int) -> dict[int, tuple[_Permute, Tensor]]:
    """Return the ways to permute positions: along a dimension by its number, or patches of a picture by their side."""
    if sequence.dim() == 4:
        h, w = sequence.shape[2:]
        sides = [p for p in _SIDES if h % p == 0 == w % p and (h // p) * (w // p) > 1][-_MOST_SIDES:]
        return {p: _patches(p, _order((h // p) * (w // p), seed)) for p in sides}
    dims = [1] if sequence.dim() == 2 or not sequence.is_floating_point() else [1, 2]
    return {d: _along(d, _order(sequence.shape[d], seed).to(sequence.device)) for d in dims if sequence.shape[d] > 1}


_SIDES = (1, 2, 3, 4, 5, 6, 7, 8, 14, 16, 32)
_MOST_SIDES = 6


def _order(n: int, seed: int) -> Tensor:
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return order.flip(0) if bool((order[1:] > order[:-1]).all()) else order


def _along(dim: int, order: Tensor) -> tuple[_Permute, Tensor]:
    return lambda t: t.index_select(dim, order), order


def _patches(side: int, order: Tensor) -> tuple[_Permute, Tensor]:
    def permute(t: Tensor) -> Tensor:
        n, c, h, w = t.shape
        rows, columns = h // side, w // side
        cut = t.reshape(n, c, rows, side, columns, side).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
        mixed = cut.index_select(1, order.to(t.device)).reshape(n, rows, columns, c, side, side)
        return mixed.permute(0, 3, 1, 4, 2, 5).reshape(n, c, h, w)

    return permute, order


def _varies(output: Tensor) -> bool:
    return spread(output) > 1e-6 * float(output.abs().max())


def _scattered(sequence: Tensor) -> Tensor:
    """Deal the elements of all sequences out anew."""
    elements = sequence.reshape(-1, *sequence.shape[2:])
    order = torch.randperm(len(elements), generator=torch.Generator().manual_seed(0))
    return elements[order.to(sequence.device)].reshape(sequence.shape)


def _drawn(lab: Lab) -> nn.Module:
    """Return a copy whose weights of two dimensions and more are random, scaled by their fan-in."""
    model = lab.fresh().model
    seed_generators(lab.seed)
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() >= 2 and p.is_floating_point():
                p.copy_(torch.randn_like(p) / p[0].numel() ** 0.5)
    return model
