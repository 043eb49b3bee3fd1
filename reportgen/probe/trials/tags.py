"""Whether the labels of a sequence belong to the tokens of another place."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ...subject.data import tensors
from ..sequence import LEFT_OUT
from .confidence import class_scores
from .lab import Lab, NotApplicableError, Result, output_of
from .sample import WIDE, first_samples, rows

REACH = 3  # places to either side
_LEAST = 400  # places that are asked
_MOST_TOKENS = 1 << 16


def tags_slipped(lab: Lab) -> Result:
    """Look labels up by the token of their own place, and by those up to three places before and behind it.

    Tokens and labels are whole numbers (N, T), at most 1024 samples of the data given: of one half of them each token
    gets its commonest label, and that is asked of the other half (of a token that the first half has not, the commonest
    of all). ``own``: share of labels that are right so by their own token; ``moved``: the best of the others, by the
    token ``shift`` places further on (back, where it is negative); ``commonest``: share of the commonest label;
    ``model``: accuracy of the model on the same labels; ``asked``: how many labels were.
    """
    batch = first_samples(lab.wide_given or lab.given, WIDE)
    target = None if batch is None else batch.target
    if batch is None or not isinstance(target, Tensor) or target.dim() != 2 or target.is_floating_point():
        raise NotApplicableError("the targets are no tokens, one for each place")
    given = [t for t in tensors((batch.args, batch.kwargs)) if t.shape == target.shape and not t.is_floating_point()]
    if not given or batch.n_samples < 4 or target.shape[1] < 2 * REACH + 2:
        raise NotApplicableError("no tokens stand beside the labels, place by place")
    tokens, labels = given[0].long().cpu(), target.long().cpu()
    if int(tokens.min()) < 0 or int(tokens.max()) >= _MOST_TOKENS or int(labels.max()) >= _MOST_TOKENS:
        raise NotApplicableError("no tokens stand beside the labels, place by place")
    half = batch.n_samples // 2
    inner = slice(REACH, target.shape[1] - REACH)  # places that have neighbours on both sides
    learned, asked = labels[:half, inner], labels[half:, inner]
    if int((asked >= 0).sum()) < _LEAST or not bool((learned >= 0).any()):
        raise NotApplicableError("too few labels to look them up by tokens")
    right = {}
    for shift in range(-REACH, REACH + 1):
        moved = tokens.roll(-shift, 1)[:, inner]
        right[shift] = _looked_up(moved[:half], learned, moved[half:], asked)
    best = max((shift for shift in right if shift), key=lambda shift: right[shift])
    second = rows(batch, torch.arange(half, batch.n_samples))
    with torch.no_grad():
        output = output_of(lab.model.eval(), second)
    # the model is asked for the same labels: those of the first or the last place may be one and the same
    same = torch.full_like(target[half:], LEFT_OUT)
    same[:, inner] = target[half:, inner]
    scores = class_scores(output, replace(second, target=same.where(same >= 0, LEFT_OUT)))
    if scores is None:
        raise NotApplicableError("the outputs are no class scores")
    known = asked[asked >= 0]
    return Result(
        {
            "own": right[0],
            "moved": right[best],
            "shift": float(best),
            "commonest": float(torch.bincount(known).max() / len(known)),
            "model": float((scores[0].argmax(1) == scores[1]).float().mean()),
            "asked": float(len(known)),
        }
    )


def _looked_up(tokens: Tensor, labels: Tensor, asked: Tensor, truth: Tensor) -> float:
    """Return the share of labels that are the commonest one of their token."""
    kept, told = labels >= 0, truth >= 0
    n_labels = int(max(labels.max(), truth.max())) + 1
    n_tokens = int(max(tokens.max(), asked.max())) + 1
    pairs = tokens[kept] * n_labels + labels[kept]
    places, counts = torch.unique(pairs, return_counts=True)
    order = counts.argsort(stable=True)  # of each token the commonest comes last, and stays
    answer = torch.full((n_tokens,), int(torch.bincount(labels[kept]).argmax()))
    for place in places[order].tolist():
        answer[place // n_labels] = place % n_labels
    return float((answer[asked[told]] == truth[told]).float().mean())
