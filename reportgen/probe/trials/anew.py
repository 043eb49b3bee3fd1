"""Learning anew from half of either split: does what holds in one half hold in the other, and in the other split?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

import torch
from torch import Tensor, nn

from ...subject.data import Batch
from ..fingerprints import hashes
from ..layers import AFFINE, main_tensor
from ..mapped import matched
from ..seeding import seed_generators
from ..turns import ways_of
from .confidence import class_scores
from .drawn import draw_trainable
from .lab import Lab, NotApplicableError, Outfit, OutOfTimeError, Result, copied, enough, output_of
from .learning import adam, answered, backward, in_training, refuse_sparse
from .misfits import held_against
from .sample import changed, first_samples, is_by_sample, rows
from .scores import constant, score

_MOST = 1024  # samples of a split
_LEAST = 80
_PAIR = 20  # samples of two classes
_BATCH = 32
_STEPS = 300
_TRIED = 20  # steps that tell how long all of them take
_RATE = 3e-3
_AHEAD = 0.1
_BY_HEART = 0.15
_BEYOND = 1e9
_DEEP = 6  # affine layers
_WORKS = 0.5  # of the way from a constant answer to a perfect one
_WORKS_WELL = 0.9


def learned_anew(lab: Lab) -> Result:
    """Train two fresh copies with Adam, one on half of the training data, one on half of the data given; score both.

    At most 300 steps of 32 samples from weights drawn anew (frozen ones stay). ``training_training``: learned from
    training data, scored on the other half of them; ``training_given``: the same copy on the other split; and so on.
    Scores are accuracy, beside ``commonest_*``, the share of the commonest class; or R²; or, of maps, the share of the
    places of a class that are found, the mean over the classes of a sample and over samples, whose largest deviation
    between samples is ``spread``. Samples that occur in the half
    that was learned from are not scored. ``as_is``: the model as it was handed over, on the data given; ``onward``:
    what its own weights come to by the same training, where the fresh copy is ahead; ``scaled``: what comes of weights
    scaled layer by layer to outputs of deviation 1 (Mishkin and Matas 2016), where six affine layers or more learned
    little from weights drawn as PyTorch draws them, and ``growth`` what these leave at the last layer of the deviation
    at the first. ``pair_*``: where training samples are augmented, scores on the two classes that the model confounds
    most on the half of the data given that is not scored; ``pair mirrored`` and so on: of the copy that learned from
    the data given, which are not augmented, on these samples mirrored, turned or negated. Made only where the model
    as it is comes less than half of the way from a constant answer to a perfect one on the data given (nine tenths
    where training samples are augmented). ``own_*``: of targets with a value at every place, by how many standard
    deviations what a copy, or the model, says of a sample fits the map of that sample better than those of others (see
    ``probe.mapped``).
    """
    if not lab.wide_training or not lab.wide_given:
        raise NotApplicableError("no training data were given")
    splits = {
        name: _halves(part, lab.seed) for name, part in (("training", lab.wide_training), ("given", lab.wide_given))
    }
    numbers, kind = _constants(lab, splits)
    whole, base = _entered(numbers, score(lab.model, splits["given"][1])), numbers["commonest_given"]
    if base >= 1 or whole - base > (_WORKS_WELL if lab.augmented else _WORKS) * (1 - base):
        raise NotApplicableError("the model works on the data given, or there is nothing to tell apart")
    numbers["as_is"] = whole
    numbers |= _belonging("as_is", lab.model, splits["given"][1])
    pairs = _confounded(lab, splits) if lab.augmented and kind == "classes" else {}
    for other, pair in pairs.items():
        numbers[f"pair_asked_{other}"] = float(pair.n_samples)
    if pairs:
        numbers["pair_as_is"] = score(lab.model, pairs["given"])[0]
    for name, (learned, _) in splits.items():
        work = copied(lab.outfit)
        draw_trainable(work.model, lab.seed)
        learn(lab, work, learned)
        numbers[f"learned_{name}"] = float(learned.n_samples)
        for other, (_, asked) in splits.items():
            numbers[f"{name}_{other}"] = _entered(numbers, score(work.model, asked))
            numbers |= _belonging(f"{name}_{other}", work.model, asked)
            if pairs:
                numbers[f"pair_{name}_{other}"] = score(work.model, pairs[other])[0]
    for turn, pair in _turned(pairs.get("given")).items():
        numbers[f"pair {turn}"] = score(work.model, pair)[0]  # of the copy that learned from the data given
    with suppress(OutOfTimeError, NotApplicableError):
        _say_what_helps(lab, splits["training"][0], splits["given"][1], numbers)
    return Result(numbers, {"kind": kind})


def _constants(lab: Lab, splits: dict[str, tuple[Batch, Batch]]) -> tuple[dict[str, float], str]:
    """Return what a constant answer scores on what is asked of either split, and what their targets are."""
    numbers: dict[str, float] = {}
    kind = ""
    for name, (_, asked) in splits.items():
        base, told = constant(lab.model, asked)
        if kind not in ("", told):
            raise NotApplicableError("the targets of the two splits are of different kinds")
        kind = told
        numbers |= {f"commonest_{name}": base, f"asked_{name}": float(asked.n_samples)}
    return numbers, kind


def _confounded(lab: Lab, splits: dict[str, tuple[Batch, Batch]]) -> dict[str, Batch]:
    """Return the samples to be scored of the two classes that the model confounds most, by split; {} where few are.

    Found on the half of the data given that is learned from, so that the other half is free of the choice.
    """
    learned = splits["given"][0]
    with torch.no_grad():
        pair = class_scores(output_of(lab.model.eval(), learned), learned)
    if pair is None or pair[0].shape[1] < 2 or len(pair[1]) != learned.n_samples:
        return {}
    named, truth = pair[0].argmax(1), pair[1]
    table = torch.bincount(truth * pair[0].shape[1] + named, minlength=pair[0].shape[1] ** 2).view(-1, pair[0].shape[1])
    mutual = torch.triu(table + table.T, 1)
    first, second = divmod(int(mutual.argmax()), len(mutual))
    found = {}
    for name, (_, asked) in splits.items():
        assert isinstance(asked.target, Tensor)
        inside = ((asked.target == first) | (asked.target == second)).flatten().nonzero().flatten().cpu()
        if len(inside) < _PAIR or not int(mutual.max()):
            return {}
        found[name] = rows(asked, inside)
    return found


def _turned(pair: Batch | None) -> dict[str, Batch]:
    """Return samples mirrored, turned and negated in the ways that an augmentation may."""
    x = None if pair is None else pair.first
    if pair is None or x is None or not 2 <= x.dim() <= 4:
        return {}
    return {name: changed(pair, partial(_put, x, way)) for name, way in ways_of(x, x.dim() - 1).items()}


def _put(own: Tensor, way: Tensor, tensor: Tensor) -> Tensor:
    return way if tensor is own else tensor


def unseen_half(lab: Lab) -> Result:
    """Train a fresh copy on half of the training data; score it on their other half, and on the data given.

    For models that learned by heart, whose own answers say nothing of the training labels any more: where accuracy on
    half of the training data is ahead of that on the data given by 0.15, or behind it by two standard errors. Steps and
    numbers as of ``learned_anew``, which tells the same of models that hardly work; ``by_heart``: accuracy of the model
    itself on training data. Where targets are numbers R², ahead by 0.15, and the errors of the copy as of ``misfits``.
    """
    if not lab.wide_training or not lab.wide_given:
        raise NotApplicableError("no training data were given")
    learned, unseen = _halves(lab.wide_training, lab.seed)
    given = first_samples(lab.wide_given, _MOST)
    if given is None or given.target is None or not is_by_sample(given) or given.n_samples < _LEAST // 2:
        raise NotApplicableError(f"fewer than {_LEAST // 2} samples of one shape with targets")
    (common, kind), (common_given, kind_given) = constant(lab.model, unseen), constant(lab.model, given)
    if kind == "maps":
        raise NotApplicableError("the outputs are no class scores")
    if kind != kind_given:
        raise NotApplicableError("the targets of the two splits are of different kinds")
    own, now = score(lab.model, unseen)[0], score(lab.model, given)[0]
    if kind == "classes":
        error = math.sqrt(own * (1 - own) / unseen.n_samples + now * (1 - now) / given.n_samples)
    if (own - now <= _BY_HEART and (kind == "numbers" or own - now >= -2 * error)) or common_given >= 1:
        raise NotApplicableError("the model is about as good on the training data as on the data given")
    work = copied(lab.outfit)
    draw_trainable(work.model, lab.seed)
    learn(lab, work, learned)
    numbers = {"commonest_training": common, "commonest_given": common_given, "by_heart": own, "as_is": now}
    numbers |= {"asked_training": float(unseen.n_samples), "asked_given": float(given.n_samples)}
    numbers |= {"learned_training": float(learned.n_samples)}
    numbers |= {"training_training": score(work.model, unseen)[0], "training_given": score(work.model, given)[0]}
    if kind == "numbers":
        numbers |= held_against(work.model, unseen, given)
    return Result(numbers, {"kind": kind})


def _say_what_helps(lab: Lab, learned: Batch, asked: Batch, numbers: dict[str, float]) -> None:
    """Train two copies more where they decide something."""
    base, fresh = numbers["commonest_given"], numbers["training_given"]
    if fresh - numbers["as_is"] > _AHEAD:
        work = copied(lab.outfit)
        learn(lab, work, learned)
        numbers["onward"] = score(work.model, asked)[0]
    affine = [m for m in lab.model.modules() if isinstance(m, AFFINE)]
    if fresh - base < _WORKS * (1 - base) and len(affine) >= _DEEP:
        work = copied(lab.outfit)
        draw_trainable(work.model, lab.seed)
        numbers["growth"] = _growth(work.model, learned)
        _to_unit_scale(work.model, rows(learned, torch.arange(min(2 * _BATCH, learned.n_samples))))
        learn(lab, work, learned)
        numbers["scaled"] = score(work.model, asked)[0]


def _belonging(name: str, model: nn.Module, asked: Batch) -> dict[str, float]:
    """Return by how many standard deviations what is said of a sample fits its own map better than those of others."""
    with torch.no_grad():
        found = matched(main_tensor(output_of(model.eval(), asked)), asked.target)
    return {f"own_{name}": found.z} if found is not None else {}


def _growth(model: nn.Module, batch: Batch) -> float:
    """Return the deviation of what the last affine layer to run puts out, over that of the first."""
    spreads: list[float] = []

    def note(module: nn.Module, args: object, output: Tensor) -> None:
        spreads.append(float(output.detach().std()))

    with _hooked(model, note), torch.no_grad():
        in_training(model, _BATCH)
        output_of(model, rows(batch, torch.arange(min(_BATCH, batch.n_samples))))
    if not spreads or not spreads[0]:
        return 1.0
    return min(spreads[-1] / spreads[0], _BEYOND) if all(map(math.isfinite, spreads)) else _BEYOND


@contextmanager
def _hooked(model: nn.Module, hook: Callable[..., Tensor | None]) -> Iterator[None]:
    handles = [m.register_forward_hook(hook) for m in model.modules() if isinstance(m, AFFINE)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _to_unit_scale(model: nn.Module, batch: Batch) -> None:
    """Scale the weights of a copy so that the outputs of each affine layer, in order of execution, have deviation 1."""

    def scale(module: nn.Module, args: object, output: Tensor) -> Tensor:
        spread = float(output.detach().std())
        weight = module.weight
        if module in done or not math.isfinite(spread) or not isinstance(weight, Tensor) or not weight.requires_grad:
            return output
        done.add(module)
        # a bias alone makes no spread, and none is left where the input is constant
        factor = min(max(1 / max(spread, 1e-12), 1e-3), 1e3)
        weight.mul_(factor)
        if isinstance(module.bias, Tensor):
            module.bias.zero_()
        return (output - output.mean()) * factor

    done: set[nn.Module] = set()
    with _hooked(model, scale), torch.no_grad():
        in_training(model, batch.n_samples)
        output_of(model, batch)


def _halves(batches: list[Batch], seed: int) -> tuple[Batch, Batch]:
    """Cut samples into those to learn from and those to be scored, none of which is among the first."""
    whole = enough(batches, _MOST, _LEAST)
    order = torch.randperm(whole.n_samples, generator=torch.Generator().manual_seed(seed))
    marks = hashes(whole)
    half = whole.n_samples // 2
    known = set(marks[order[:half].numpy()].tolist())
    fresh = [place for place in order[half:].tolist() if int(marks[place]) not in known]
    if len(fresh) < _LEAST // 2:
        raise NotApplicableError("most inputs occur more than once")
    return rows(whole, order[:half]), rows(whole, torch.tensor(fresh))


def _entered(numbers: dict[str, float], score: tuple[float, float | None]) -> float:
    """Return a score, and keep the largest deviation between samples where it has one."""
    if score[1] is not None:
        numbers["spread"] = max(numbers.get("spread", 0.0), score[1])
    return score[0]


def learn(lab: Lab, work: Outfit, batch: Batch) -> None:
    """Train a copy on samples dealt out in batches of 32, for 300 steps at most, or until the loss fell to a tenth."""
    parameters = [p for p in work.model.parameters() if p.requires_grad]
    if not parameters:
        raise NotApplicableError("no parameter is trainable")
    optimizer = adam(parameters, _RATE)
    in_training(work.model, _BATCH)
    first, level = math.nan, math.nan
    before = lab.clock.left()
    for step, part in enumerate(_dealt(batch, lab.seed)):
        if step % 10 == 0:
            lab.clock.need(30)
        if step == _TRIED:
            lab.clock.need_seconds((_STEPS / _TRIED - 1) * (before - lab.clock.left()))
        optimizer.zero_grad()
        seed_generators(lab.seed + step)
        _, value = answered(work, part)
        loss = float(value.detach())
        if not math.isfinite(loss) or not value.requires_grad:
            raise NotApplicableError("the loss is not finite, or no parameter reaches it")
        first = loss if step == 0 else first
        level = loss if step == 0 else 0.9 * level + 0.1 * loss
        if step == _STEPS or (first > 0 and level < 0.1 * first):
            return
        backward(value)
        refuse_sparse(parameters)
        optimizer.step()


def _dealt(batch: Batch, seed: int) -> Iterator[Batch]:
    """Deal samples out in batches, in another order each time round, without end."""
    generator = torch.Generator().manual_seed(seed)
    size = min(_BATCH, batch.n_samples)
    while True:
        order = torch.randperm(batch.n_samples, generator=generator)
        for start in range(0, batch.n_samples - size + 1, size):
            yield rows(batch, order[start : start + size])
