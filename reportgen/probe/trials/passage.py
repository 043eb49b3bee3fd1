"""How many numbers of a sample reach its outputs?"""

from __future__ import annotations

import torch
from torch import Tensor

from ...subject.data import tensors
from ..layers import main_tensor
from ..seeding import seed_generators
from .lab import Lab, NotApplicableError, Result, a_row_each, as_answer, output_of, taken
from .sample import changed

_SAMPLES = 16
_SUMS = 4
_ROUNDING = 1e-4
_LEAST_SAMPLES = 4
_LEAST_OUTPUTS = 3


def numbers_passed(lab: Lab) -> Result:
    """Derive random sums of a sample's outputs by its input: behind a layer of one unit all of them point one way.

    What passes through one number has a derivative of rank one at every sample, whatever follows (chain rule).
    ``second``: the second singular value of four such derivatives over the first, the largest of all samples;
    ``width``: numbers in a sample's output. Weights of the sums add up to zero: outputs that differ by constants only,
    as those of ordinal regression, are meant to be one number. One input of numbers with fractions, and three outputs
    or more: of two class scores one may well be the other with a minus.
    """
    batch = lab.samples(_SAMPLES, least=_LEAST_SAMPLES)
    inputs = list(tensors((batch.args, batch.kwargs)))
    if len(inputs) != 1 or not inputs[0].is_floating_point() or inputs[0][0].numel() < _LEAST_OUTPUTS:
        raise NotApplicableError("the input is no single tensor of numbers")
    leaf = inputs[0].detach().clone().requires_grad_(True)
    seed_generators(lab.seed)
    with torch.enable_grad():
        # a copy of the leaf may be written into
        told = _rows(output_of(lab.model, changed(batch, lambda _: leaf.clone())), batch.n_samples)
        if told.shape[1] < _LEAST_OUTPUTS:
            raise NotApplicableError(f"fewer than {_LEAST_OUTPUTS} outputs a sample")
        generator = torch.Generator().manual_seed(lab.seed)
        level = _pull(told, leaf, torch.ones(told.shape[1]))
        pulls = [_pull(told, leaf, w - w.mean()) for w in torch.randn(_SUMS, told.shape[1], generator=generator)]
    derivatives = torch.stack(pulls, 1)
    if not bool(torch.isfinite(derivatives).all()):
        raise NotApplicableError("the outputs have no gradient by the input")
    sizes = torch.linalg.svdvals(derivatives)  # (samples, sums)
    # nothing is told where all units rest, and where all outputs go together rounding alone is left of the sums
    sizes = sizes[sizes[:, 0] > _ROUNDING * level.norm(dim=1)]
    if len(sizes) < _LEAST_SAMPLES:
        raise NotApplicableError("the outputs have no gradient by the input")
    return Result({"second": float((sizes[:, 1] / sizes[:, 0]).max()), "width": float(told.shape[1])})


def _rows(output: object, n: int) -> Tensor:
    tensor = main_tensor(output)
    if tensor is None or not tensor.requires_grad:
        raise NotApplicableError("the outputs have no gradient by the input")
    as_answer(output)
    return a_row_each(tensor, n)


def _pull(told: Tensor, leaf: Tensor, weights: Tensor) -> Tensor:
    """Return the derivative of a weighted sum of the outputs of each sample, (samples, inputs), in float64."""
    total = (told * weights.to(told)).sum()
    (pull,) = taken(lambda: torch.autograd.grad(total, leaf, retain_graph=True), "the outputs cannot be derived")
    return pull.reshape(len(leaf), -1).double()
