"""What the loss takes beside a sample's own output and target: other samples, logarithms, the weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from statistics import mean, median
from typing import Any

import torch
from torch import Tensor

from ...subject.data import Batch, tensors
from ..evaluation import are_class_scores
from ..seeding import seed_generators
from .drawn import draw_trainable
from .lab import Lab, Loss, NotApplicableError, Result, a_row_each, answer, output_of, spread, taken, value_of
from .learning import leaves_of
from .sample import changed, is_by_sample, mapped, rows

_PAIRS = 16
_ROUNDING = 1e-6  # of the loss, which may be computed in float32
_LEAST_MOVE = 0.1
_COLUMNS = 8  # of whole numbers, each of which is asked for by itself
_PLACES = 1 << 12  # of a map of yes and no
_DEALS = 4  # one of two views is moved on by quarters of the batch
_NEARER = 0.9  # of all pairs of views
_SURE = 40.0  # a logit that is as good as certain


def loss_of_pairs(lab: Lab) -> Result:
    """Ask the loss how an output hangs together with the target of its own sample, and with those of others.

    Second differences L(o_i, t_j) of 16 samples, each moved by a standard deviation: ``own`` for i = j, ``other`` for i
    and j apart, ``outputs`` between two outputs; means of magnitudes. A loss of pairs has nothing between samples, one
    that takes a root or a correlation over the batch a sixteenth; where (N, 1) and (N,) are broadcast against each
    other, every output meets every target alike. Targets that are numbers; of several columns those of fractions. Of
    targets that are yes or no throughout, up to 4096 a sample, each is turned into the other (``flipped`` 1), among
    eight samples of either kind where a sample has one: a loss divided by the number of either then changes little.
    ``met`` and ``level``, of one output for each target: the loss where the outputs are the targets, and where they are
    their mean. ``beside_own`` and ``beside_other``: medians of the same for the columns of whole numbers beside them
    (weights, masks), moved by 1. Of a tuple of outputs (a mean and a variance) all rows of a sample are moved together.
    Of several columns of whole numbers throughout (an action and its reward), see ``_of_columns``.
    """
    batch = _some_of_both(lab)
    outputs, target, pack = _all_numbers(lab, batch)
    # the loss is asked some hundreds of times
    yes_or_no = target[0].numel() <= _PLACES and bool(((target == 0) | (target == 1)).all())
    several = target.dim() == 2 and 2 <= target.shape[1] <= _COLUMNS and bool((target == target.round()).all())
    columns = list(range(target[0].numel())) if yes_or_no or several else _fractional(target)
    # what met all answers at once may have given the same to all: yes and no are then the unit
    far_o = [max(float(output.std()), _LEAST_MOVE) if yes_or_no else float(output.std()) or 1.0 for output in outputs]
    table = target.reshape(len(target), -1)
    beside = [k for k in range(table.shape[1]) if k not in columns]

    def move(*places: int) -> Any:
        moved = [output.clone() for output in outputs]
        for place in places:
            for o, far in zip(moved, far_o, strict=True):
                o[place] += far
        return pack(moved)

    def told(said: Any, j: int | None = None, among: list[int] = columns, by: float = 0.0) -> float:
        t = table.clone()
        if j is not None:
            t[j, among] = 1 - t[j, among] if yes_or_no else t[j, among] + by
        return _told(lab.loss, said, t.reshape(target.shape))

    base, n = told(pack(outputs)), _PAIRS
    o_alone = [told(move(i)) for i in range(n)]
    between = [told(move(i, (i + 1) % n)) - o_alone[i] - o_alone[(i + 1) % n] + base for i in range(n)]

    def mixed(among: list[int], by: float) -> tuple[list[float], list[float], float]:
        t_alone = [told(pack(outputs), j, among, by) for j in range(n)]
        rows = [[told(move(i), j, among, by) - o_alone[i] - t_alone[j] + base for j in range(n)] for i in range(n)]
        own = [abs(rows[i][i]) for i in range(n)]
        return own, [abs(rows[i][j]) for i in range(n) for j in range(n) if i != j], max(map(abs, t_alone))

    if several and not yes_or_no:
        numbers = _of_columns(lambda i, t: _told(lab.loss, pack(outputs) if i is None else move(i), t), target)
        numbers |= {"outputs": mean(map(abs, between)), "samples": float(n)}
        return Result(numbers, {"output": _shape(outputs[0]), "target": _shape(target)})
    own, other, most = mixed(columns, float(table[:, columns].std()) or 1.0)
    seen = {"own": mean(own), "other": mean(other), "outputs": mean(map(abs, between))}
    if beside:
        with suppress(NotApplicableError):  # a loss may look such numbers up
            own, other, top = mixed(beside, 1.0)
            seen |= {"beside_own": median(own), "beside_other": median(other)}
            most = max(most, top)
    # of a loss that takes no notice of such a move (softmax of a row moved as a whole) rounding alone is left
    floor = _ROUNDING * max(map(abs, (base, most, *o_alone)))
    numbers = {key: value if value > floor else 0.0 for key, value in seen.items()} | {"samples": float(n)}
    numbers |= {"flipped": 1.0} if yes_or_no else {}
    if not yes_or_no and len(outputs) == 1:
        numbers |= _met(lambda said: told(pack([said])), outputs[0], target)
    return Result(numbers, {"output": _shape(outputs[0]), "target": _shape(target)})


def _met(told: Callable[[Tensor], float], output: Tensor, target: Tensor) -> dict[str, float]:
    """Return the loss where the outputs are the targets, and where all are their mean; {} of another number of them."""
    if output.numel() != target.numel():
        return {}
    said = {"met": target, "level": target.mean(0, keepdim=True).expand_as(target)}
    with suppress(NotApplicableError):
        return {name: told(values.reshape(output.shape).to(output)) for name, values in said.items()}
    return {}


def _of_columns(told: Callable[[int | None, Tensor], float], table: Tensor) -> dict[str, float]:
    """Ask how outputs hang together with each of several columns of whole numbers, and return what holds of one.

    Second differences as in ``loss_of_pairs``, an entry exchanged for another one of its column, so that codes stay
    codes. Only columns are looked at in which the loss of a sample is bent, as a distance is: a sum of gains times a
    sum of logarithms is a straight line in each, and rightly one of every output with every gain. ``other`` is the
    mean of the smaller of the two ways between two samples: what is earned later meets the outputs before it, but not
    the other way round. Told of the column in which it is the largest share of ``own``.
    """
    n = len(table)
    base, o_alone = told(None, table), [told(i, table) for i in range(n)]
    found = [{"own": 0.0, "other": 0.0}]
    for k in range(table.shape[1]):
        apart = table[:, None, k] != table[None, :, k]
        if not bool(apart.any()):
            continue
        goal = table[apart.int().argmax(1), k]  # of the first sample that has another one

        def changed_at(j: int, share: float, k: int = k, goal: Tensor = goal) -> Tensor:
            t = table.clone()
            t[j, k] += share * (goal[j] - t[j, k])
            return t

        whole = [changed_at(j, 1.0) for j in range(n)]
        t_alone = [told(None, t) for t in whole]
        bent = [t_alone[j] - 2 * told(None, changed_at(j, 0.5)) + base for j in range(n)]
        floor = _ROUNDING * max(map(abs, (base, *t_alone, *o_alone)))
        if mean(map(abs, bent)) <= floor:
            continue
        rows = [[abs(told(i, t) - o_alone[i] - t_alone[j] + base) for j, t in enumerate(whole)] for i in range(n)]
        own = mean(rows[i][i] for i in range(n))
        other = mean(min(rows[i][j], rows[j][i]) for i in range(n) for j in range(i))
        if own > floor:
            found.append({"own": own, "other": other if other > floor else 0.0})
    return max(found, key=lambda seen: seen["other"] / (seen["own"] or 1.0))


def _some_of_both(lab: Lab) -> Batch:
    """Return 16 samples: the first ones, or, where each has one answer of yes or no, eight of either kind."""
    wide = lab.targeted(4 * _PAIRS, least=_PAIRS)
    target = wide.target
    if not isinstance(target, Tensor) or target.numel() != wide.n_samples or not is_by_sample(wide):
        return lab.targeted(_PAIRS, least=_PAIRS)
    kinds = [torch.nonzero(target.reshape(-1) == kind).flatten().cpu() for kind in (0, 1)]
    if sum(map(len, kinds)) < wide.n_samples:
        return lab.targeted(_PAIRS, least=_PAIRS)
    if min(map(len, kinds)) < _PAIRS // 2:
        raise NotApplicableError("the targets are whole numbers")
    return rows(wide, torch.cat([kind[: _PAIRS // 2] for kind in kinds]))


def _shape(tensor: Tensor) -> str:
    return " × ".join(["N", *map(str, tensor.shape[1:])])


def loss_domain(lab: Lab) -> Result:
    """Ask the loss which numbers it takes for an output: whether -1 gives a number, and whether it wants logarithms.

    ``negative``: 1 where outputs of -1 give a finite loss. Where no target is negative: loss of outputs that equal the
    targets, of their logarithms (0.1 for less), and of these half a unit up and down.
    """
    batch = lab.targeted(64, least=8)
    output, target = _numbers(lab, batch)
    if output.numel() != target.numel():
        raise NotApplicableError("outputs and targets are not of one size")
    target = target.reshape(output.shape)
    numbers = {"negative": float(math.isfinite(_value(lab.loss, torch.full_like(output, -1.0), batch)))}
    if float(target.min()) >= 0 and float(target.max()) > 1:
        logs = target.clamp_min(0.1).log()
        for name, said in (("equal", target), ("logarithm", logs), ("above", logs + 0.5), ("below", logs - 0.5)):
            value = _value(lab.loss, said, batch)
            if math.isfinite(value):
                numbers[name] = value
        numbers["below_one"] = float((target < 0.9).double().mean())
    return Result(numbers)


def loss_penalty(lab: Lab) -> Result:
    """Ask whether the loss depends on the weights although the outputs are fixed: a penalty that it adds itself.

    ``depends``: 1 where a loss of detached outputs needs a gradient for parameters of the model; ``penalty``: the loss
    of answers that are right and certain, which is what the penalty alone comes to, or, where no such answers are
    known, what Euler's theorem on homogeneous functions makes of its gradient; ``loss``: of the model's answers.
    """
    batch = lab.targeted(64, least=4)
    seed_generators(lab.seed)
    with torch.no_grad():
        output = output_of(lab.model, batch)
    with torch.enable_grad():
        value = taken(lambda: value_of(lab.loss, output, batch.target), "the loss refuses outputs of eval mode")
    ours = lab.owned | {id(p) for p in lab.model.parameters()}  # a critic of the loss's own is no penalty
    felt = [leaf for leaf in leaves_of([value]) if id(leaf) in ours]
    numbers = {"depends": float(bool(felt)), "loss": float(value.detach())}
    if felt and isinstance(output, Tensor) and isinstance(batch.target, Tensor):
        with suppress(NotApplicableError):
            numbers["penalty"] = _value(lab.loss, _certain(output, batch.target), batch)
    if felt and "penalty" not in numbers:
        numbers |= _homogeneous(value, felt)
    return Result({k: v for k, v in numbers.items() if math.isfinite(v)})


def _homogeneous(value: Tensor, weights: list[Tensor]) -> dict[str, float]:
    """Return the part of a value that is homogeneous in the weights, of the degree k that its derivatives tell.

    Of a penalty p of degree k (1 of magnitudes, 2 of squares) w·∇p = k p and w·∇(w·∇p) = k² p.
    """
    gradients = torch.autograd.grad(value, weights, create_graph=True, allow_unused=True)
    pairs = [(g, w) for g, w in zip(gradients, weights, strict=True) if g is not None]
    once = torch.stack([(g * w.detach()).sum() for g, w in pairs]).sum()
    if not once.requires_grad:  # a sum of magnitudes: its gradient is constant
        return {"penalty": float(once.detach())}
    again = torch.autograd.grad(once, [w for _, w in pairs], allow_unused=True)
    bent = sum(float((g * w.detach()).sum()) for g, (_, w) in zip(again, pairs, strict=True) if g is not None)
    # of the gradient alone, as w was held fast: w·H·w = k (k - 1) p
    first = float(once.detach())
    degree = 1 + bent / first if first else 0.0
    return {"penalty": first / degree} if degree > 0.99 else {}  # of magnitudes 1, to rounding


def loss_without_target(lab: Lab) -> Result:
    """Ask whether the loss looks at the targets, and if not, how far the outputs of different samples lie apart.

    ``ignored``: 1 where the loss is the same to the bit with the targets of other samples and with one target for all.
    Such a loss compares views of a sample, and is lowest where all outputs are the same. ``spread``: deviation of the
    outputs over their root mean square; ``direction``: length of the mean of the outputs scaled to length 1, 1 where
    all point the same way, and 0 of outputs of one number; ``width``: their deviation itself; ``fresh_*``: the same of
    a copy whose weights were drawn anew. Where two inputs are views of one sample, the loss of ``views``, of
    ``strangers`` (one of the two dealt out among the samples) and of ``fresh_views``. Where the model gives two outputs
    of one shape for each sample, the loss where both are ``alike`` (the second is the first) and where that is
    ``dealt`` out among the samples, and how often the second lies ``nearer`` to its own first than to that of another
    sample. A loss that does look at targets is told as blind where all outputs are one (``together``: 1), if it is as
    low as with the outputs as they are, or lower, where all of them are moved to one place, and as low at another place
    and with the targets of other samples: such a loss only pulls together. Targets that are all one are held against
    all 0 and all 1.
    """
    batch = lab.targeted(64, least=16)
    target = batch.target
    if not isinstance(target, Tensor):
        raise NotApplicableError("the targets are no tensor")
    seed_generators(lab.seed)
    with torch.no_grad():
        output = output_of(lab.model, batch)
    # outputs that are all 0 may hide the targets of a loss that multiplies both
    output = mapped(output, lambda t: t + torch.randn_like(t) if t.is_floating_point() else t)
    varies = bool((target != target[:1]).any())
    others = [target.roll(len(target) // 2, 0), target[:1].expand_as(target)]
    others = others if varies else [torch.zeros_like(target), torch.ones_like(target)]
    told = [_of(lab.loss, output, t) for t in (target, *others)]
    numbers = {"ignored": float(told[0] == told[1] == told[2]), "samples": float(batch.n_samples)}
    numbers["together"] = float(varies and not numbers["ignored"] and _pulls_together(lab, batch, target))
    if numbers["ignored"] or numbers["together"]:
        numbers |= _apart(lab.model, batch, "")
        fresh = lab.fresh().model.eval()
        draw_trainable(fresh, lab.seed)
        numbers |= _apart(fresh, batch, "fresh_")
        if numbers["ignored"]:
            numbers |= _of_strangers(lab, fresh, batch) | _of_twins(lab, batch)
    return Result(numbers)


def _of_strangers(lab: Lab, fresh: torch.nn.Module, batch: Batch) -> dict[str, float]:
    """Return the loss of two views of each sample, and where one of them is dealt out among the samples.

    Nothing where there are no two inputs of one shape that lie nearer for one sample than across samples.
    """
    views = [t for t in tensors((batch.args, batch.kwargs)) if t.is_floating_point()]
    if len(views) != 2 or views[0].shape != views[1].shape:
        return {}
    one, other = ((t - t.mean(0)).flatten(1).double() for t in views)
    apart = torch.cdist(one, other)
    if float((apart.diagonal()[:, None] < apart).double().mean()) < _NEARER:
        return {}

    def told(model: torch.nn.Module, shift: int) -> float:
        seed_generators(lab.seed)
        seen = changed(batch, lambda t: t.roll(shift, 0) if t is views[1] else t)
        with torch.no_grad():
            return _of(lab.loss, output_of(model, seen), batch.target)

    strangers = mean(told(lab.model, batch.n_samples * k // _DEALS) for k in range(1, _DEALS))
    return {"views": told(lab.model, 0), "strangers": strangers, "fresh_views": told(fresh, 0)}


def _of_twins(lab: Lab, batch: Batch) -> dict[str, float]:
    """Return the loss of two outputs of each sample that are one, and of those of strangers that are one."""
    seed_generators(lab.seed)
    with torch.no_grad():
        output = output_of(lab.model, batch)
    n = batch.n_samples
    if isinstance(output, Tensor):
        if output.dim() < 3 or output.shape[:2] != (n, 2) or not output.is_floating_point():
            return {}
        one, other = output.unbind(1)

        def paired(second: Tensor) -> object:
            return torch.stack([one, second], 1)
    else:
        twins = [t for t in tensors(output) if t.is_floating_point()]
        if len(twins) != 2 or twins[0].shape != twins[1].shape or twins[0].dim() < 2 or len(twins[0]) != n:
            return {}
        one, other = twins

        def paired(second: Tensor) -> object:
            return mapped(output, lambda t: second if t is other else t)

    dealt = mean(_of(lab.loss, paired(one.roll(n * k // _DEALS, 0)), batch.target) for k in range(1, _DEALS))
    apart = torch.cdist(one.flatten(1).double(), other.flatten(1).double())
    strange = ~torch.eye(n, dtype=torch.bool, device=apart.device)
    nearer = float((apart.diagonal()[None, :] < apart)[strange].double().mean())
    return {"alike": _of(lab.loss, paired(one), batch.target), "dealt": dealt, "nearer": nearer}


def _pulls_together(lab: Lab, batch: Batch, target: Tensor) -> bool:
    """Tell whether the loss is lowest wherever all outputs are one and the same, whatever the targets."""
    seed_generators(lab.seed)
    with torch.no_grad():
        output = output_of(lab.model, batch)
    own = _of(lab.loss, output, target)
    seed_generators(lab.seed)
    places = [mapped(output, _at_one_place) for _ in range(2)]
    told = [_of(lab.loss, place, t) for place in places for t in (target, target.roll(len(target) // 2, 0))]
    if not all(math.isfinite(value) for value in (own, *told)):
        return False
    slack = 1e-4 * max(abs(own), abs(told[0]), 1e-3)
    return max(told) - min(told) <= slack and told[0] <= own + slack


def _at_one_place(output: Tensor) -> Tensor:
    if not output.is_floating_point() or not output.dim():
        return output
    return (torch.randn_like(output[:1]) * output.std().clamp_min(1.0)).expand_as(output)


def _apart(model: torch.nn.Module, batch: Batch, prefix: str) -> dict[str, float]:
    found = a_row_each(answer(model, batch), batch.n_samples)
    size = float(found.square().mean().sqrt())
    units = found / found.norm(dim=1, keepdim=True).clamp_min(1e-12)
    wide = spread(found)
    aligned = float(units.mean(0).norm()) if found.shape[1] > 1 else 0.0  # a single number has no direction
    numbers = {"spread": wide / size if size else 0.0, "direction": aligned, "width": wide}
    return {f"{prefix}{name}": value for name, value in numbers.items()}


def _of(loss: Loss, output: object, target: Tensor) -> float:
    with torch.no_grad():
        return float(taken(lambda: value_of(loss, output, target), "the loss refuses other targets"))


def _certain(output: Tensor, target: Tensor) -> Tensor:
    if are_class_scores(output, target):
        return torch.nn.functional.one_hot(target.clamp_min(0), output.shape[1]).to(output) * _SURE
    if output.numel() != target.numel():
        raise NotApplicableError("outputs and targets are not of one size")
    wanted = target.to(output).reshape(output.shape)
    yes_or_no = bool(((target == 0) | (target == 1)).all())
    return (2 * wanted - 1) * _SURE if yes_or_no else wanted


def _numbers(lab: Lab, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return outputs in float64 and targets that are numbers with fractions."""
    outputs, target, pack = _all_numbers(lab, batch)
    if not isinstance(pack(outputs), Tensor):
        raise NotApplicableError("outputs or targets are no single tensor")
    return outputs[0], target


def _all_numbers(lab: Lab, batch: Batch) -> tuple[list[Tensor], Tensor, Callable[[list[Tensor]], Any]]:
    """Return the outputs in float64, the targets, and how the outputs are put together for the loss."""
    seed_generators(lab.seed)
    with torch.no_grad():
        said = output_of(lab.model, batch)
    target, single = batch.target, isinstance(said, Tensor)
    outputs = [said] if single else list(said) if type(said) in (tuple, list) else []
    if not outputs or not isinstance(target, Tensor) or not all(map(_is_plain, outputs)):
        raise NotApplicableError("outputs or targets are no single tensor")
    if not target.is_floating_point() or any(len(o) != len(target) for o in outputs):
        raise NotApplicableError("the targets are no numbers, one row a sample")
    if not all(bool(torch.isfinite(o).all()) for o in outputs):
        raise NotApplicableError("the outputs are not all finite")
    together = (lambda ts: ts[0]) if single else type(said)
    return [o.detach().double() for o in outputs], target.detach().double(), together


def _is_plain(output: object) -> bool:
    return isinstance(output, Tensor) and output.dim() > 0 and output.is_floating_point() and not output.is_nested


def _fractional(target: Tensor) -> list[int]:
    """Return the columns of the targets that are no whole numbers."""
    table = target.reshape(len(target), -1)
    columns = [k for k in range(table.shape[1]) if bool((table[:, k] != table[:, k].round()).any())]
    if not columns:
        raise NotApplicableError("the targets are whole numbers")
    return columns


def _told(loss: Loss, output: object, target: Tensor) -> float:
    with torch.no_grad():
        value = float(taken(lambda: value_of(loss, output, target), "the loss refuses made-up outputs"))
    if not math.isfinite(value):
        raise NotApplicableError("the loss of made-up outputs is not finite")
    return value


def _value(loss: Loss, output: Tensor, batch: Batch) -> float:
    with torch.no_grad():
        target = batch.target
        fit = target.to(output.dtype) if isinstance(target, Tensor) and target.is_floating_point() else target
        return float(taken(lambda: value_of(loss, output, fit), "the loss refuses made-up outputs"))
