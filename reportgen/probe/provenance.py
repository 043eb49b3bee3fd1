"""What a report was made with: the commit of the project around it, and the settings that were not the usual ones."""

from __future__ import annotations

import subprocess
from typing import Any

from ..document.places import near
from ..options import Options

_SECONDS = 2.0  # git may have a large or a distant folder to look through; the report does not wait for it
# what is told in other places of a report
_ELSEWHERE = ("title", "rules", "thresholds", "progress", "seed", "class_names", "tokens", "sections")


def git_commit() -> str:
    """Return the commit of the current folder and whether files that it knows were changed; '' where there is none."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    if not commit:
        return ""
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return commit + ("" if changed == "" else ", with changes" if changed else ", changes unknown")


def _git(*arguments: str) -> str | None:
    """Return what git says; None where it says nothing."""
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, timeout=_SECONDS, check=True, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip()


def told(options: Options) -> dict[str, str]:
    """Return the settings that differ from the usual ones, and the seed."""
    usual = Options()
    out: dict[str, str] = {"seed": str(options.seed)}
    for key in Options.__struct_fields__:
        value: Any = getattr(options, key)
        if key not in _ELSEWHERE and value != getattr(usual, key):
            out[key] = ", ".join(near(str(v)) for v in (value if isinstance(value, (list, tuple)) else [value]))
    return out
