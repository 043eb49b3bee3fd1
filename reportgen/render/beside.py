"""Images as files beside a page, for servers that forbid those inside: Jenkins allows files of its own folder.

A file is named by what it holds, so the same report gives the same files, and an image that occurs twice is one file.
"""

from __future__ import annotations

import hashlib
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import fields, replace

from ..page.blocks import Bitmap, Page

_Part = TypeVar("_Part")


def images(page: Page, folder: str) -> tuple[Page, dict[str, bytes]]:
    """Return the page with its images in files of this folder, and the files by their names."""
    files: dict[str, bytes] = {}
    return _moved(page, folder, files), files


def _moved(part: _Part, folder: str, files: dict[str, bytes]) -> _Part:
    if isinstance(part, Bitmap):
        name = f"{hashlib.sha256(part.data).hexdigest()[:12]}.{part.kind}"
        files[name] = part.data
        return replace(part, beside=f"{folder}/{name}")
    if isinstance(part, list):
        new = [_moved(one, folder, files) for one in part]
        return part if all(a is b for a, b in zip(new, part, strict=True)) else new  # type: ignore[return-value]
    if not isinstance(part, Struct) or not type(part).__module__.startswith(Page.__module__):
        return part
    held = {f.name: getattr(part, f.name) for f in fields(part)}
    changed = {key: new for key, old in held.items() if (new := _moved(old, folder, files)) is not old}
    return replace(part, **changed) if changed else part
