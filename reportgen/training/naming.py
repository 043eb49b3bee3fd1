"""What parts of a run are called: modules without what wraps them, and optimizers by what they move."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from torch import nn
from torch.optim import Optimizer

_WRAPPED = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
_REPLICATORS = (nn.DataParallel, nn.parallel.DistributedDataParallel)


def modules_of(models: Mapping[str, nn.Module]) -> Iterator[tuple[str, nn.Module]]:
    """Yield every module of all models once, with the name that it has without compilers and replicators.

    ``models`` maps the prefix of the names (``''``, ``'generator.'``) to the model.
    """
    for prefix, model in models.items():
        held: list[str] = []  # what the names of modules inside a replicator begin with
        for path, module in model.named_modules():
            if isinstance(module, _REPLICATORS):
                held.append(f"{path}.module" if path else "module")
            yield (prefix + clean(path, held)).removesuffix("."), module


def clean(path: str, held: Sequence[str] = ()) -> str:
    """Leave out of a name what wrappers put into it; ``held`` are the paths of the modules inside replicators."""
    for start in reversed(held):  # the inner ones first, whose paths hold those of the outer ones
        if path == start or path.startswith(f"{start}."):
            path = f"{start[: -len('module')]}{path[len(start) + 1 :]}"
    path = f"{path}."
    for wrapped in _WRAPPED:
        path = path.replace(wrapped, "")
    return path.strip(".")


def labels_of(models: Mapping[str, nn.Module], optimizers: Sequence[Optimizer]) -> list[str]:
    """Tell optimizers apart by a word each: the part of the model that they move, or their class, or their number.

    A single one needs none: ''.
    """
    if len(optimizers) < 2:
        return [""] * len(optimizers)
    names = parameter_names(models)
    parts = [_part([names[id(p)] for g in o.param_groups for p in g["params"] if id(p) in names]) for o in optimizers]
    kinds = [type(o).__name__ for o in optimizers]
    for labels in ([part[:1] for part in parts], parts, [[kind] for kind in kinds]):
        if all(labels) and len({tuple(label) for label in labels}) == len(labels):
            return [".".join(label) for label in labels]
    return [str(i) for i in range(len(optimizers))]


def label_of(models: Mapping[str, nn.Module], optimizer: Optimizer, known: Sequence[str]) -> str:
    """Return a word for an optimizer that comes to others."""
    names = parameter_names(models)
    part = _part([names[id(p)] for g in optimizer.param_groups for p in g["params"] if id(p) in names])
    kind = type(optimizer).__name__
    wanted = (*part[:1], kind, *(f"{kind}{i}" for i in range(2, len(known) + 3)))
    return next(label for label in wanted if label not in known)


def parameter_names(models: Mapping[str, nn.Module]) -> dict[int, str]:
    """Map the id of each parameter to its name."""
    found: dict[int, str] = {}
    for path, module in modules_of(models):
        for name, p in module._parameters.items():
            if p is not None:
                found.setdefault(id(p), f"{path}.{name}" if path else name)
    return found


def _part(names: Sequence[str]) -> list[str]:
    """Return the modules that all parameters of these names have above them, from the outermost inwards."""
    paths = [name.split(".")[:-1] for name in names]
    shared: list[str] = []
    for level in zip(*paths, strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    return shared
