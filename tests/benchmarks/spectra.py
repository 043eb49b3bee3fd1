"""Spectra of all layers beside WeightWatcher, where it is installed, and beside plain Gram matrices; one thread.

python -m tests.benchmarks.spectra [resnet18 resnet50 vit_b_16]
"""

from __future__ import annotations

import logging
import sys

import numpy as np
import torch
from torch import Tensor, nn

from reportgen.probe.spectra import Method, spectrum
from reportgen.subject.model import load_model

from .pairs import ratio, show


def matrices(model: nn.Module) -> list[Tensor]:
    """Return the weights of linear and convolutional layers."""
    return [p.detach().flatten(1) for name, p in model.named_parameters() if p.dim() >= 2 and "weight" in name]


def gram(matrix: Tensor) -> None:
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    torch.linalg.eigvalsh((wide @ wide.T).double())


def of(weights: list[Tensor], method: Method) -> None:
    for w in weights:
        spectrum(w, method)


def compare(name: str) -> None:
    model = load_model(f"torchvision:{name}")
    weights = matrices(model)

    def plain() -> None:
        for w in weights:
            gram(w)

    show(f"{name}, {len(weights)} matrices: exact / plain Gram", ratio(lambda: of(weights, "exact"), plain, pairs=3))
    show(f"{name}: fast / plain Gram", ratio(lambda: of(weights, "fast"), plain, pairs=3))
    errors = []
    for w in weights:
        s = np.linalg.svd(w.double().numpy(), compute_uv=False)
        rank = (s**2).sum() / s[0] ** 2
        found = [f for f in (spectrum(w, "exact"), spectrum(w, "fast")) if f is not None]
        if len(found) < 2:  # zero throughout, or too small
            continue
        errors.append([abs(e / t - 1) for f in found for e, t in ((f.norm, s[0]), (f.stable_rank, rank))])
    worst = np.max(errors, 0)
    print(
        f"  worst errors of norm, stable rank: exact {worst[0]:.0e} {worst[1]:.0e}, fast {worst[2]:.0e} {worst[3]:.0e}"
    )
    beside_weightwatcher(name, model)


def beside_weightwatcher(name: str, model: nn.Module) -> None:
    """Compare over the layers that it knows: those of an attention module are not among them."""
    try:
        import weightwatcher
    except ImportError:
        return
    logging.disable(logging.CRITICAL)
    watcher = weightwatcher.WeightWatcher(model=model)
    names = set(watcher.describe().longname)
    parameters = dict(model.named_parameters())
    theirs = [parameters[f"{n}.weight"].detach().flatten(1) for n in names]
    exact = ratio(lambda: watcher.analyze(plot=False), lambda: of(theirs, "exact"), pairs=2)
    show(f"{name}, its {len(theirs)} layers: WeightWatcher / exact", exact)
    fast = ratio(lambda: watcher.analyze(plot=False), lambda: of(theirs, "fast"), pairs=2)
    show(f"{name}, its {len(theirs)} layers: WeightWatcher / fast", fast)


def main() -> None:
    torch.set_num_threads(1)
    for name in sys.argv[1:] or ("resnet18", "resnet50", "vit_b_16"):
        compare(name)


if __name__ == "__main__":
    main()
