"""Which samples of a pass are shown: some by their hash, the same in every run, and those with the highest loss."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...document.pictures import NO_CLASS
from ...subject.data import Batch, tensors
from ..fingerprints import Hashes
from ..tasks import are_class_scores, infer_task, prepared
from ..trials.sample import is_by_sample, rows
from .show import SIDE

REFERENCES = 10
WORST = 4
BYTES = 1 << 26  # of all samples kept


@dataclass(order=True)
class Held:
    """One sample that may be shown. Ordered by its rank alone, the highest first to go."""

    rank: float
    place: int
    key: str = field(compare=False)
    batch: Batch = field(compare=False)
    """Of this sample alone."""
    target: float | None = field(compare=False, default=None)
    prediction: float | None = field(compare=False, default=None)
    confidence: float | None = field(compare=False, default=None)
    loss: float | None = field(compare=False, default=None)
    truth: Tensor | None = field(compare=False, default=None)
    answer: Tensor | None = field(compare=False, default=None)


@dataclass(frozen=True)
class Said:
    """What the model said of each sample of a batch, as numbers; NaN where there is none."""

    task: str
    target: list[float]
    prediction: list[float]
    confidence: list[float]
    loss: list[float]
    n_classes: int = 0
    maps: tuple[Tensor, Tensor] | None = None
    """Where there is a class for each place: the true ones and those named, thinned, (N, h, w) of uint8."""


class Chosen:
    """Keeps a few samples of a pass.

    References: of each class the samples with the lowest hash, at most ``REFERENCES`` in all, so neither the order of
    reading nor the model decides. Worst: those with the highest cross-entropy or squared error.
    """

    def __init__(self) -> None:
        self._groups: dict[int, list[Held]] = {}
        self._worst: list[Held] = []
        self._room = 0
        self.seen = 0
        self.task = ""
        self.n_classes = 0
        self.trouble = ""

    def update(self, said: Said | None, keys: Hashes, batch: Batch) -> None:
        """Look at one batch."""
        if self.trouble:
            return
        n = batch.n_samples
        if not is_by_sample(batch, with_target=False):
            self.trouble = "dimension 0 of the inputs does not count samples"
            return
        size = sum(t.numel() * t.element_size() for t in tensors((batch.args, batch.kwargs, batch.target))) // max(n, 1)
        self._room = max(1, min(REFERENCES + WORST, BYTES // max(size, 1)))
        if said is not None:
            self.task, self.n_classes = said.task, said.n_classes
        single = batch if is_by_sample(batch) else replace(batch, target=None)
        self._offer_references(keys, single, said)
        self._offer_worst(keys, single, said)
        self.seen += n

    def _offer_references(self, keys: Hashes, batch: Batch, said: Said | None) -> None:
        """Offer each class its samples with the lowest hash; a batch of thousands costs a few sorts."""
        ranks = (keys >> np.uint64(11)).astype(np.float64) / (1 << 53)
        room = min(REFERENCES, self._room)
        groups = np.full(len(keys), -1.0)
        if said is not None and said.task == "classes":
            groups = np.array(said.target)
            room = math.ceil(room / max(self.n_classes, 1))
        for group in np.unique(groups[np.isfinite(groups) & (groups < REFERENCES)]).tolist():
            held = self._groups.setdefault(int(group), [])
            allowed = groups == group
            if len(held) >= room:
                allowed &= ranks < -held[0].rank
            places = np.flatnonzero(allowed)
            for i in places[np.argsort(ranks[places], kind="stable")[:room]].tolist():
                _push(held, room, self._hold(-ranks[i], i, int(keys[i]), batch, said))

    def _offer_worst(self, keys: Hashes, batch: Batch, said: Said | None) -> None:
        room = min(WORST, max(0, self._room - REFERENCES // 2))
        if said is None or not room:
            return
        losses = np.array(said.loss)
        # an equal loss later on is no reason to change
        allowed = np.isfinite(losses) & (losses > (self._worst[0].rank if len(self._worst) >= room else -math.inf))
        places = np.flatnonzero(allowed)
        for i in places[np.argsort(-losses[places], kind="stable")[:room]].tolist():
            _push(self._worst, room, self._hold(float(losses[i]), i, int(keys[i]), batch, said))

    def _hold(self, rank: float, i: int, key: int, batch: Batch, said: Said | None) -> Held:
        # place in the order of reading breaks ties: the earlier one stays
        place = self.seen + i
        held = Held(rank, -place, f"{key:016x}", rows(batch, torch.tensor([i])))
        if said is not None:
            for name in ("target", "prediction", "confidence", "loss"):
                value = getattr(said, name)[i]
                setattr(held, name, float(f"{value:.6g}") if math.isfinite(value) else None)
            if said.maps is not None:
                held.truth, held.answer = (kinds[i].cpu().clone() for kinds in said.maps)
        return held

    def references(self) -> list[Held]:
        """Return the reference samples, class by class, in rounds until there are enough."""
        sorted_groups = [sorted(held, reverse=True) for _, held in sorted(self._groups.items())]
        most = max(map(len, sorted_groups), default=0)
        rounds = [held[i] for i in range(most) for held in sorted_groups if i < len(held)]
        return rounds[: min(REFERENCES, self._room)]

    def worst(self) -> list[Held]:
        """Return the samples with the highest loss, the highest first."""
        return sorted(self._worst, reverse=True)


def _push(heap: list[Held], room: int, held: Held) -> None:
    heapq.heappush(heap, held)
    while len(heap) > room:
        heapq.heappop(heap)


def numbered(first: int, n: int) -> Hashes:
    """Return places in the order of reading, for samples that no hash can be made of."""
    return np.arange(first, first + n, dtype=np.uint64) << np.uint64(11)


def said_of(output: Tensor | None, target: Any) -> Said | None:
    """Return targets, predictions and losses by sample; None where outputs and targets are of no task known here."""
    if output is None or not output.dim() or output.is_complex():
        return None
    output = output.detach()
    if not isinstance(target, Tensor) or not target.dim() or len(target) != len(output):
        return None
    if are_class_scores(output, target):
        return _of_classes(output, target)
    if output.dim() >= 4 and infer_task(output[:1], target[:1]) == "segmentation":
        return _of_places(output, target)
    if output.numel() != len(output) or target.numel() != len(target):
        return _of_several(output, target) if output.shape == target.shape else None
    task = infer_task(output, target)
    if task == "binary":
        return _of_binary(output, target)
    return _of_numbers(output, target) if task == "regression" else None


def _of_classes(output: Tensor, target: Tensor) -> Said:
    scores, target = output.cpu().double(), target.cpu()
    legal = (target >= 0) & (target < scores.shape[1])
    safe = target.long().clamp(0, scores.shape[1] - 1)
    loss = F.cross_entropy(scores, safe, reduction="none").masked_fill(~legal, math.nan)
    confidence, prediction = scores.softmax(1).max(1)
    prediction = prediction.double().masked_fill(~confidence.isfinite(), math.nan)
    wanted = target.double().masked_fill(~legal, math.nan)
    return _said("classes", scores.shape[1], wanted, prediction, confidence, loss)


def _of_binary(output: Tensor, target: Tensor) -> Said:
    values, wanted = (t.cpu().double().reshape(-1) for t in (output, target))
    if bool(((values >= 0) & (values <= 1)).all()):  # probabilities; logits of a whole batch practically never are
        chance = values
        loss = -torch.where(wanted > 0, values, 1 - values).log().clamp(min=-100)
    else:
        chance = values.sigmoid()
        loss = F.binary_cross_entropy_with_logits(values, wanted, reduction="none")
    prediction = (chance > 0.5).double().masked_fill(~chance.isfinite(), math.nan)
    return _said("classes", 2, wanted, prediction, torch.maximum(chance, 1 - chance), loss)


def _of_places(output: Tensor, target: Tensor) -> Said | None:
    """Compare classes of places on a grid as fine as a picture is; of volumes nothing is said."""
    found = prepared("segmentation", output, target)
    if isinstance(found, str) or found[0].dim() != 4:
        return None
    scores, truth = found[0], found[1].to(output.device)
    longest = max(truth.shape[1:])
    for dim in (1, 2):  # places in the middle of what the pixels of the picture are
        n = truth.shape[dim]
        few = n if longest <= SIDE else max(1, round(n * SIDE / longest))
        places = ((torch.arange(few, device=output.device) + 0.5) * n / few).long()
        truth, scores = truth.index_select(dim, places), scores.index_select(dim + 1, places)
    scores = scores.float()
    inside = bool(((scores >= 0) & (scores <= 1)).all())
    if scores.shape[1] == 1:
        chance = scores if inside else scores.sigmoid()
        logs = torch.cat([1 - chance, chance], 1).clamp(min=1e-12).log()
    elif inside and torch.allclose(scores.sum(1), torch.ones_like(scores[:, 0]), atol=1e-3):
        logs = scores.clamp(min=1e-12).log()
    else:
        logs = scores.log_softmax(1)
    n_classes = logs.shape[1]
    legal = (truth >= 0) & (truth < min(n_classes, NO_CLASS)) & logs.isfinite().all(1)
    wanted = truth.long().where(legal, 0)
    loss = -logs.gather(1, wanted[:, None])[:, 0].where(legal, 0.0).sum((1, 2)) / legal.sum((1, 2))
    kinds = wanted.where(legal, NO_CLASS), logs.argmax(1).clamp(max=NO_CLASS - 1)
    nothing = torch.full_like(loss, math.nan)
    said = _said("places", n_classes, nothing, nothing, nothing, loss)
    return replace(said, maps=(kinds[0].to(torch.uint8), kinds[1].to(torch.uint8)))


def _of_several(output: Tensor, target: Tensor) -> Said | None:
    """Compare several answers a sample: the mean cross-entropy of labels, or the mean squared error of numbers."""
    some = slice(1) if output.dim() > 2 else slice(None)  # of images one says what they are
    task = infer_task(output[some], target[some])
    values = output.flatten(1)
    values = values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
    wanted = target.flatten(1).to(values.device, values.dtype)
    if task == "multilabel":
        inside = bool(((values >= 0) & (values <= 1)).all())
        chance = (values if inside else values.sigmoid()).clamp(1e-7, 1 - 1e-7)
        legal = (wanted == 0) | (wanted == 1)
        each = -torch.where(wanted == 1, chance, 1 - chance).log()
        loss = each.where(legal, 0.0).sum(1) / legal.sum(1)
    elif task == "regression":
        loss = (values - wanted).square().mean(1)
    else:
        return None
    nothing = torch.full_like(loss, math.nan)
    return _said("", 0, nothing, nothing, nothing, loss)


def _of_numbers(output: Tensor, target: Tensor) -> Said:
    values, wanted = (t.cpu().double().reshape(-1) for t in (output, target))
    return _said("numbers", 0, wanted, values, torch.full_like(values, math.nan), (values - wanted).square())


def _said(task: str, n_classes: int, *columns: Tensor) -> Said:
    """Fetch all of them at once."""
    target, prediction, confidence, loss = torch.stack(list(columns)).cpu().tolist()
    return Said(task, target, prediction, confidence, loss, n_classes)
