"""Training targets that fit their inputs far worse than those of the data given do: are some of them wrong?"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...subject.data import Batch
from ..layers import main_tensor
from .lab import Lab, NotApplicableError, Result, output_of
from .sample import WIDE, first_samples, is_by_sample

LEAST = 240
_VALUES = 20  # different targets: of fewer they are classes by another name
_OUTER = 0.02
_CAPPED = 0.01
_WORKS = 0.3
_COLUMNS = 256
_FEW = 24
_FAR = 4.0
_SHRINK = 0.1
_PARTS = 5


def misfits(lab: Lab) -> Result:
    """Hold errors of the model, in eval mode, on training samples against those on the data given.

    Targets that are numbers, one a sample; at most 1024 samples of a split. ``beyond``: share of the training errors
    above that which one in fifty is above on the data given (``beyond_given``, as there are ties), in a unit that is
    the median error of either split where that of the training data is the larger: where errors are wider as a whole,
    or scaled, the share stays. ``size``: median error among those, over the deviation of the targets given.
    ``wider``: the ratio of the medians. ``told``: correlation of being among those with what inputs tell of it, beyond
    what wrong rows drawn at random would (see ``told_by_inputs``). ``lower``: by how much the mean squared error is
    larger on the training data, over the variance of the targets given, with standard error ``error``; errors above the
    largest hundredth of both splits count as that. ``r2``, ``r2_training``: of the model.
    """
    if not lab.wide_training or not lab.wide_given:
        raise NotApplicableError("no training data were given")
    ours, theirs = (first_samples(part, WIDE) for part in (lab.wide_training, lab.wide_given))
    return Result(held_against(lab.model, ours, theirs))


def held_against(model: nn.Module, ours: Batch | None, theirs: Batch | None) -> dict[str, float]:
    """Return what ``misfits`` tells, of any two sets of samples."""
    (y, told), (y_given, told_given) = (_answered(model, batch) for batch in (ours, theirs))
    assert ours is not None
    error, error_given = (told - y).abs(), (told_given - y_given).abs()
    spread = float(y_given.std())
    r2 = 1 - float(error_given.square().mean()) / spread**2 if spread else 0.0
    if r2 < _WORKS or not float(error_given.median()):
        raise NotApplicableError("the model tells too little of the targets, or all of them")
    wider = float(error.median() / error_given.median())
    line = float(error_given.quantile(1 - _OUTER)) * max(wider, 1.0)
    off = error > line
    most = float(torch.cat([error, error_given]).quantile(1 - _CAPPED))
    squares, squares_given = (e.clamp_max(most).square() / spread**2 for e in (error, error_given))
    return {
        "beyond": float(off.double().mean()),
        "beyond_given": float((error_given > line / max(wider, 1.0)).double().mean()),
        "size": float(error[off].median()) / spread if bool(off.any()) else 0.0,
        "wider": wider,
        "lower": float(squares.mean() - squares_given.mean()),
        "error": float((squares.var() / len(squares) + squares_given.var() / len(squares_given)).sqrt()),
        "told": told_by_inputs(ours, off, y, told, line),
        "r2": max(r2, -1.0),
        "r2_training": max(1 - float(error.square().mean()) / max(float(y.var()), 1e-300), -1.0),
        "asked_training": float(len(y)),
        "asked_given": float(len(y_given)),
    }


def _answered(model: nn.Module, batch: Batch | None) -> tuple[Tensor, Tensor]:
    """Return targets and outputs (N,) in float64."""
    if batch is None or not is_by_sample(batch) or batch.n_samples < LEAST:
        raise NotApplicableError(f"fewer than {LEAST} samples of one shape with targets")
    target = batch.target
    if not isinstance(target, Tensor) or not target.is_floating_point() or target.numel() != batch.n_samples:
        raise NotApplicableError("the targets are no numbers, one a sample")
    model.eval()
    with torch.no_grad():
        output = main_tensor(output_of(model, batch))
    if output is None or output.is_complex() or output.numel() != target.numel():
        raise NotApplicableError("the targets are no numbers, one a sample")
    y, told = (t.detach().double().flatten().cpu() for t in (target, output))
    if len(torch.unique(y)) < _VALUES or not bool(torch.isfinite(y).all() and torch.isfinite(told).all()):
        raise NotApplicableError("the targets are no numbers, one a sample")
    return y, told


def told_by_inputs(batch: Batch, off: Tensor, y: Tensor, told: Tensor, line: float) -> float:
    """Return how well inputs tell which samples are off, as a correlation on samples that were not fitted.

    A ridge regression on columns and their squares (of few columns all products). Of targets of other rows, drawn at
    random, those show that lie further than ``line`` from the answer, and with extreme answers more do so: that share
    is taken off first. What is left is tied to inputs where some of them are harder than others, and it is not where
    targets are wrong whatever their inputs are.
    """
    share = ((told[:, None] - y[None, :]).abs() > line).double().mean(1)
    left = off.double() - share * (off.double().mean() / share.mean().clamp_min(1e-12))
    x = _described(batch)
    if x is None or not float(left.std()):
        return 0.0
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    answers = torch.zeros_like(left)
    for part in order.chunk(_PARTS):
        rest = torch.ones(len(x), dtype=torch.bool)
        rest[part] = False
        a, b = x[rest], left[rest]
        centre, level = a.mean(0), b.mean()
        gram = (a - centre) @ (a - centre).T
        strength = _SHRINK * gram.diagonal().mean().clamp_min(1e-12)
        weights = torch.linalg.solve(gram + strength * torch.eye(len(a), dtype=a.dtype), b - level)
        answers[part] = (x[part] - centre) @ ((a - centre).T @ weights)
    if not float(answers.std()):
        return 0.0
    return float(torch.corrcoef(torch.stack([answers, left]))[0, 1])


def _described(batch: Batch) -> Tensor | None:
    """Return the first input as columns and their squares or products (N, F), float64; None where it has none."""
    x = batch.first
    if x is None or x.dim() < 2 or x.is_complex():
        return None
    rows = x.detach().flatten(1).double().cpu()
    rows = rows[:, :: -(-rows.shape[1] // _COLUMNS)]
    rows = rows[:, rows.std(0) > 0]
    if not rows.shape[1] or not bool(torch.isfinite(rows).all()):
        return None
    rows = ((rows - rows.mean(0)) / rows.std(0)).clamp(-_FAR, _FAR)
    if rows.shape[1] > _FEW:
        return torch.cat([rows, rows.square()], 1)
    row, column = torch.triu_indices(rows.shape[1], rows.shape[1])
    return torch.cat([rows, rows[:, row] * rows[:, column]], 1)
