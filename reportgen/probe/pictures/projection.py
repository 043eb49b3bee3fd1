"""Features before the last layer, in two dimensions: collected during the pass, laid out at its end."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from ...document.pictures import Projection
from ..fingerprints import Hashes
from .chosen import Said

POINTS = 128
_FEATURES = 4096
_LEAST = 8
_SCALE = 999


class LastFeatures:
    """Keeps what the last dense layer or convolution of a pass read, for the samples with the lowest hash."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._names = {id(m): name for name, m in model.named_modules()}
        self._latest: tuple[int, Tensor] | None = None
        self._layer: int | None = None
        self._keys: Hashes = np.zeros(0, np.uint64)
        self._rows: NDArray[np.float32] = np.zeros((0, 0), np.float32)
        self._said: NDArray[np.float64] = np.zeros((0, 2))
        self.seen = 0
        self.trouble = ""

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Watch all dense layers and convolutions during the first batch, and then the one that came last."""
        kinds = (nn.Linear, _ConvNd)
        every = [m for m in self._model.modules() if isinstance(m, kinds) and not isinstance(m, torch.jit.ScriptModule)]

        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            if args and isinstance(args[0], Tensor):
                self._latest = (id(module), args[0])

        self._handles = {id(m): m.register_forward_pre_hook(hook) for m in every}
        try:
            yield
        finally:
            self._latest = None
            for handle in self._handles.values():
                handle.remove()

    def update(self, said: Said | None, keys: Hashes | None) -> None:
        """Take the features of the batch that just passed."""
        latest, self._latest = self._latest, None
        if self.trouble or said is None or keys is None or latest is None or said.task not in ("classes", "numbers"):
            return
        module, x = latest
        if self._layer is None:
            self._layer = module
            for other in [i for i in self._handles if i != module]:
                self._handles.pop(other).remove()
        if module != self._layer or x.dim() < 2 or len(x) != len(keys) or not x.is_floating_point():
            self.trouble = "the input of the last layer does not count samples"
            return
        self.seen += len(keys)
        fresh = keys < self._keys.max() if len(self._keys) >= POINTS else np.ones(len(keys), np.bool_)
        if not fresh.any():
            return
        self._add(x.detach(), keys, said, np.flatnonzero(fresh))

    def _add(self, x: Tensor, keys: Hashes, said: Said, which: NDArray[np.intp]) -> None:
        some = x[torch.from_numpy(which).to(x.device)].float()
        some = some.flatten(2).mean(2) if some.dim() >= 4 else some.mean(1) if some.dim() == 3 else some
        some = some[:, :: max(1, math.ceil(some.shape[1] / _FEATURES))]  # a layer may read nothing
        if len(self._keys) and some.shape[1] != self._rows.shape[1]:
            self.trouble = "the number of features changes from batch to batch"
            return
        rows = some.cpu().numpy()
        told = np.array([said.target, said.prediction]).T[which]
        if len(self._keys):
            rows, told = np.concatenate([self._rows, rows]), np.concatenate([self._said, told])
        joined = np.concatenate([self._keys, keys[which]])
        order = np.argsort(joined, kind="stable")[:POINTS]
        self._keys, self._rows, self._said = joined[order], rows[order], told[order]

    def projection(self, method: Literal["pca", "tsne", "umap"], task: str, seed: int) -> Projection | None:
        """Lay the samples out; None where there are too few of them, or too few features."""
        whole = np.isfinite(self._rows).all(1) & np.isfinite(self._said[:, 0]) if len(self._rows) else np.zeros(0, bool)
        rows, told = self._rows[whole].astype(np.float64), self._said[whole]
        if self.trouble or len(rows) < _LEAST or rows.shape[1] < 2 or not np.ptp(rows, axis=0).any():
            return None
        explained: list[float] = []
        if method == "pca":
            places, explained = principal(rows)
        else:
            places = _by_tsne(rows, seed) if method == "tsne" else _by_umap(rows, seed)
        across = _whole(places)
        numbers = task == "numbers"
        return Projection(
            method=method,
            layer=self._names.get(self._layer or 0, ""),
            n_features=rows.shape[1],
            seen=self.seen,
            explained=[round(v, 4) for v in explained],
            x=across[:, 0].tolist(),
            y=across[:, 1].tolist(),
            targets=_fifths(told[:, 0]).tolist() if numbers else told[:, 0].astype(int).tolist(),
            predictions=[] if numbers else np.nan_to_num(told[:, 1], nan=-1).astype(int).tolist(),
            numbers=numbers,
        )


def principal(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], list[float]]:
    """Return (n, 2) coordinates on the first two principal axes, and their shares of the variance.

    The sign of an axis is free: here its largest coordinate is positive.
    """
    centred = rows - rows.mean(0)
    top = np.abs(centred).max()
    left, values, _ = np.linalg.svd(centred / top, full_matrices=False)
    places = left[:, :2] * values[:2]
    signs = np.sign(places[np.abs(places).argmax(0), range(places.shape[1])])
    energy = values**2
    return places * np.where(signs == 0, 1, signs), (energy[:2] / energy.sum()).tolist()


def _by_tsne(rows: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(rows) - 1) / 3)
    made = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(rows)
    return np.asarray(made, dtype=np.float64)


def _by_umap(rows: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    from importlib import import_module

    try:
        umap: Any = import_module("umap")
    except ImportError:
        raise ImportError('UMAP is not installed: pip install umap-learn, or choose projection "pca"') from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a fixed seed costs it its threads
        made = umap.UMAP(n_neighbors=min(15, len(rows) - 1), random_state=seed).fit_transform(rows)
    return np.asarray(made, dtype=np.float64)


def _whole(places: NDArray[np.float64]) -> NDArray[np.int64]:
    """Scale both axes alike to whole numbers, the wider one from 0 to 999, with y upwards."""
    low = places.min(0)
    reach = float((places.max(0) - low).max()) or 1.0
    out: NDArray[np.int64] = np.rint((places - low) / reach * _SCALE).astype(np.int64)
    return out


def _fifths(values: NDArray[np.float64]) -> NDArray[np.int64]:
    edges = np.quantile(values, [0.2, 0.4, 0.6, 0.8])
    found: NDArray[np.int64] = np.searchsorted(edges, values, side="right").astype(np.int64)
    return found
