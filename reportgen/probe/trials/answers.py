"""What the loss says of right and of wrong answers, without the model."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ...subject.data import Batch
from ..evaluation import are_class_scores
from ..seeding import seed_generators
from .lab import Lab, Loss, NotApplicableError, Result, output_of, taken, value_of
from .sample import mapped
from .weighed import weights_crossed

_SURE = 40.0  # a logit that is as good as certain
_MOST = 1 << 16
_COLUMNS = 16
_SIZES = re.compile(r"target size \((?P<target>.*?)\)\) that is different to the input size \((?P<input>.*?)\)\)")


def loss_of_answers(lab: Lab) -> Result:
    """Hand the loss right answers and wrong ones in the shape of the model's outputs, without the model.

    Class scores: the largest score of each row is moved to the true class (``right``) or to a wrong one (``wrong``).
    Numbers: outputs are the targets, or those of other samples. ``aligned``: the right answers in the very shape of the
    targets. A loss that prefers wrong answers is climbed; one that cannot tell them apart teaches nothing; one that
    depends on the shape is broadcast. ``over``, ``under`` and ``doubled``: right numbers a standard deviation off to
    either side, and twice as large; ``turned`` tells of a column that is better turned over. ``pull``: largest
    derivative by the model's own outputs. ``perfect`` and ``worst``: answers that are as sure as can be, right and
    wrong; a score that is 1 at best says 1 and 0. ``above``: of yes and no, how often the model gives more to a yes
    than to a no (the area under the ROC curve), where it tells them apart in this batch. ``drawn``: by how much,
    relatively, two values of the loss of the model's own outputs differ, as those do that a loss makes of answers that
    it draws from them.
    """
    batch = lab.targeted(64, least=6)
    seed_generators(lab.seed)
    with torch.no_grad():
        output = output_of(lab.model, batch)
    if not isinstance(output, Tensor) or not isinstance(batch.target, Tensor):
        raise NotApplicableError("outputs or targets are no single tensor")
    if not output.dim() or not batch.target.dim() or output.is_nested or not output.is_floating_point():
        raise NotApplicableError("the output is no batch of floating-point rows")
    right, wrong, kind = _answers(output.detach(), batch.target)
    numbers = {"right": _told(lab.loss, right, batch.target), "wrong": _told(lab.loss, wrong, batch.target)}
    if kind in ("numbers", "class numbers"):
        with suppress(Exception):  # a loss that reshapes outputs itself may refuse any other shape than the model's
            numbers["aligned"] = _told(lab.loss, right.reshape(batch.target.shape), batch.target)
        numbers["same_shape"] = float(right.shape == batch.target.shape)
        numbers |= _beside(lab.loss, right, batch.target) | _mirrored(lab.loss, right, output, batch.target)
    numbers["pull"] = _pull(lab.loss, output, batch.target)
    numbers["drawn"] = _drawn(lab, output.detach(), batch.target)
    if not all(map(math.isfinite, numbers.values())):
        raise NotApplicableError("the loss of made-up answers is not finite")
    return Result(numbers | _at_best(lab.loss, output.detach(), batch.target, kind), {"answers": kind})


def _beside(loss: Loss, right: Tensor, target: Tensor) -> dict[str, float]:
    """Return the loss of right numbers moved and stretched; {} where a loss refuses them."""
    far = float(right.float().std())
    with suppress(NotApplicableError):
        ways = {"over": right + far, "under": right - far, "doubled": 2 * right}
        told = {name: _told(loss, said, target) for name, said in ways.items()}
        return told if all(map(math.isfinite, told.values())) else {}
    return {}


def _mirrored(loss: Loss, right: Tensor, output: Tensor, target: Tensor) -> dict[str, float]:
    """Turn right numbers over about their mean, one column at a time, and find the column where the loss likes that.

    ``turned``: what it falls by, over the most that it changes for any column; ``column``: which; ``own``: correlation
    of the model's own outputs there with the targets. {} where right numbers are best in all columns.
    """
    if right.dim() != 2 or not 2 <= right.shape[1] <= _COLUMNS or right.shape != target.shape:
        return {}
    falls: list[float] = []
    with suppress(NotApplicableError):
        base = _told(loss, right, target)
        for column in range(right.shape[1]):
            said = right.clone()
            said[:, column] = 2 * right[:, column].mean() - right[:, column]
            falls.append(base - _told(loss, said, target))
    if len(falls) < right.shape[1] or not all(map(math.isfinite, falls)) or max(falls) <= 0:
        return {}
    column = falls.index(max(falls))
    pair = torch.stack([output[:, column], target[:, column].to(output)]).double()
    own = float(torch.corrcoef(pair)[0, 1])
    return {"turned": max(falls) / max(map(abs, falls)), "column": float(column), "own": own} if own == own else {}


def _drawn(lab: Lab, output: Tensor, target: Tensor) -> float:
    told = []
    for seed in (lab.seed, lab.seed + 1):
        seed_generators(seed)
        told.append(_told(lab.loss, output, target))
    if not all(map(math.isfinite, told)):
        return 0.0
    return abs(told[0] - told[1]) / max(abs(told[0]), abs(told[1]), 1e-12)


def _at_best(loss: Loss, output: Tensor, target: Tensor, kind: str) -> dict[str, float]:
    """Return the loss of answers that are sure, right and wrong, and on which side of each other yes and no lie."""
    shares = bool((output >= 0).all()) and bool((output <= 1).all())
    far, numbers = 1.0 if shares else _SURE, {}
    if kind == "scores":
        sure = [functional.one_hot((target + k) % output.shape[1], output.shape[1]) * far for k in (0, 1)]
    elif kind == "yes or no":
        yes = target.reshape(output.shape)
        sure = [yes if shares else (2 * yes - 1) * far, 1 - yes if shares else (1 - 2 * yes) * far]
        above = _area(output.reshape(-1), yes.reshape(-1) == 1)
        numbers = {"above": above} if above is not None else {}
    else:
        return {}
    with suppress(NotApplicableError):
        told = [_told(loss, said.to(output), target) for said in sure]
        if all(map(math.isfinite, told)):
            numbers |= {"perfect": told[0], "worst": told[1]}
    return numbers


def _area(scores: Tensor, yes: Tensor) -> float | None:
    """Return how often a score of yes is above one of no, ties counted half, over at most 65 536 evenly spaced."""
    stride = -(-len(scores) // _MOST)
    scores, yes = scores[::stride].double(), yes[::stride]
    n, of = int(yes.sum()), len(scores)
    if not n or n == of or not bool(torch.isfinite(scores).all()):
        return None
    _, group, counts = torch.unique(scores, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum(0).double() - (counts.double() - 1) / 2)[group]
    return (float(ranks[yes].sum()) - n * (n + 1) / 2) / (n * (of - n))


def loss_shifted(lab: Lab) -> Result:
    """Add 1 to all outputs and look at the loss, without the model.

    Unchanged: the loss applies softmax itself. Lower by 1: it takes the outputs as log-probabilities. Where torch warns
    that numbers of two sizes are broadcast, ``spread_over`` tells how many outputs of a sample meet each of its targets
    and ``explained`` the share of the targets' variance that the mean of those outputs explains; or, of numbers that
    the loss made itself, ``crossed`` how many pairs it compares for each that it was given. ``weighed``: how many
    weights, those of other samples, each share of the loss is multiplied by (see ``weights_crossed``). Of several
    outputs only one whose rows sum to 1 is asked (``head``, its place): ``sums`` is the largest |sum of a row - 1|.
    """
    batch = lab.targeted(64, least=2)
    seed_generators(lab.seed)
    with torch.no_grad():
        output = output_of(lab.model, batch)
    if not isinstance(output, Tensor) and (told := _shares_shifted(lab.loss, output, batch)):
        return Result(told)
    if not isinstance(output, Tensor) or output.dim() < 2 or output.is_nested or not output.is_floating_point():
        raise NotApplicableError("the output is no single tensor with a row for each sample")
    with _heard() as heard:
        numbers = {"loss": _told(lab.loss, output, batch.target)}
    numbers["shifted"] = _told(lab.loss, output + 1, batch.target)
    if pairs := _sizes_warned_of(heard):
        numbers |= _spread_over(output, batch.target) or _crossed(*pairs[0])
    numbers |= weights_crossed(lab.loss, output, batch.target, batch.n_samples)
    width = max(output.shape[1], output.shape[-1])
    return Result(numbers | {"pull": _pull(lab.loss, output, batch.target), "width": float(width)})


def _shares_shifted(loss: Loss, output: Any, batch: Batch) -> dict[str, float]:
    """Find the output, of several, whose rows are shares of 1 and in which the loss takes no notice of an added 1."""
    heads: list[Tensor] = []

    def found(tensor: Tensor) -> Tensor:
        heads.append(tensor)
        return tensor

    mapped(output, found)
    for place, head in enumerate(heads):
        if not head.is_floating_point() or head.dim() < 2 or len(head) != batch.n_samples or head.is_nested:
            continue
        sums = min(float((head.double().sum(dim) - 1).abs().max()) for dim in {1, head.dim() - 1})
        if sums > 1e-4 or bool((head < 0).any()):
            continue

        def told(change: Callable[[Tensor], Tensor], place: int = place) -> float:
            left = iter([change(t) if k == place else t for k, t in enumerate(heads)])
            return _told(loss, mapped(output, lambda _: next(left)), batch.target)

        base, shifted, turned = told(lambda t: t), told(lambda t: t + 1), told(lambda t: t.roll(1, 0))
        exact = 1e-5 * max(abs(base), 1e-2)
        if abs(shifted - base) < exact < abs(turned - base):
            return {"loss": base, "shifted": shifted, "pull": 0.0, "width": 1.0, "sums": sums, "head": place + 1.0}
    return {}


def _spread_over(output: Tensor, target: Any) -> dict[str, float]:
    """Return how many outputs of a sample meet each of its targets, {} where they meet those of other samples too."""
    if not isinstance(target, Tensor) or target.dim() != output.dim() or len(target) != len(output):
        return {}
    dims = [d for d in range(1, output.dim()) if target.shape[d] == 1 < output.shape[d]]
    if not dims or any(output.shape[d] not in (1, target.shape[d]) for d in range(output.dim()) if d not in dims):
        return {}
    said, asked = output.double().mean(dims, keepdim=True), target.double()
    left = float((said - asked).square().mean() / asked.var(unbiased=False).clamp_min(1e-300))
    return {"spread_over": float(output.numel() / said.numel()), "explained": 1 - left}


def _sizes_warned_of(heard: list[warnings.WarningMessage]) -> list[tuple[list[int], list[int]]]:
    """Return the sizes (input, target) that torch warned of, as its losses do where they are not the same."""
    told = [_SIZES.search(str(warning.message)) for warning in heard]
    return [(_size(m["input"]), _size(m["target"])) for m in told if m is not None]


def _size(text: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", text)]


def _crossed(said: list[int], asked: list[int]) -> dict[str, float]:
    """Return how many pairs broadcasting makes for each number of the larger size; {} where it makes no more."""
    width = max(len(said), len(asked))
    ones = [[1] * (width - len(size)) + size for size in (said, asked)]
    pairs = math.prod(max(pair) for pair in zip(*ones, strict=True))
    largest = max(math.prod(said), math.prod(asked))
    return {"crossed": pairs / largest} if pairs > largest else {}


@contextmanager
def _heard() -> Iterator[list[warnings.WarningMessage]]:
    """Keep all warnings that are given inside the block, those said before too."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        yield heard


def _told(loss: Loss, output: Any, target: Any) -> float:
    with torch.no_grad():
        return float(taken(lambda: value_of(loss, output, target), "the loss refuses made-up outputs"))


def _pull(loss: Loss, output: Tensor, target: Tensor) -> float:
    """Return the largest derivative of the loss by an output."""
    with torch.enable_grad():
        moved = output.detach().clone().requires_grad_(True)
        value = value_of(loss, moved, target)
        if not value.requires_grad:
            return 0.0
        (gradient,) = torch.autograd.grad(value, moved)
    return float(gradient.abs().max())


def _answers(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor, str]:
    n = len(output)
    if are_class_scores(output, target):
        legal = bool(((target >= 0) & (target < output.shape[1])).all())
        if not legal or torch.unique(target).numel() < 2:
            raise NotApplicableError("the targets are not all classes of the output, or all the same")
        return _moved_to(output, target), _moved_to(output, (target + 1) % output.shape[1]), "scores"
    if output.numel() != target.numel() or len(target) != n:
        raise NotApplicableError("outputs and targets are neither class scores nor numbers of one size")
    if not bool((target[1:] != target[:-1]).any()):
        raise NotApplicableError("the targets are all the same")
    yes_or_no = bool(((target == 0) | (target == 1)).all())
    if yes_or_no:  # inside (0, 1), so that losses of probabilities and of logits both take them
        right = (0.1 + 0.8 * target).reshape(output.shape).to(output)
        return right, 1.0 - right, "yes or no"
    right = target.reshape(output.shape).to(output)
    return right, right.roll(n // 2, 0), "numbers" if target.is_floating_point() else "class numbers"


def _moved_to(output: Tensor, place: Tensor) -> Tensor:
    """Swap the largest entry of each row with the one at ``place``."""
    rows = torch.arange(len(output), device=output.device)
    largest = output.argmax(1)
    moved = output.clone()
    moved[rows, largest] = output[rows, place]
    moved[rows, place] = output[rows, largest]
    return moved
