"""Working on a copy of the caller's model, with the optimizers linked to it as they are to the original."""

from __future__ import annotations

import copy
from itertools import chain

import torch
from torch import nn
from torch.optim import Optimizer

from ..errors import OptionError, one_line
from ..options import Options
from ..subject.data import device_of
from ..subject.wrappers import ExportedProgram
from .attributes import is_lazy

Linked = tuple[nn.Module, tuple[Optimizer, ...]]


def workable(model: nn.Module, optimizers: tuple[Optimizer, ...], options: Options) -> Linked:
    """Return model and optimizers, or copies where examining would change the caller's for good.

    That is so for lazy parameters, which a forward pass gives their shapes, and for another device.
    """
    if any(is_lazy(p) for p in chain(model.parameters(), model.buffers())):
        model, optimizers = copied(model, optimizers)
    if options.device is None:
        return model, optimizers
    try:
        device = torch.device(options.device)
        if device == device_of(model):
            return model, optimizers
        model, optimizers = copied(model, optimizers)
        return model.to(device), optimizers
    except (RuntimeError, AssertionError, ImportError) as error:  # a torch built without the device asserts or imports
        raise OptionError(
            f"Cannot use device {options.device!r}: {one_line(error)}.", hint="Expected such as 'cpu' or 'cuda:0'."
        ) from error


def copied(model: nn.Module, optimizers: tuple[Optimizer, ...]) -> Linked:
    """Copy both together, so that the optimizers of the copy hold the parameters of the copy."""
    try:
        return copy.deepcopy((model, optimizers))
    except Exception as error:  # what the caller's classes do when they are copied
        raise OptionError(
            f"The model cannot be copied: {one_line(error)}, and it must be, as it has lazy parameters or is to run on "
            "another device.",
            hint="Run it once on one batch, on the device that is wanted, and examine it then.",
        ) from error


def linked_to(module: nn.Module, program: ExportedProgram, optimizers: tuple[Optimizer, ...]) -> tuple[Optimizer, ...]:
    """Return copies of the optimizers that hold what a program's modules hold, by name.

    An exported program shares its parameters with the model that it was made from, and its modules have copies.
    """
    theirs = program.state_dict
    memo = {id(theirs[n]): p for n, p in module.named_parameters(remove_duplicate=False) if n in theirs}
    return copy.deepcopy(optimizers, memo)
