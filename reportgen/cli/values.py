"""``--checkpoint a.pt b.pt c.pt``: several values after one option, which the parser of options does not know."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

CHECKPOINT = "--checkpoint"
WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".index.json")


class ManyCheckpoints(TyperCommand):
    """A command whose ``--checkpoint`` takes all weights files that follow it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, spread(args))


def spread(arguments: Sequence[str]) -> list[str]:
    """Repeat ``--checkpoint`` before every further weights file after its first value.

    Only a file of weights, or a folder that exists, is taken so: the model may stand after the option as well.
    """
    out: list[str] = []
    after = False
    for i, argument in enumerate(arguments):
        if argument == "--":
            return [*out, *arguments[i:]]
        first = bool(i) and arguments[i - 1] == CHECKPOINT
        if argument.startswith("-") and not first:
            after = argument.startswith(f"{CHECKPOINT}=")
        elif after and _is_weights(argument):
            out.append(CHECKPOINT)
        else:
            after = first
        out.append(argument)
    return out


def _is_weights(name: str) -> bool:
    return ":" not in name and (name.endswith(WEIGHT_SUFFIXES) or Path(name).is_dir())
