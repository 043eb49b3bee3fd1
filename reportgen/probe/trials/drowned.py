"""Does one head of several drown the others: is what it says nearly all that the loss feels?"""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import mean, stdev
from typing import Any

import torch
from torch import Tensor

from ...subject.data import Batch
from ..seeding import seed_generators
from .anew import learn
from .drawn import draw_trainable
from .lab import Lab, Loss, NotApplicableError, Outfit, Result, enough, output_of, taken, value_of
from .learning import in_training
from .sample import mapped, rows

_ASKED = 512
_LEAST = 80
_BATCH = 32
_FAR = 100.0
_COLUMNS = 16  # of the only output, that may be heads
_DEALS = 8


def head_drowned(lab: Lab) -> Result:
    """Train a fresh copy on what the heads say that the loss hardly feels, with the strongest head held fast.

    Made where the model gives several tensors, (samples, ...) each, or one of 2 to 16 columns, and the loss moves the
    parameters that they share a hundred times as much through one of them as through all others. ``pull``: norm of the
    gradient of the shared parameters through that head over that through the others, of the weights as they are. What
    the others say is worth the loss with their rows dealt out among the samples, less the loss with their own:
    ``worth`` of the model as it is, ``worth_alone`` of a copy that learned from them alone (Adam, 300 steps of 32
    samples of the training data), both on data given, with what the strong head of the model says in either;
    ``noise``: the standard deviation over eight deals. ``size``: root mean square of what the strong head says. All in
    float64, as a loss of millions hides what is of order 1 in float32.
    """
    if not lab.wide_training or not lab.wide_given:
        raise NotApplicableError("no training data were given")
    learned, asked = (enough(part, _ASKED, _LEAST) for part in (lab.wide_training, lab.wide_given))
    strong, pull = _strongest(lab, rows(learned, torch.arange(_BATCH)))
    if pull < _FAR:
        raise NotApplicableError("no head pulls a hundred times as much as all others")
    work = _with_held(lab.fresh(), strong)
    draw_trainable(work.model, lab.seed)
    learn(lab, work, learned)
    with torch.no_grad():
        said, alone = (output_of(model.eval(), asked) for model in (lab.model, work.model))
        held = _heads(said, asked.n_samples)[strong]
        worth, noise = _worth(lab.loss, said, asked, strong, held)
        worth_alone, noise_alone = _worth(lab.loss, alone, asked, strong, held)
    return Result(
        {
            "pull": pull,
            "worth": worth,
            "worth_alone": worth_alone,
            "noise": max(noise, noise_alone),
            "size": float(held.double().square().mean().sqrt()),
            "samples": float(asked.n_samples),
        }
    )


def _with_held(work: Outfit, strong: int) -> Outfit:
    """Return a copy whose loss feels all heads but the strong one."""
    whole = work.loss
    assert whole is not None  # that of the laboratory was asked before

    def loss(output: Any, target: Any) -> Tensor:
        held = _heads(output)[strong].detach().double()
        return _loss_with(whole, output, {strong: held}, target)

    return replace(work, loss=loss)


def _told(output: Any) -> tuple[list[Tensor], bool]:
    """Return the heads of an output: its tensors, in order, or the columns of the only one, and which of the two."""
    found: list[Tensor] = []

    def find(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    mapped(output, find)
    columns = len(found) == 1 and found[0].dim() == 2 and 2 <= found[0].shape[1] <= _COLUMNS
    return (list(torch.split(found[0], 1, 1)), True) if columns else (found, False)


def _heads(output: Any, n: int | None = None) -> list[Tensor]:
    """Return the heads of an output; with ``n`` several, with a row for each of so many samples."""
    found, _ = _told(output)
    if n is not None and (len(found) < 2 or not all(t.is_floating_point() and t.dim() and len(t) == n for t in found)):
        raise NotApplicableError("the model has not several outputs with a row for each sample")
    return found


def _loss_with(loss: Loss, output: Any, change: dict[int, Tensor], target: Any) -> Tensor:
    """Return the loss of an output of which some heads, by place, are exchanged."""
    found, are_columns = _told(output)
    heads = [change.get(k, head) for k, head in enumerate(found)]
    left = iter([torch.cat(heads, 1)] if are_columns else heads)
    said = mapped(output, lambda _: next(left))
    return taken(lambda: value_of(loss, said, target), "the loss refuses outputs in float64")


def _strongest(lab: Lab, batch: Batch) -> tuple[int, float]:
    """Return the head that moves the shared parameters most, and how many times as much as all others together."""
    work = lab.fresh()
    in_training(work.model, batch.n_samples)
    seed_generators(lab.seed)
    parameters = [p for p in work.model.parameters() if p.requires_grad]
    pulls: list[tuple[Tensor | None, ...]] = []
    with torch.enable_grad():
        output = output_of(work.model, batch)
        heads = _heads(output, batch.n_samples)
        if _told(output)[1]:
            return _strongest_column(lab.loss, output, batch)
        for place in range(len(heads)):
            others = {k: t.detach() for k, t in enumerate(heads) if k != place}
            value = _loss_with(lab.loss, output, others, batch.target)
            alone = value.requires_grad and bool(parameters)
            pulls.append(torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True) if alone else ())
    felt = [k for k, pull in enumerate(pulls) if any(g is not None and bool(g.any()) for g in pull)]
    shared = [i for i in range(len(parameters)) if sum(pulls[k][i] is not None for k in felt) > 1]
    if len(felt) < 2 or not shared:
        raise NotApplicableError("the loss follows one output, or the outputs share no parameters")
    norms = {k: _norm([pulls[k][i] for i in shared]) for k in felt}
    strong = max(felt, key=norms.__getitem__)
    return strong, norms[strong] / max(sum(v for k, v in norms.items() if k != strong), 1e-30)


def _strongest_column(loss: Loss, output: Any, batch: Batch) -> tuple[int, float]:
    """Return the column by which the loss has the largest gradient, and how many times that of all others together.

    All pass through the same layers but for the last, so what is felt of them goes with these gradients.
    """
    columns = {k: head.detach().double().requires_grad_() for k, head in enumerate(_heads(output))}
    value = _loss_with(loss, output, dict(columns), batch.target)
    if not value.requires_grad:
        raise NotApplicableError("the loss follows one output, or the outputs share no parameters")
    pulls = torch.autograd.grad(value, list(columns.values()), allow_unused=True)
    norms = [_norm([pull]) for pull in pulls]
    strong = max(range(len(norms)), key=norms.__getitem__)
    others = sum(norms) - norms[strong]
    if not others:
        raise NotApplicableError("the loss follows one output, or the outputs share no parameters")
    return strong, norms[strong] / others


def _norm(gradients: list[Tensor | None]) -> float:
    return math.sqrt(sum(float(g.double().square().sum()) for g in gradients if g is not None))


def _worth(loss: Loss, said: Any, asked: Batch, strong: int, held: Tensor) -> tuple[float, float]:
    """Return what the loss rises by when all heads but the strong one are dealt out anew, and its deviation."""
    own = {k: t.double() for k, t in enumerate(_heads(said, asked.n_samples))} | {strong: held.double()}
    base = float(_loss_with(loss, said, own, asked.target))
    dealt = []
    for seed in range(_DEALS):
        order = torch.randperm(asked.n_samples, generator=torch.Generator().manual_seed(seed))
        other = {k: t if k == strong else t[order] for k, t in own.items()}
        dealt.append(float(_loss_with(loss, said, other, asked.target)) - base)
    if not all(math.isfinite(value) for value in dealt):
        raise NotApplicableError("the loss is not finite")
    return mean(dealt), stdev(dealt)
