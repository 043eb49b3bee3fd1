"""Samples that a model makes against real ones: how far apart their features are, and whether they are all alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...document.pictures import Display, GenerationFacts, Picture
from ...subject.data import tensors
from ..layers import main_tensor
from ..steps import NotMeasuredError
from ..tasks import infer_task
from .encode import Budget
from .show import grid, pixels, plain

KEPT = 512  # samples of either kind
TILES = 16
_GRID = 4  # places of the coarse grid on a side
_LEAST = 16
_NEIGHBOURS = 5
_COPY = 1e-3

Extractor = Callable[[Tensor], Any]


def looks_paired(output: Any, target: Any, task: str = "") -> bool:
    """Tell whether output and target are images of one shape: real against generated, or reconstructed, ones.

    Masks have the shape of images too: who gives back masks makes no images. ``task``: where it was stated.
    """
    made = main_tensor(output)
    return (
        made is not None
        and isinstance(target, Tensor)
        and made.dim() in (4, 5)
        and made.shape == target.shape
        and made.shape[1] <= 4
        and min(made.shape[-2:]) >= 4
        and target.is_floating_point()
        and (task or infer_task(made, target)) == "regression"
    )


class Generated:
    """Keeps features, and a few pictures, of the outputs of a pass and of the real samples beside them.

    Real are the targets where they are images of the shape of the outputs, else ``real``: samples, an iterable of
    batches of them, or a mapping of ``real_feats`` and ``fake_feats``, features (N, D) that are at hand already.
    """

    def __init__(self, real: Any = None, extractor: Extractor | None = None, task: str = "") -> None:
        self._real_source, self._extractor, self._task = real, extractor, task
        self._fake: list[Tensor] = []
        self._real: list[Tensor] = []
        self._fake_shown: Tensor | None = None
        self._real_shown: Tensor | None = None
        self._n = 0
        self.paired = False

    def update(self, output: Any, target: Any) -> None:
        """Take one batch of outputs, and its targets where they are images too."""
        paired = self._real_source is None and looks_paired(output, target, self._task)
        if self._n >= KEPT or not (paired or self._real_source is not None) or isinstance(self._real_source, Mapping):
            return
        made = main_tensor(output)
        if made is None or made.dim() < 2 or not len(made):
            return
        room = KEPT - self._n
        made = made.detach()[:room]
        self._fake.append(self._features(made))
        self._n += len(made)
        self._fake_shown = made[:TILES].clone() if self._fake_shown is None else self._fake_shown
        if paired:
            self.paired = True
            self._real.append(self._features(target[:room]))
            self._real_shown = target[:TILES].clone() if self._real_shown is None else self._real_shown

    def _features(self, x: Tensor) -> Tensor:
        if self._extractor is None:
            return coarse(x)
        found = main_tensor(self._extractor(x))
        if found is None or not found.dim() or len(found) != len(x):
            raise NotMeasuredError("the extractor returns no features, one row for each sample", failed=True)
        return found.detach().flatten(1).cpu().to(torch.float64)

    def _read_real(self, device: torch.device) -> None:
        """Read real samples, as many as there are generated ones."""
        source = self._real_source
        batches: Iterable[Any] = [source] if isinstance(source, Tensor) else source
        seen = 0
        for item in batches:
            x = next((t for t in tensors(item) if t.dim() > 1), None)
            if x is None:
                raise NotMeasuredError("the real samples hold no tensor", failed=True)
            x = x.to(device)[: self._n - seen]
            self._real.append(self._features(x))
            self._real_shown = x[:TILES] if self._real_shown is None else self._real_shown
            seen += len(x)
            if seen >= self._n:
                break

    def facts(self, budget: Budget, device: torch.device) -> GenerationFacts | None:
        """Compare both; None where nothing was generated."""
        source = self._real_source
        if isinstance(source, Mapping):
            real, fake = (_given(source, name) for name in ("real_feats", "fake_feats"))
            return compared(real, fake, name="real_feats, fake_feats", paired=False)
        if not self._fake:
            return None
        if source is not None:
            self._read_real(device)
        real, fake = torch.cat(self._real), torch.cat(self._fake)
        named = "" if self._extractor is None else _name_of(self._extractor)
        facts = compared(real, fake, name=named, paired=self.paired)
        return self._with_pictures(facts, budget)

    def _with_pictures(self, facts: GenerationFacts, budget: Budget) -> GenerationFacts:
        from msgspec.structs import replace

        if self._real_shown is None or self._fake_shown is None or self._fake_shown.dim() not in (4, 5):
            return facts
        columns = min(8, len(self._fake_shown))
        pictures = [_shown(x, self._real_shown, columns) for x in (self._real_shown, self._fake_shown)]
        real, fake = pictures
        if real is None or fake is None or not budget.take("generation", real, fake):
            return facts
        return replace(facts, real=real, fake=fake, columns=columns)


def _shown(x: Tensor, real: Tensor, columns: int) -> Picture | None:
    """Draw samples by the span of the real ones, so that both are seen alike."""
    values = plain(real)
    if values is None or x.shape[1:] != real.shape[1:]:
        return None
    known = values[torch.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    n = x.shape[1]
    channels = [] if n in (1, 3) else sorted({round(p * (n - 1) / 2) for p in range(3)})
    kind: Any = "image" if x.dim() == 4 else "volume"
    display = Display(kind=kind, shape=list(x.shape[1:]), scale="span", low=low, high=high, channels=channels)
    return grid(pixels(x, display, 32), columns)


def coarse(x: Tensor) -> Tensor:
    """Average samples (N, ...) over a coarse grid: (N, D) in float64, D at most 64."""
    values = plain(x)
    if values is None:
        raise NotMeasuredError("the generated samples are sparse or nested", failed=False)
    if values.dim() == 5:
        values = values.mean(2)
    if values.dim() == 4:
        height, width = (min(_GRID, n) for n in values.shape[2:])
        values = F.adaptive_avg_pool2d(values, (height, width))
    flat = values.flatten(1)
    return flat[:, :: math.ceil(flat.shape[1] / 64)]


def _given(source: Mapping[str, Any], name: str) -> Tensor:
    found = torch.as_tensor(source.get(name)) if source.get(name) is not None else None
    if found is None or found.dim() != 2:
        raise NotMeasuredError(f"{name} is no table of features (N, D)", failed=True)
    return found.detach().cpu().to(torch.float64)


def _name_of(extractor: Extractor) -> str:
    return type(extractor).__name__ if isinstance(extractor, nn.Module) else getattr(extractor, "__name__", "extractor")


def compared(real: Tensor, fake: Tensor, *, name: str, paired: bool) -> GenerationFacts:
    """Compare features (N, D) of real and generated samples."""
    real, fake = (x[torch.isfinite(x).all(1)][:, : min(real.shape[1], fake.shape[1])] for x in (real, fake))
    if min(len(real), len(fake)) < _LEAST:
        text = f"{len(real)} real and {len(fake)} generated samples with finite features; {_LEAST} of each are needed"
        raise NotMeasuredError(text)
    half = len(real) // 2
    first, second = real[: 2 * half : 2], real[1 : 2 * half : 2]  # in turns: real samples may come class by class
    several = half > _LEAST
    near = _nearest(fake, fake, own=True)[:, 0]
    variance = float(real.var(0).sum())
    deviation = math.sqrt(variance)
    n = min(len(real), len(fake))  # of both alike, as more generated samples cover more
    some, made = real[:n], fake[:n]
    return GenerationFacts(
        features=name,
        n_features=real.shape[1],
        n_real=len(real),
        n_fake=len(fake),
        distance=frechet(real, fake),
        floor=frechet(first, second) if several else None,
        spread=float(fake.var(0).sum()) / variance if variance > 0 else math.inf if float(fake.var(0).sum()) else 1.0,
        coverage=coverage(some, made) if several else None,
        coverage_expected=coverage(first, second) if several else None,
        inside=inside(some, made) if several else None,
        inside_expected=inside(first, second) if several else None,
        apart=_apart(some, made) if several else None,
        copies=int((near <= _COPY * deviation).sum()),
        paired=paired,
    )


def frechet(real: Tensor, fake: Tensor) -> float:
    """Return |mean gap|^2 + trace(A + B - 2 (A B)^(1/2)) of features (N, D); A and B are their covariances.

    The trace of the root is the sum of the roots of the eigenvalues of A^(1/2) B A^(1/2), which is symmetric.
    """
    gap = (real.mean(0) - fake.mean(0)).square().sum()
    a, b = (x.T.cov().reshape(x.shape[1], x.shape[1]) for x in (real, fake))
    values, vectors = torch.linalg.eigh(a)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    inner = torch.linalg.eigvalsh(root @ b @ root).clamp(min=0).sqrt().sum()
    return max(float(gap + a.trace() + b.trace() - 2 * inner), 0.0)


def coverage(real: Tensor, fake: Tensor) -> float:
    """Return the share of real samples with a generated one within the distance of their fifth real neighbour."""
    reach = _nearest(real, real, own=True)[:, min(_NEIGHBOURS, len(real) - 1) - 1]
    return float((_nearest(real, fake, own=False)[:, 0] <= reach).double().mean())


def inside(real: Tensor, fake: Tensor) -> float:
    """Return the share of generated samples in the reach of a real one, which ends at its fifth real neighbour."""
    reach = _nearest(real, real, own=True)[:, min(_NEIGHBOURS, len(real) - 1) - 1]
    return float((_distances(fake, real) <= reach).any(1).double().mean())


def _apart(real: Tensor, fake: Tensor) -> float | None:
    """Return how far a generated sample is from the next one, over the same of real ones; medians of equal numbers."""
    usual = float(_nearest(real, real, own=True)[:, 0].median())
    return float(_nearest(fake, fake, own=True)[:, 0].median()) / usual if usual > 0 else None


def _distances(x: Tensor, among: Tensor) -> Tensor:
    return torch.cdist(x, among, compute_mode="donot_use_mm_for_euclid_dist")


def _nearest(x: Tensor, among: Tensor, *, own: bool) -> Tensor:
    """Return sorted distances to the nearest few: (N, k); ``own``: a sample is not its own neighbour."""
    distances = _distances(x, among)
    if own:
        distances.fill_diagonal_(math.inf)
    k = min(_NEIGHBOURS, len(among) - own)
    return distances.topk(k, largest=False).values
