"""How a document tells places of files: it is handed on, and folders of a machine and its users are not its matter."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

# an absolute path of two parts and more, on its own or in a text such as 'file.py:build(root="/data/x")'; an address
# such as s3://bucket/key is none
_ABSOLUTE = re.compile(r"""(?<![\w.~/\\:])(?:[A-Za-z]:[\\/]|/(?=[^/\s'",;:()]+/))[^\s'",;:()]*|(?<==)/[^\s'",;:()]+""")


def near(text: str) -> str:
    """Return a text with its absolute paths told from the current folder; of one that lies elsewhere only the end."""
    if Path(text).is_absolute() and ":" not in text[2:]:
        return _near(text)
    return _ABSOLUTE.sub(lambda found: _near(found[0]), text)


def command(arguments: Sequence[str]) -> str:
    """Return a command as others may read it: the program by its name, paths as ``near`` tells them."""
    if not arguments:
        return ""
    program = Path(arguments[0])
    if program.name == "__main__.py":  # python -m package
        first = program.parent.name
    else:
        first = near(arguments[0]) if program.suffix else program.name
    return " ".join([first, *(near(argument) for argument in arguments[1:])])


def _near(path: str) -> str:
    try:
        inside = Path(path).relative_to(Path.cwd()).as_posix()
    except (ValueError, OSError):  # it lies elsewhere, or the current folder is gone
        return f"…/{PurePosixPath(path.replace(chr(92), '/')).name}"
    return inside
