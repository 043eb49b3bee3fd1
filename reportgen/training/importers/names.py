"""What other tools call a scalar, in the words of this one.

The rules, in their order. A name that is given in ``names`` is taken as told and nothing below is done to it.

1.  Groups: ``/``, ``.``, ``:``, ``-``, blanks and ``|`` separate words as ``_`` does; capitals do not count.
    ``metrics``, ``scalars`` and ``charts`` at the front say nothing and go.
2.  Axis: a last word ``step`` or ``epoch`` (Lightning), or a first word ``epoch``, ``batch``, ``iteration`` or ``step``
    before others (Keras), says by what the scalar was logged, and goes.
3.  Split: the first of the words ``train``, ``training``, or of ``val``, ``valid``, ``validation``, ``eval``,
    ``evaluation``, ``dev``, ``test``, ``testing``, that stands first or last or between slashes, becomes the prefix
    ``train_`` or ``val_``. ``test`` stays ``test_`` where the log holds a validation series of its own.
4.  Metric: ``acc`` is ``accuracy``, ``lr`` is ``learning_rate`` (also ``lr-Adam``), ``grad_norm`` is
    ``gradient_norm``, ``ppl`` is ``perplexity``, ``err`` is ``error``. Learning rate and gradient norm have no split.
5.  Without a split, whatever has a twin with ``val_`` is of training, and so is a loss or a known metric where the log
    names no split of training itself. All other names stay as they are.

Where two names come to the same, the first keeps it and the others keep their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Literal, NamedTuple

Axis = Literal["epoch", "step"]

EPOCH_COLUMNS = frozenset({"epoch", "epochs", "_epoch", "ep", "current_epoch", "train_epoch"})
STEP_COLUMNS = frozenset(
    {"step", "steps", "_step", "global_step", "globalstep", "iteration", "iterations", "iter", "n_iter", "it", "batch"}
    | {"trainer_global_step", "train_global_step", "update", "updates"}
)
TIME_COLUMNS = frozenset(
    {"time", "timestamp", "_timestamp", "wall_time", "walltime", "date", "datetime", "created_at", "", "index"}
    | {"unnamed_0"}
)

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "eval", "evaluation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_AXES: dict[str, Axis] = {"epoch": "epoch", "batch": "step", "iteration": "step", "step": "step"}
_GROUPS = ("metrics", "scalars", "charts")
_SYNONYMS = {
    "acc": "accuracy",
    "lr": "learning_rate",
    "learningrate": "learning_rate",
    "grad_norm": "gradient_norm",
    "gradnorm": "gradient_norm",
    "ppl": "perplexity",
    "err": "error",
}
_METRICS = frozenset(
    {"accuracy", "error", "f1", "auc", "auroc", "auprc", "r2", "mae", "mse", "rmse", "mape", "precision", "recall"}
    | {"perplexity", "iou", "miou", "dice", "map", "bleu", "rouge", "wer", "cer", "psnr", "ssim", "nll", "kl", "elbo"}
    | {"mcc", "kappa", "specificity", "sensitivity", "top1", "top5"}
)
_OF_THE_LOOP = frozenset({"learning_rate", "gradient_norm", "update_ratio"})
_BOUNDARY = re.compile(r"[\s.:|\-]+")
_CAMEL = re.compile(r"^(train|val|valid|test|eval)(?=[A-Z])")


class Name(NamedTuple):
    """What a name says once it is taken apart."""

    split: Literal["", "train", "val", "test"]
    metric: str
    axis: Axis | None
    """By what the name itself says that it was logged."""

    def __str__(self) -> str:
        return f"{self.split}_{self.metric}" if self.split else self.metric


def normal(name: str) -> str:
    """Return a name with one kind of separator and no capitals; slashes are kept."""
    return _BOUNDARY.sub("_", _CAMEL.sub(r"\1_", name.strip())).strip("_/").lower() or name.strip().lower()


@lru_cache(4096)  # asked of every cell of a log
def column(name: str) -> Literal["epoch", "step", "time", "scalar"]:
    """Tell what a column or a key holds."""
    key = normal(name).replace("/", "_")
    if key in EPOCH_COLUMNS:
        return "epoch"
    if key in STEP_COLUMNS:
        return "step"
    return "time" if key in TIME_COLUMNS else "scalar"


def taken_apart(name: str) -> Name:
    """Apply rules 1 to 4 to one name."""
    groups = [group for group in normal(name).split("/") if group]
    while len(groups) > 1 and groups[0] in _GROUPS:
        del groups[0]
    split, groups = _split(groups)
    words = [word for group in groups for word in group.split("_") if word]
    axis: Axis | None = None
    if len(words) > 1 and words[-1] in ("epoch", "step") and words[-2] != "per":
        axis = _AXES[words.pop()]
    elif len(words) > 1 and words[0] in _AXES and not (words[0] == "step" and words[1] in ("size", "time")):
        axis = _AXES[words.pop(0)]
    metric = _metric(words)
    if metric in _OF_THE_LOOP:
        split = ""
    # a split word and nothing else ('train') is a name, not a split
    return Name(split, metric, axis) if metric else Name("", split or normal(name), axis)


def _split(groups: list[str]) -> tuple[Literal["", "train", "val", "test"], list[str]]:
    """Take the first word that names a split out of the groups between slashes."""
    for i, group in enumerate(groups):
        words = group.split("_")
        for place in (0, -1) if i in (0, len(groups) - 1) or len(words) == 1 else ():
            found = SPLITS.get(words[place])
            # an axis may stand behind the split: loss_train_epoch
            if found is None and place == -1 and len(words) > 2 and words[-1] in ("epoch", "step"):
                place, found = -2, SPLITS.get(words[-2])
            if found is not None:
                del words[place]
                rest = "_".join(words)
                return found, [*groups[:i], *([rest] if rest else []), *groups[i + 1 :]]  # type: ignore[return-value]
    return "", groups


def _metric(words: list[str]) -> str:
    if len(words) > 1 and words[0] == "lr":
        return "_".join(["learning_rate", *words[1:]])
    joined = "_".join(words)
    if joined in _SYNONYMS:
        return _SYNONYMS[joined]
    return "_".join([*words[:-1], _SYNONYMS.get(words[-1], words[-1])]) if words else ""


def is_metric(metric: str) -> bool:
    """Tell whether a scalar is one that every split has: a loss or a known metric."""
    words = metric.split("_")
    return "loss" in words or words[-1] in _METRICS or words[0] in _METRICS


def mapped(found: Iterable[str], names: Mapping[str, str] | None = None) -> dict[str, Name]:
    """Map the names of one log to ours. ``names`` holds those that the user gave: theirs -> ours."""
    told = dict(names or {})
    result = {name: Name("", told[name], taken_apart(name).axis) for name in found if name in told}
    parts = {name: taken_apart(name) for name in found if name not in told}
    validated = {n.metric for n in parts.values() if n.split == "val"}
    validated |= {ours.removeprefix("val_") for ours in told.values() if ours.startswith("val_")}
    tested = {n.metric for n in parts.values() if n.split == "test"} if not validated else set()
    says_train = any(n.split == "train" for n in parts.values()) or any(n.startswith("train_") for n in told.values())
    for name, (split, metric, axis) in parts.items():
        if split == "test" and not validated:
            split = "val"
        if split == "" and (metric in validated | tested or (is_metric(metric) and not says_train)):
            split = "train"
        result[name] = Name(split, metric, axis)
    return _distinct(result, told)


def _distinct(parts: dict[str, Name], told: dict[str, str]) -> dict[str, Name]:
    """Leave each name to one series of each axis: 'lr-Adam' alone is the learning rate, of two the first is."""
    plain = [(n, p) for n, p in parts.items() if n not in told and p.metric.startswith("learning_rate_")]
    if plain and not any(p.metric == "learning_rate" for p in parts.values()):
        name, part = plain[0]
        parts[name] = part._replace(metric="learning_rate")
    taken = {(str(part), part.axis) for name, part in parts.items() if name in told}
    for name, part in parts.items():
        if name in told:
            continue
        if (str(part), part.axis) in taken:
            part = Name("", normal(name).replace("/", "_"), part.axis)
            n = 2
            while (str(part), part.axis) in taken:
                part, n = part._replace(metric=f"{normal(name).replace('/', '_')}_{n}"), n + 1
        taken.add((str(part), part.axis))
        parts[name] = part
    return parts
