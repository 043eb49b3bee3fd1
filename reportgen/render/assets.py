"""Templates and style sheets: where they lie, and how they get into a page."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OutputError
from ..page.formats import pieces, visible
from ..page.svg import Element, serialise

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


_PACKAGE = Path(__file__).resolve().parents[1]
_FOLDERS = (_PACKAGE / "templates", _PACKAGE.parent / "templates")  # in a wheel; in a checkout


@cache
def folder() -> Path:
    """Return the folder of the templates."""
    for path in _FOLDERS:
        if (path / "page.html.j2").is_file():
            return path
    raise OutputError("The templates of reportgen are missing from this installation.", hint="Install it again.")


@cache
def asset(name: str) -> str:
    """Return a file of the templates' folder as text."""
    return (folder() / name).read_text("utf-8")


@cache
def sheet(name: str) -> str:
    """Return a style sheet without comments and the space that only its writer needs."""
    text = re.sub(r"/\*.*?\*/", "", asset(name), flags=re.S)
    text = re.sub(r"\s+", " ", text)
    return re.sub(r";?\s*([{}])\s*|(?<=[;:,])\s+|\s+(?=[;,])", lambda m: m[1] or "", text).replace("}", "}\n").strip()


def figure(drawing: Element) -> Markup:
    """Return a drawing for inlining; the element writer has escaped every text in it."""
    from markupsafe import Markup

    return Markup(serialise(drawing, html=True))


def broken(text: str) -> Markup:
    """Return a name for a table, with the places where a line may end inside of it."""
    from markupsafe import Markup

    return Markup("<wbr>").join(visible(piece) for piece in pieces(text))


def style_hash(css: str) -> str:
    """Return the hash by which the content policy knows a style sheet."""
    return "sha256-" + base64.b64encode(hashlib.sha256(css.encode("utf-8")).digest()).decode("ascii")


def _shown(value: Any) -> Any:
    # markup is ours and finished; text may come from a layer's name
    return visible(value) if type(value) is str else value


@cache
def environment(own: str | None = None) -> Environment:
    """Return the template environment for pages: everything is escaped, and a missing name is an error.

    ``own``: the folder of somebody's own templates, which run in a sandbox and have no way around the escaping.
    """
    from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PrefixLoader, StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    ours = FileSystemLoader(folder())
    made = (Environment if own is None else ImmutableSandboxedEnvironment)(
        loader=ChoiceLoader([PrefixLoader({"reportgen": ours}), ours]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["figure"] = figure
    made.filters["broken"] = broken
    if own is not None:
        made.filters.pop("safe")
    return made
