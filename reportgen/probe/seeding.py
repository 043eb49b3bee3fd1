"""Setting the random number generators before a pass of an experiment, thousands of times."""

from __future__ import annotations

import torch


def seed_generators(seed: int) -> None:
    """Seed the generators that a pass may draw from: that of the CPU, and those of an accelerator in use.

    ``torch.manual_seed`` also leaves a note for CUDA to read when it comes into use, with the whole stack as text: half
    a millisecond a call, more than a step of a small model.
    """
    accelerator = torch.accelerator.current_accelerator()
    idle = accelerator is None or (
        accelerator.type == "cuda" and not torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    )
    if idle:
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)
