"""Training a copy for a little: one true step, one batch to be learned by heart, a fresh start, shuffled labels."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ...subject.data import Batch, tensors
from ..layers import main_tensor
from ..reduce import as_real
from ..seeding import seed_generators
from .confidence import class_scores
from .drawn import draw_all
from .lab import Lab, NotApplicableError, Outfit, Result, optimizers_own, output_of, taken, value_of
from .modes import right_answers
from .sample import shuffled

_STEPS = 200
_RATES = (3e-3, 3e-2)
_NAMES = 4


def one_step(lab: Lab) -> Result:
    """Take one step with copies of the true optimizers, without their past and without weight decay.

    What has a gradient, what the graph holds that ``model.parameters()`` does not, what moved, and whether the step
    leads downhill (``slope``: gradient times movement, over both lengths; -1 is straight down).
    """
    batch = lab.targeted(64, least=1).fresh()  # the graph ends in these very tensors
    work = lab.fresh()
    in_training(work.model, batches=batch.n_samples)
    for optimizer in work.optimizers:
        _forget(optimizer)
    parameters = dict(work.model.named_parameters())
    trainable = {name: p for name, p in parameters.items() if p.requires_grad}
    value = _value(work, batch, lab.seed)
    numbers = {"trainable": float(len(trainable)), "loss": float(value.detach())}
    if not math.isfinite(numbers["loss"]):
        raise NotApplicableError("the loss is not finite")
    # a loss made anew from its number may require a gradient and yet be the end of its own graph
    numbers["connected"] = float(value.requires_grad and not value.is_leaf)
    detail: dict[str, str] = {}
    if not numbers["connected"]:
        return Result(numbers, detail)
    enter_strangers(lab, work, leaves_of([value]), batch, numbers, detail)
    backward(value)
    if work.optimizers:
        numbers |= _unowned(work)
    reached = {name: p for name, p in trainable.items() if p.grad is not None}
    pushed = {name: p for name, p in reached.items() if p.grad is not None and _has_entries(p.grad)}
    numbers |= {"reached": float(len(reached)), "pushed": float(len(pushed))}
    if work.optimizers:
        _step(work, trainable, pushed, numbers, detail)
    return Result(numbers, detail)


def in_training(model: nn.Module, batches: int) -> None:
    """Put a copy in training mode, save batch norms that a single sample would make fail."""
    model.train()
    if batches < 2:
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


def backward(value: Tensor) -> None:
    taken(lambda: value.backward(), "the loss cannot be differentiated")  # type: ignore[no-untyped-call]


def _has_entries(gradient: Tensor) -> bool:
    real = as_real(gradient)  # None for a sparse one too large to be laid out, which nobody makes of zeros
    return real is None or bool(real.count_nonzero())


def adam(parameters: list[nn.Parameter], rate: float) -> Optimizer:
    """Make Adam with its step in one call, where the kind of the weights allows it: of small ones it is a quarter."""
    return torch.optim.Adam(parameters, lr=rate, fused=_is_plain(parameters) or None)


def hasten(work: Outfit) -> None:
    """Let the optimizers of a copy make their step in one call, where they are Adam and nothing was said of it."""
    for optimizer in work.optimizers:
        if type(optimizer) not in (torch.optim.Adam, torch.optim.AdamW):
            continue
        for group in optimizer.param_groups:
            told = any(group.get(key) for key in ("fused", "foreach", "capturable", "differentiable"))
            if not told and isinstance(group.get("lr"), float) and _is_plain(group["params"]):
                group["fused"] = True


def _is_plain(parameters: Iterable[Tensor]) -> bool:
    return all(
        type(p.data) is Tensor and p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters
    )


def refuse_sparse(parameters: Iterable[Tensor]) -> None:
    if any(p.grad is not None and p.grad.layout != torch.strided for p in parameters):
        raise NotApplicableError("the gradients are sparse, which Adam does not take")


def _forget(optimizer: Optimizer) -> None:
    """Drop the past of an optimizer, and weight decay: what is left follows the gradient alone."""
    optimizer.state.clear()
    for group in optimizer.param_groups:
        if "weight_decay" in group:
            group["weight_decay"] = 0.0


def _value(work: Outfit, batch: Batch, seed: int) -> Tensor:
    seed_generators(seed)
    return answered(work, batch)[1]


def answered(work: Outfit, batch: Batch) -> tuple[Any, Tensor]:
    """Run the model with gradients; return its output and the loss."""
    loss = work.loss
    if loss is None:
        raise NotApplicableError("no loss was given")
    with torch.enable_grad():
        output = output_of(work.model, batch)
        return output, taken(lambda: value_of(loss, output, batch.target), "the loss refuses outputs of training mode")


def leaves_of(values: Iterable[Tensor]) -> list[Tensor]:
    """Return the leaf tensors that the graphs of some values end in."""
    found: list[Tensor] = []
    known: set[Any] = set()
    stack: list[Any] = [value.grad_fn for value in values]
    while stack:
        node = stack.pop()
        if node is None or node in known:
            continue
        known.add(node)
        leaf = getattr(node, "variable", None)
        if isinstance(leaf, Tensor):
            found.append(leaf)
        stack.extend(next_ for next_, _ in node.next_functions)
    return found


def _unowned(work: Outfit) -> dict[str, float]:
    """Count the parameters of the loss itself that get a gradient and that no optimizer holds, and their elements."""
    if not isinstance(work.loss, nn.Module):
        return {}
    known = {id(p) for p in work.model.parameters()} | optimizers_own(work.optimizers)
    pushed = [p for p in work.loss.parameters() if p.grad is not None and id(p) not in known and _has_entries(p.grad)]
    return {"unowned": float(len(pushed)), "unowned_elements": float(sum(p.numel() for p in pushed))}


def enter_strangers(
    lab: Lab, work: Outfit, leaves: list[Tensor], batch: Batch, numbers: dict[str, float], detail: dict[str, str]
) -> None:
    """Enter the leaves that need a gradient and belong neither to model, loss or any optimizer nor to the data.

    An activation that was wrapped anew in the forward pass is a leaf too, with a row for each sample; a parameter that
    is made anew in each pass is one that nobody trains.
    """
    known = {id(p) for p in work.model.parameters()} | optimizers_own(work.optimizers) | lab.owned
    known |= {id(t) for t in tensors((batch.args, batch.kwargs, batch.target))}
    if isinstance(work.loss, nn.Module):
        known |= {id(p) for p in work.loss.parameters()}
    strangers = [leaf for leaf in leaves if id(leaf) not in known and not _is_wrapped(leaf, work.model, batch)]
    if strangers:
        elsewhere = _owned_by_any()  # as the parameters of a critic are, which has an optimizer of its own
        strangers = [leaf for leaf in strangers if id(leaf) not in elsewhere]
    numbers["strangers"] = float(len(strangers))
    if strangers:
        numbers["stranger_elements"] = float(sum(leaf.numel() for leaf in strangers))
        shapes = [" × ".join(map(str, leaf.shape)) or "scalar" for leaf in strangers[:_NAMES]]
        detail["strangers"] = ", ".join(shapes)
        detail["where"] = _where(work.model, strangers)


def _owned_by_any() -> frozenset[int]:
    """Return the ids of the tensors in all optimizers that there are, those that nobody told us of too."""
    return optimizers_own([o for o in gc.get_objects() if issubclass(type(o), Optimizer)])


def _is_wrapped(leaf: Tensor, model: nn.Module, batch: Batch) -> bool:
    """Tell whether a leaf is an activation: a row for each sample, and no part of the model holds it."""
    each = leaf.dim() > 1 and len(leaf) == batch.n_samples and not isinstance(leaf, nn.Parameter)
    return each and not _where(model, [leaf])


def _where(model: nn.Module, strangers: list[Tensor]) -> str:
    """Name the attribute of the model that holds the strangers, as far as plain lists, tuples and dicts go."""
    wanted = {id(s) for s in strangers}
    for name, module in model.named_modules():
        for attribute, value in vars(module).items():
            if attribute.startswith("_"):
                continue
            held = list(value.values()) if isinstance(value, dict) else value
            items = list(held) if isinstance(held, (list, tuple)) else [held]
            inside: list[Tensor] = [p for m in items if isinstance(m, nn.Module) for p in m.parameters()]
            inside += [t for t in items if isinstance(t, Tensor)]
            if any(id(t) in wanted for t in inside):
                return f"{name}.{attribute}" if name else attribute
    return ""


def _step(
    work: Outfit,
    trainable: dict[str, nn.Parameter],
    pushed: dict[str, nn.Parameter],
    numbers: dict[str, float],
    detail: dict[str, str],
) -> None:
    owned = optimizers_own(work.optimizers)
    before = {name: p.detach().clone() for name, p in trainable.items()}
    found = {name: as_real(p.grad) for name, p in pushed.items() if p.grad is not None}
    gradients = {name: g.clone() for name, g in found.items() if g is not None}
    for optimizer in work.optimizers:
        if type(optimizer).__name__ == "LBFGS":
            raise NotApplicableError("the optimizer calls the model itself")
        taken(optimizer.step, f"{type(optimizer).__name__} refuses to make a step")
    moved = {name for name, p in trainable.items() if not torch.equal(p.detach(), before[name])}
    held = {name for name, p in trainable.items() if id(p) in owned}
    stuck = [name for name in pushed if name in held and name not in moved]
    groups = [g for o in work.optimizers for g in o.param_groups]
    numbers |= {
        "held": float(len(held)),
        "moved": float(len(moved)),
        "stuck": float(len(stuck)),
        "largest_rate": max((float(g.get("lr", 0.0)) for g in groups), default=0.0),
        "maximize": float(any(g.get("maximize") for g in groups)),
    }
    if stuck:
        detail["stuck"] = ", ".join(stuck[:_NAMES])
    made = [as_real(trainable[n].detach() - before[n]) for n in gradients]
    steps = [step.double().flatten() for step in made if step is not None]
    pulls = [g.double().flatten() for g in gradients.values()]
    along = sum(float(s @ g) for s, g in zip(steps, pulls, strict=True))
    lengths = [math.sqrt(sum(float(t @ t) for t in part)) for part in (steps, pulls)]
    if lengths[0] and lengths[1]:
        numbers["slope"] = along / (lengths[0] * lengths[1])


def one_batch(lab: Lab) -> Result:
    """Let a copy learn 32 samples by heart with Adam, without dropout: at most 200 steps at each of two rates.

    ``solved``: accuracy reached 0.95 (scores), or the mean squared error fell below a tenth of the targets' variance.
    A linear model, one that is frozen for the most part, and contradictory labels cannot; nor can one with fewer
    trainable numbers (``free``) than there are to be learned (``wanted``), as in maps of a small convolutional net.
    """
    batch = lab.targeted(32)
    tries = []
    for rate in _RATES:
        tries.append(_by_heart(lab, lab.fresh(), batch, rate, _STEPS))
        if tries[-1]["solved"]:
            break
    best = min(tries, key=lambda t: t["end"])
    sizes = {"free": float(sum(p.numel() for p in lab.model.parameters() if p.requires_grad))}
    if isinstance(batch.target, Tensor):
        sizes["wanted"] = float(batch.target.numel())
    return Result({"samples": float(batch.n_samples), "tries": float(len(tries)), **sizes, **best})


def _by_heart(lab: Lab, work: Outfit, batch: Batch, rate: float, steps: int) -> dict[str, float]:
    parameters = [p for p in work.model.parameters() if p.requires_grad]
    if not parameters:
        raise NotApplicableError("no parameter is trainable")
    optimizer = adam(parameters, rate)
    in_training(work.model, batch.n_samples)
    start = end = math.nan
    numbers: dict[str, float] = {"rate": rate, "solved": 0.0}
    with without_dropout(work.model):
        for step in range(steps + 1):
            if step % 10 == 0:
                lab.clock.need(30)
            optimizer.zero_grad()
            seed_generators(lab.seed)
            output, value = answered(work, batch)
            end = float(value.detach())
            if not math.isfinite(end) or not value.requires_grad:
                raise NotApplicableError("the loss is not finite, or no parameter reaches it")
            start = end if step == 0 else start
            numbers |= _memory(output, batch.target)
            if numbers["solved"] or step == steps:
                break
            backward(value)
            refuse_sparse(parameters)
            optimizer.step()
    return numbers | {"start": start, "end": end, "steps": float(step)}


def _memory(output: Any, target: Any) -> dict[str, float]:
    """Say how much of the batch is known by heart."""
    right = right_answers(output, target)
    if right is not None:
        share = float(right.float().mean())
        return {"accuracy": share, "solved": float(share >= 0.95)}
    told = main_tensor(output)
    if told is None or not isinstance(target, Tensor) or told.numel() != target.numel() or told.is_complex():
        raise NotApplicableError("outputs and targets cannot be compared here")
    wanted = target.double().flatten()
    error = float((told.detach().double().flatten() - wanted).square().mean())
    variance = float(wanted.var(correction=0))
    share = error / variance if variance else math.inf
    return {"error_share": min(share, 1e9), "solved": float(share < 0.1)}


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """Switch dropout off in a copy, whatever its mode."""
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        elif isinstance(module, (nn.RNNBase, nn.MultiheadAttention)):
            module.dropout = 0.0
    yield


def fresh_start(lab: Lab) -> Result:
    """Draw a copy's weights anew by ``reset_parameters`` and measure the loss before any step.

    ``loss`` is what an untrained model of this architecture gets with PyTorch's own initialisation, ``constant`` the
    cross-entropy of the best constant answer where the loss is the mean cross-entropy of the answers: a sum over the
    tokens of a sample, or one with further terms, is no number to stand beside it.
    """
    batch = lab.targeted(64)
    work = lab.fresh()
    draw_all(work.model, lab.seed)
    in_training(work.model, batch.n_samples)
    seed_generators(lab.seed)
    with torch.no_grad():
        output, loss = answered(work, batch)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise NotApplicableError("the loss is not finite")
    numbers = {"loss": value}
    found = class_scores(output, batch)
    if found is not None:
        scores, truth = found
        counts = truth.bincount().double()
        shares = counts[counts > 0] / counts.sum()
        if math.isclose(value, float(nn.functional.cross_entropy(scores, truth)), rel_tol=1e-3):
            numbers["constant"] = float(-(shares * shares.log()).sum())
    return Result(numbers)


def shuffled_labels(lab: Lab) -> Result:
    """Train two fresh copies alike, one on the true targets, one on shuffled ones; score both on the data given.

    Where the first is no better, the targets hold nothing that this model can learn in so few steps. Made only for
    class scores, and only where the model as it is does not beat a constant guess.
    """
    batches = shuffled(lab.training, lab.seed, least=32)
    scored = lab.targeted(256, least=20, training=False)
    if _beats_guessing(lab, scored):
        raise NotApplicableError("the model beats a constant guess, so the targets hold something to learn")
    shares = []
    for mixed in (False, True):
        work = lab.fresh()
        draw_all(work.model, lab.seed)
        _train(lab, work, batches, mixed=mixed)
        work.model.eval()
        with torch.no_grad():
            right = right_answers(output_of(work.model, scored), scored.target)
        if right is None:
            raise NotApplicableError("the outputs are no class scores")
        shares.append(float(right.float().mean()))
    return Result({"true_labels": shares[0], "shuffled": shares[1], "samples": float(scored.n_samples)})


def _beats_guessing(lab: Lab, batch: Batch) -> bool:
    """Tell whether the model as it is scores three standard errors above the commonest class."""
    with torch.no_grad():
        right = right_answers(output_of(lab.model, batch), batch.target)
    if right is None:
        raise NotApplicableError("the outputs are no class scores")
    classes = torch.as_tensor(batch.target).flatten().long()
    classes = classes[classes >= 0]  # -100 and the like are left out by losses
    if not len(classes):
        raise NotApplicableError("no target is a class")
    commonest = float(classes.bincount().max()) / len(right)
    error = math.sqrt(max(commonest * (1 - commonest), 1e-9) / len(right))
    return float(right.float().mean()) > commonest + 3 * error


def _train(lab: Lab, work: Outfit, batches: list[Batch], *, mixed: bool, steps: int = 100) -> None:
    parameters = [p for p in work.model.parameters() if p.requires_grad]
    if not parameters:
        raise NotApplicableError("no parameter is trainable")
    optimizer = adam(parameters, _RATES[0])
    generator = torch.Generator().manual_seed(lab.seed)
    shuffle: dict[int, Any] = {}
    work.model.train()
    for step in range(steps):
        if step % 10 == 0:
            lab.clock.need(30)
        batch = batches[step % len(batches)]
        if not isinstance(batch.target, Tensor):
            raise NotApplicableError("the targets are no tensor")
        order = shuffle.setdefault(step % len(batches), torch.randperm(len(batch.target), generator=generator))
        target = batch.target[order.to(batch.target.device)] if mixed else batch.target
        optimizer.zero_grad()
        value = _value(work, replace(batch, target=target), lab.seed + step)
        if not value.requires_grad or not bool(torch.isfinite(value)):
            raise NotApplicableError("the loss is not finite, or no parameter reaches it")
        backward(value)
        refuse_sparse(parameters)
        optimizer.step()
