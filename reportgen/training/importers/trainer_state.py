"""Hugging Face's trainer_state.json."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import HistoryError
from .json_lines import add_row, number_in
from .points import Log

FILE = "trainer_state.json"
_TOTALS = ("train_runtime", "eval_runtime", "total_flos")
_SETTINGS = ("num_train_epochs", "max_steps", "train_batch_size", "logging_steps", "eval_steps", "save_steps")
_PER_CALL = re.compile(
    r"(^|_)(runtime|samples_per_second|steps_per_second|jit_compilation_time|model_preparation_time)$"
)


def is_state(document: Any) -> bool:
    return isinstance(document, dict) and isinstance(document.get("log_history"), list)


def is_total(key: str) -> bool:
    """Tell the figures on a whole run or a whole evaluation, which are no curves."""
    return key in _TOTALS or bool(_PER_CALL.search(key))


def read(document: Mapping[str, Any], where: str) -> Log:
    """Read the log of a Trainer. The entry with the totals of the run gives its time; its mean loss is no new point."""
    log = Log("trainer_state")
    for entry in document["log_history"]:
        if not isinstance(entry, dict):
            continue
        if "train_runtime" in entry:
            log.seconds = _finite(entry["train_runtime"])
            continue
        add_row(log, {key: value for key, value in entry.items() if not is_total(key)})
    if not log.columns:
        raise HistoryError(
            f"{where} has an empty log_history: nothing was logged before it was saved.",
            hint="Set logging_steps so that something is.",
        )
    size = document.get("train_batch_size")
    log.batch_size = size if isinstance(size, int) and 0 < size < 2**53 else None
    for key in _SETTINGS:
        value = _finite(document.get(key))
        if value is not None:
            log.hyperparameters[key] = value
    _tell_where_it_stopped(log, document)
    return log


def _finite(value: Any) -> float | None:
    """Return a number of the file; None of what is none, or beyond all floats."""
    found = number_in(value)
    return found if found is not None and math.isfinite(found) else None


def _tell_where_it_stopped(log: Log, document: Mapping[str, Any]) -> None:
    step, planned = document.get("global_step"), document.get("max_steps")
    if isinstance(step, int) and isinstance(planned, int) and 0 < step < planned:
        log.note(f"saved at step {step} of {planned}")


def inside(folder: Path) -> Path | None:
    """Return the state of an output folder or of a checkpoint folder: its own, or that of the latest checkpoint."""
    if (folder / FILE).is_file():
        return folder / FILE
    steps = [
        (int(p.name.rpartition("-")[2]), p) for p in folder.glob("checkpoint-*") if p.name.rpartition("-")[2].isdigit()
    ]
    return next((p / FILE for _, p in sorted(steps, reverse=True) if (p / FILE).is_file()), None)
