"""A look at the gradients of one optimizer step: norms, clipping, and what is not finite."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .observations import NOTHING, Clip, Gradients
from .run import Run
from .samples import lifted, local

_SHORTER = 0.999  # factors above are rounding
_HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Look:
    """Which step is looked at, and which parameters."""

    step: int
    close: bool
    """Whether each parameter's norm is kept, beside the total."""
    label: str
    """What tells the optimizer's series from those of the first."""
    places: list[int]
    sentinel: int | None
    """Place of the parameter whose gradient was measured after backward already."""


def look(run: Run, look: Look, fresh: Tensor | None, seen: Callable[[dict[int, float]], None]) -> None:
    """Measure the norm of each gradient; ``fresh`` is that of the sentinel right after backward.

    ``seen`` is given the finite norms by place.
    """
    parameters = run.table().parameters
    held = {place: g.detach() for place in look.places if (g := parameters[place].grad) is not None}
    present = list(held)
    if not present:
        _read(run, look, present, seen, [])
        return
    norms = norms_of(list(held.values()))
    if fresh is not None and look.sentinel in present:
        norms = torch.cat([norms, fresh.to(norms).reshape(1)])
    run.notebook.fetch(norms, functools.partial(_read, run, look, present, seen))


def norms_of(gradients: list[Tensor]) -> Tensor:
    """Return the L2 norm of each tensor, on the device of the first: (n,), float32 or wider."""
    norms = torch._foreach_norm([g if _is_plain(g) else _values(local(g)) for g in gradients])
    first = norms[0]
    if all(n.dtype == first.dtype and n.device == first.device for n in norms):
        return torch.stack(norms)
    kind = torch.float64 if any(n.dtype == torch.float64 for n in norms) else torch.float32
    return torch.stack([n.to(first.device, kind) for n in norms])


def _is_plain(gradient: Tensor) -> bool:
    return type(gradient) is Tensor and gradient.layout == torch.strided and gradient.dtype not in _HALF


def _values(gradient: Tensor) -> Tensor:
    if gradient.layout == torch.sparse_coo:
        return lifted(gradient.coalesce().values())
    return lifted(gradient if gradient.layout == torch.strided else gradient.to_dense())


def _read(
    run: Run, look: Look, present: list[int], seen: Callable[[dict[int, float]], None], numbers: list[float]
) -> None:
    norms = dict(zip(present, numbers, strict=False))
    total = math.sqrt(sum(n * n for n in norms.values())) if norms else 0.0
    run.notebook.row("step", look.step, {f"gradient_norm{look.label}": _finite(total)})
    bad = [place for place, norm in norms.items() if not math.isfinite(norm)]
    if bad:
        # gradients flow backwards: of those that are not finite, the one nearest to the loss came first
        run.notebook.nonfinite("gradient", run.table().entries[max(bad)].name, look.step)
    if look.close:
        told = [_finite(norms[p]) if p in norms else NOTHING for p in look.places]
        run.notebook.add(Gradients(step=look.step, at=look.places, norms=told))
        seen({place: norm for place, norm in norms.items() if math.isfinite(norm)})
    if len(numbers) > len(present) and look.sentinel is not None:
        _hold_against(run, look, norms[look.sentinel], numbers[-1], total)


def _hold_against(run: Run, look: Look, used: float, fresh: float, total: float) -> None:
    """See whether the gradient was shortened between backward and step."""
    if not (fresh > 0 and used > 0 and math.isfinite(fresh) and math.isfinite(used)):
        return
    factor = used / fresh * (run.scale or 1.0)
    if run.scale is None and (run.scaler is not None or is_unscaling(factor)):
        return
    run.notebook.tally.clip_checked += 1
    if factor < _SHORTER:
        run.notebook.tally.clipped += 1
        run.notebook.add(Clip(step=look.step, factor=factor, norm=total))


def is_unscaling(factor: float) -> bool:
    """Tell whether a factor is a power of two far below 1, as when an AMP scale is taken off the gradients."""
    power = math.log2(factor)
    return power < -2.5 and abs(power - round(power)) < 1e-5


def autopsy(run: Run, index: int) -> None:
    """Name the gradients that are still there, and the weights, that are not finite."""
    table = run.table()
    for part in ("gradient", "weight"):
        held = {
            place: tensor.detach()
            for place in table.covers[index]
            if (tensor := table.parameters[place].grad if part == "gradient" else table.parameters[place]) is not None
            and not tensor.is_meta
        }
        if held:
            then = functools.partial(_autopsy_read, run, part, list(held), run.notebook.tally.steps)
            run.notebook.fetch(norms_of(list(held.values())), then)


def _autopsy_read(run: Run, part: str, places: list[int], step: int, numbers: list[float]) -> None:
    bad = [place for place, norm in zip(places, numbers, strict=True) if not math.isfinite(norm)]
    if bad:
        run.notebook.nonfinite(part, run.table().entries[max(bad) if part == "gradient" else min(bad)].name, step)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
