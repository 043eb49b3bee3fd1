"""The record of the rules on programs whose faults are known; the file beside this module is written by the bench."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec

from ..document.findings import Scorecard

FILE = Path(__file__).with_name("scorecard.json")


@cache
def scorecard(path: Path = FILE) -> Scorecard | None:
    """Return what was measured; None where there is no file, or none that this version can read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Scorecard)
    except (OSError, msgspec.DecodeError):
        return None
