"""What kind of function the model is: affine or not, and which range its last activation can reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from ...subject.data import Batch, tensors
from ..layers import main_tensor
from ..reduce import as_real
from ..seeding import seed_generators
from .lab import Lab, NotApplicableError, Result, answer, as_answer, output_of
from .sample import changed

_AFFINE = 1e-4  # of the outputs, beyond what float32 makes of an affine network
_DRIVE = 40.0  # what the last affine layer is made to put out: far out for every activation, small for exp in float32


def affinity(lab: Lab) -> Result:
    """Hold f(a x + (1-a) x') against a f(x) + (1-a) f(x') at the last affine layer, before any final activation.

    x are real inputs, x' other real inputs of the opposite sign, 4, 40 and 400 times as large, so that a network of
    ReLUs that happen to be all on does not pass as affine. ``departure``: largest root mean square difference over
    three draws, over that of f(x) - f(x'). ``affine_layers``: Linear and convolution layers that ran. ``redundant``:
    pairs of Linear layers fed one into the other as they are, the inner width no bottleneck, so that one layer would
    say the same; ``collapsible``: the same of all neighbours, whatever stands between. ``inner``, where the whole is
    not affine: the same departure by what the first affine layers put out, all inputs as they are, of the layers behind
    them (a graph's edges may multiply what lies between); ``behind``: how many those are, two at least. Of inputs that
    are all whole numbers x and x' are what the embeddings put out for them.
    """
    batch = lab.samples(32, least=2)
    model, given = lab.model, list(tensors((batch.args, batch.kwargs)))
    tables = [] if any(t.is_floating_point() for t in given) else [n for n, m in model.named_modules() if _is_table(m)]
    if not tables and not all(t.is_floating_point() for t in given):
        raise NotApplicableError("the inputs are no floating-point numbers, between which nothing lies")
    with _affine_layers(model) as seen:
        answer(model, batch, lab.seed)
    if len(seen.order) < 2:
        raise NotApplicableError("fewer than two affine layers, so there is nothing to put between them")
    last, modules = seen.order[-1], dict(model.named_modules())
    if not _is_fed_by_others(lab, seen.order, batch):
        raise NotApplicableError("no affine layer feeds the last one, so there is nothing to put between them")
    numbers = {
        "affine_layers": float(len(seen.order)),
        "redundant": float(len(seen.pairs)),
        "collapsible": float(_collapsible([modules[name] for name in seen.order])),
    }
    if tables:
        found = _departure(lab, tables, last, batch)
        if found is None:
            raise NotApplicableError("the outputs do not vary with the input")
        return Result(numbers | {"departure": found}, {"last": last, "pairs": ", ".join(seen.pairs[:4])})
    departures = []
    for draw, (share, times) in enumerate(((0.5, 4.0), (0.3, 40.0), (0.8, 400.0))):
        other = _far(batch, draw + 1, times)
        mixed = _mixed(batch, other, share)
        f_x = _at(lab, last, batch)
        try:
            f_y, f_mixed = _at(lab, last, other), _at(lab, last, mixed)
        except NotApplicableError as reason:
            raise NotApplicableError(f"of inputs between and beyond those given, {reason}") from reason
        unit = float((f_x - f_y).double().square().mean().sqrt())
        if not unit > 1e-6 * float(f_x.abs().max()):
            raise NotApplicableError("the outputs do not vary with the input")
        gap = f_mixed.double() - share * f_x.double() - (1 - share) * f_y.double()
        departures.append(float(gap.square().mean().sqrt()) / unit)
    numbers["departure"] = max(departures)
    with suppress(NotApplicableError):
        numbers |= _inner(lab, seen.order, batch) if numbers["departure"] > _AFFINE else {}
    return Result(numbers, {"last": last, "pairs": ", ".join(seen.pairs[:4])})


def _inner(lab: Lab, order: list[str], batch: Batch) -> dict[str, float]:
    """Hold the last affine layer against an affine function of what all first ones put out together.

    Returns nothing where fewer than two layers lie behind those, or one of them is called more than once.
    """
    firsts = _first_ones(lab, order, batch)
    behind = len(order) - len(firsts)
    if len(set(order)) < len(order) or behind < 2:
        return {}
    inner = _departure(lab, firsts, order[-1], batch)
    return {} if inner is None else {"inner": inner, "behind": float(behind)}


def _departure(lab: Lab, sources: list[str], last: str, batch: Batch) -> float | None:
    """Hold a layer against an affine function of what others put out together; None where it does not depend on it."""
    modules = dict(lab.model.named_modules())
    mixture = [1.0, 0.0]  # share of what is there, and how far away the rest is

    def at(share: float, times: float) -> Tensor:
        mixture[:] = share, times
        return _at(lab, last, batch).double()

    def mix(module: nn.Module, args: Any, output: Any) -> Any:
        share, times = mixture
        return share * output - (1 - share) * times * output.roll(1, 0)

    handles = [modules[name].register_forward_hook(mix) for name in sources]
    departures = []
    try:
        for part, far in ((0.5, 4.0), (0.3, 40.0), (0.8, 400.0)):
            here, there, between = at(1.0, far), at(0.0, far), at(part, far)
            unit = float((here - there).square().mean().sqrt())
            if not unit > 1e-6 * float(here.abs().max()):
                return None
            gap = between - part * here - (1 - part) * there
            departures.append(float(gap.square().mean().sqrt()) / unit)
            if departures[-1] > _AFFINE:  # most networks are told by the first
                break
    finally:
        for handle in handles:
            handle.remove()
    return max(departures)


def _is_table(module: nn.Module) -> bool:
    return isinstance(module, (nn.Embedding, nn.EmbeddingBag))


def _first_ones(lab: Lab, order: list[str], batch: Batch) -> list[str]:
    """Return the affine layers that read nothing which another one made: NaN in all outputs shows who does."""
    modules, firsts = dict(lab.model.named_modules()), []

    def watch(name: str) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            if not any(bool(t.isnan().any()) for t in tensors(args) if t.is_floating_point()):
                firsts.append(name)
            return torch.full_like(output, torch.nan)

        return hook

    handles = [modules[name].register_forward_hook(watch(name)) for name in dict.fromkeys(order)]
    try:
        seed_generators(lab.seed)
        with torch.no_grad():
            output_of(lab.model, batch)
    finally:
        for handle in handles:
            handle.remove()
    return firsts


def _is_fed_by_others(lab: Lab, order: list[str], batch: Batch) -> bool:
    """Tell whether the last call of an affine layer sees what the others put out; branches side by side do not."""
    plain, calls, last = _at(lab, order[-1], batch), 0, len(order) - 1

    def disturb(module: nn.Module, args: Any, output: Any) -> Any:
        nonlocal calls
        calls += 1
        return 2 * output + 1 if isinstance(output, Tensor) and calls <= last else None

    modules = dict(lab.model.named_modules())
    handles = [modules[name].register_forward_hook(disturb) for name in dict.fromkeys(order)]
    try:
        disturbed = _at(lab, order[-1], batch)
    finally:
        for handle in handles:
            handle.remove()
    return disturbed.shape != plain.shape or not torch.equal(disturbed, plain)


def _collapsible(layers: list[nn.Module]) -> int:
    """Count neighbours in a chain of affine layers that one layer could replace: those without a bottleneck between."""
    widths = [
        (m.in_features, m.out_features) if isinstance(m, nn.Linear) else (0, 0)  # convolutions add up to a wider one
        for m in layers
    ]
    return sum(inner >= min(first, last) for (first, inner), (_, last) in pairwise(widths))


class _Seen:
    """Affine layers in the order they ran, and pairs of which one feeds the other as it is."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.outputs: dict[int, tuple[str, nn.Linear, Tensor]] = {}
        self.pairs: list[str] = []

    def note(self, name: str, module: nn.Module, given: Tensor | None, output: Tensor) -> None:
        """Enter one call."""
        self.order.append(name)
        if not isinstance(module, nn.Linear):
            return
        before = self.outputs.get(given.data_ptr()) if given is not None else None
        # the layer before is kept alive here, so its memory cannot have been given to another tensor meanwhile
        if before is not None and given is not None and before[2].numel() == given.numel():
            inner = module.in_features
            if before[1].out_features == inner >= min(before[1].in_features, module.out_features):
                self.pairs.append(f"{before[0]} → {name}")
        self.outputs[output.data_ptr()] = (name, module, output)


@contextmanager
def _affine_layers(model: nn.Module) -> Iterator[_Seen]:
    seen = _Seen()

    def watch(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if isinstance(output, Tensor):
                given = args[0] if args and isinstance(args[0], Tensor) else None
                seen.note(name, module, given, output)

        return hook

    found = [(name, m) for name, m in model.named_modules() if isinstance(m, (nn.Linear, _ConvNd))]
    handles = [module.register_forward_hook(watch(name)) for name, module in found]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _far(batch: Batch, by: int, times: float) -> Batch:
    """Return other samples, of the opposite sign and so many times as large."""
    return changed(batch, lambda t: -times * t.roll(by, 0))


def _mixed(one: Batch, other: Batch, share: float) -> Batch:
    others = iter([*tensors(other.args), *tensors(other.kwargs)])

    def mix(t: Tensor) -> Tensor:
        return share * t + (1 - share) * next(others)

    return changed(one, mix)


def _at(lab: Lab, name: str, batch: Batch) -> Tensor:
    """Return what the named layer puts out in its last call."""
    found: list[Tensor] = []
    handle = dict(lab.model.named_modules())[name].register_forward_hook(lambda m, a, output: found.append(output))
    try:
        answer(lab.model, batch, lab.seed)
    finally:
        handle.remove()
    return as_answer(found[-1])


def head_range(lab: Lab) -> Result:
    """Make the last affine layer put out -40 to 40 and look at what the rest of the model makes of it.

    Judged only where the output has the size of that layer's, so that what follows can be an activation. ``low`` and
    ``high``: range reached; ``row_sum_error``: largest |sum over classes - 1|; the targets' range stands beside, and
    ``rows_apart``, the share of samples whose targets do not sum to 1, where there is one for each output.
    """
    batch = lab.samples(32, least=2)
    model = lab.model
    with _affine_layers(model) as seen:
        plain = answer(model, batch, lab.seed)
    if not seen.order:
        raise NotApplicableError("no affine layer ran")
    last = dict(model.named_modules())[seen.order[-1]]
    sizes: list[int] = []
    driven = torch.linspace(-_DRIVE, _DRIVE, plain.numel())
    order = torch.randperm(plain.numel(), generator=torch.Generator().manual_seed(lab.seed))

    def replace(module: nn.Module, args: Any, output: Any) -> Any:
        if not isinstance(output, Tensor):
            return None
        sizes.append(output.numel())
        if output.numel() != plain.numel():
            return None
        return driven[order].to(output).reshape(output.shape)

    handle = last.register_forward_hook(replace)
    try:
        seed_generators(lab.seed)
        with torch.no_grad():
            reached = main_tensor(output_of(model, batch))
    finally:
        handle.remove()
    if sizes != [plain.numel()] or reached is None or reached.shape != plain.shape:
        raise NotApplicableError("what follows the last affine layer is more than an activation")
    # one value whatever comes in is a range too
    if torch.equal(reached, plain.to(reached)) and bool((plain != plain.flatten()[0]).any()):
        raise NotApplicableError("the last affine layer has no part in the first output")
    reached = reached.float()
    if not bool(torch.isfinite(reached).all()):
        raise NotApplicableError("the driven outputs are not all finite")
    numbers = {"low": float(reached.min()), "high": float(reached.max()), "drive": _DRIVE}
    numbers["distinct"] = float(torch.unique(reached).numel())
    if reached.dim() >= 2:
        numbers["row_sum_error"] = float((reached.sum(1) - 1).abs().max())
        numbers["column_sum_error"] = float((reached.sum(0) - 1).abs().max())
        numbers["last_sum_error"] = float((reached.sum(-1) - 1).abs().max())
        numbers["width"] = float(reached.shape[1])
        numbers["log_sum_exp_error"] = float(reached.logsumexp(1).abs().max())
    if isinstance(batch.target, Tensor) and batch.target.shape == reached.shape and reached.dim() == 2:
        numbers["rows_apart"] = float(((batch.target.double().sum(1) - 1).abs() > 0.01).double().mean())
    return Result(numbers | _target_range(batch), {"layer": seen.order[-1]})


def equal_units(lab: Lab) -> Result:
    """Count the trainable weight matrices all of whose rows are the same: units made alike stay alike.

    ``tested`` matrices have two rows or more; ``equal`` of them repeat one row that is not zero, to a part in a hundred
    thousand; ``zero`` are zero altogether.
    """
    tested, equal, zero = 0, [], []
    for name, module in lab.model.named_modules():
        if not isinstance(module, (nn.Linear, _ConvNd)) or isinstance(module.weight, nn.UninitializedParameter):
            continue
        if not module.weight.requires_grad:  # a fixed filter may be repeated on purpose
            continue
        real = as_real(module.weight)
        if real is None or not len(real):
            continue
        rows_ = real.float().flatten(1)
        if len(rows_) < 2 or not rows_.shape[1] or not bool(torch.isfinite(rows_).all()):
            continue
        tested += 1
        largest = float(rows_.abs().max())
        if not largest:
            zero.append(name)
        elif float((rows_ - rows_[:1]).abs().max()) <= 1e-5 * largest and _same_bias(module):
            equal.append(name)
    if not tested:
        raise NotApplicableError("no weight matrix with two rows")
    numbers = {"tested": float(tested), "equal": float(len(equal)), "zero": float(len(zero))}
    return Result(numbers, {"equal": ", ".join(equal[:4]), "zero": ", ".join(zero[:4])})


def _same_bias(module: nn.Linear | _ConvNd) -> bool:
    if module.bias is None:
        return True
    bias = as_real(module.bias)
    if bias is None or not len(bias):
        return True
    return float((bias - bias[:1]).abs().max()) <= 1e-5 * float(bias.abs().max())


def _target_range(batch: Batch) -> dict[str, float]:
    target = batch.target
    if not isinstance(target, Tensor) or not target.numel():
        return {}
    values = target.double()
    values = values[torch.isfinite(values)]
    return {"target_low": float(values.min()), "target_high": float(values.max())} if values.numel() else {}
