"""What one optimizer step does to the weights, measured across the step on evenly spaced entries; and portraits."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from statistics import median_low

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .observations import NOTHING, Movement, Portrait
from .parameters import Table, decay_of, second_moment, start_of
from .run import Run
from .samples import bars_of, bars_read, entries, lifted

MAX_PORTRAITS = 24  # parameters, and layers, that get histograms


@dataclass(frozen=True)
class Before:
    """The parameters of an optimizer right before its step."""

    places: list[int]
    samples: list[Tensor]


def begin(table: Table, index: int) -> Before:
    """Copy entries of the parameters that an optimizer is about to move."""
    places = [
        place
        for place in table.covers[index]
        if table.entries[place].optimizer == index and table.parameters[place].requires_grad
    ]
    return Before(places, [start_of(table.parameters[place]) for place in places])


def end(run: Run, optimizer: Optimizer, label: str, before: Before) -> None:
    """Measure ‖Δw‖/‖w‖ of each parameter, the part of it that is weight decay, and how far Adam's v lags behind."""
    table = run.table()
    if not before.places:
        return
    now = [lifted(entries(table.parameters[place])) for place in before.places]
    moved = torch._foreach_norm([a - b for a, b in zip(now, before.samples, strict=True)])
    norms = torch._foreach_norm(before.samples)
    stale = [_stale_v(optimizer, table, place) for place in before.places]
    known = [i for i, value in enumerate(stale) if value is not None]
    every = [*moved, *norms, *(value for value in stale if value is not None)]
    stack = torch.stack([t.detach().to(every[0].device, torch.float32) for t in every])
    decays = [_decay(optimizer, table, place) for place in before.places]
    then = functools.partial(_read, run, run.notebook.tally.steps, label, before.places, decays, known)
    run.notebook.fetch(stack, then)


def _decay(optimizer: Optimizer, table: Table, place: int) -> float | None:
    group = table.entries[place].group
    return None if group is None else decay_of(optimizer, optimizer.param_groups[group])


def _stale_v(optimizer: Optimizer, table: Table, place: int) -> Tensor | None:
    """Return √mean(g² / max(v̂, ε²)) with the v of the step just taken (Wortsman et al. 2023); None without a v."""
    p, entry = table.parameters[place], table.entries[place]
    if p.grad is None or len(entry.shape) < 2 or entry.group is None or p.grad.layout != torch.strided:
        return None
    group = optimizer.param_groups[entry.group]
    found = second_moment(optimizer, p, group)
    if found is None:
        return None
    v, correction = found
    g = p.grad if p.grad.stride() == v.stride() else p.grad.contiguous()
    v = v if g is p.grad else v.contiguous()
    # bounds are never below what float32 can hold
    floor = max(float(group.get("eps", 0.0)) ** 2, 1e-38)
    corrected = (lifted(entries(v)) / correction).clamp_(min=floor)
    return (lifted(entries(g)).square() / corrected).mean().sqrt()


def _read(
    run: Run,
    step: int,
    label: str,
    places: list[int],
    decays: list[float | None],
    known: list[int],
    numbers: list[float],
) -> None:
    n, table = len(places), run.table()
    moved, norms, stale = numbers[:n], numbers[n : 2 * n], numbers[2 * n :]
    ratios = [_ratio(a, b) for a, b in zip(moved, norms, strict=True)]
    decay = [_ratio(d * w, m) if d is not None else NOTHING for d, w, m in zip(decays, norms, moved, strict=True)]
    lag: list[float | None] = [NOTHING] * n
    for at, value in zip(known, stale, strict=True):
        lag[at] = value if math.isfinite(value) else None
    run.notebook.add(
        Movement(
            step=step,
            at=places,
            ratios=ratios,
            decay=decay if any(d is not None for d in decays) else [],
            stale_v=lag if known else [],
        )
    )
    of_matrices = [r for p, r in zip(places, ratios, strict=True) if table.entries[p].is_matrix and r != NOTHING]
    if of_matrices:
        finite = [r for r in of_matrices if r is not None]
        typical = median_low(finite) if finite else None
        run.notebook.row("step", step, {f"update_ratio{label}": typical})
    bad = [p for p, a, b in zip(places, moved, norms, strict=True) if not math.isfinite(a + b)]
    if bad:
        run.notebook.nonfinite("weight", table.entries[bad[0]].name, step)


def _ratio(a: float, b: float) -> float | None:
    """Return a/b, NOTHING where b is zero, None where it is not finite."""
    if b == 0:
        return NOTHING
    ratio = a / b
    return ratio if math.isfinite(ratio) else None


def take_portrait(run: Run, index: int) -> None:
    """Make histograms of some of an optimizer's weight matrices, spread over the model, and of their gradients.

    Of layers that the user named, where any were: norms and steps are those of all, as the rules ask for them.
    """
    table, step, choice = run.table(), run.notebook.tally.steps, run.choice
    layers = {p: table.entries[p].name.rpartition(".")[0] for p in table.covers[index]}
    named = [p for p, layer in layers.items() if choice.share(layer, "weights") or choice.share(layer, "gradients")]
    samples: list[tuple[str, str, Tensor]] = []
    for place in spread([p for p in named if len(table.entries[p].shape) >= 2], MAX_PORTRAITS):
        p: nn.Parameter = table.parameters[place]
        if choice.at(layers[place], step, "weights"):
            samples.append((table.entries[place].name, "weight", entries(p)))
        if p.grad is not None and choice.at(layers[place], step, "gradients"):
            samples.append((table.entries[place].name, "gradient", entries(p.grad)))
    draw(run, step, samples)


def spread(items: list[int], n: int) -> list[int]:
    """Choose n of many, evenly, the first and the last among them."""
    if len(items) <= n:
        return items
    return [items[round(i * (len(items) - 1) / (n - 1))] for i in range(n)]


def draw(run: Run, step: int, samples: list[tuple[str, str, Tensor]]) -> None:
    """Enter histograms of (name, part, entries) in the notebook."""
    held = [(name, part, x) for name, part, x in samples if x.numel()]
    for device in {x.device for *_, x in held}:
        here = [(name, part, x) for name, part, x in held if x.device == device]
        then = functools.partial(_drawn, run, step, [(name, part) for name, part, _ in here])
        run.notebook.fetch(bars_of([x for *_, x in here]), then)


def _drawn(run: Run, step: int, names: list[tuple[str, str]], numbers: list[float]) -> None:
    width = len(numbers) // len(names)
    rows = [numbers[i * width : (i + 1) * width] for i in range(len(names))]
    bars = [bars_read(name, part, row) for (name, part), row in zip(names, rows, strict=True)]
    run.notebook.add(Portrait(step=step, bars=[b for b in bars if b is not None]))
