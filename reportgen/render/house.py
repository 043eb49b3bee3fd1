"""A house's own templates: a file that overrides blocks of the page in a sandbox, a style sheet that follows ours.

``page.html.j2`` begins with ``{% extends "reportgen/page.html.j2" %}`` and then holds blocks, nothing else; every text
is escaped as ever, and the policy of the page lets neither scripts nor addresses through.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import OptionError, one_line
from .assets import asset, environment

if TYPE_CHECKING:
    from jinja2 import Environment, Template
    from jinja2.nodes import Node

T = TypeVar("T")
PAGE, EXTRA = "page.html.j2", "extra.css"
PARENT = f"reportgen/{PAGE}"
_FETCHES = re.compile(r"</|@import|url\s*\(|expression\s*\(", re.I)


def check(folder: str) -> None:
    """Raise OptionError where a folder of templates cannot be used: before the work, not after it."""
    path = Path(folder)
    if not path.is_dir():
        raise OptionError(f"There is no folder of templates {folder}.")
    if not (path / PAGE).is_file() and not (path / EXTRA).is_file():
        raise OptionError(f"The folder {folder} holds no templates.", hint=f"Expected {PAGE}, {EXTRA}, or both.")
    extra_css(folder)
    if (path / PAGE).is_file():
        template(folder, environment(own=folder))


def extra_css(folder: str) -> str:
    """Return the house's style sheet; '' where it has none. Raises OptionError."""
    path = Path(folder) / EXTRA
    if not path.is_file():
        return ""
    text = _read(path)
    found = _FETCHES.search(text)
    if found is not None:
        line = text[: found.start()].count("\n") + 1
        raise OptionError(f"{path}:{line}: {found.group()!r} would fetch or end the style sheet.", hint="Leave it out.")
    return text


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"{path} cannot be read: {one_line(error)}.") from None


def has_page(folder: str | None) -> bool:
    """Tell whether a folder brings a page of its own."""
    return folder is not None and (Path(folder) / PAGE).is_file()


def template(folder: str, environment: Environment) -> Template:
    """Return the house's page, once it is seen to do no more than override blocks. Raises OptionError."""
    path = Path(folder) / PAGE
    return told(path, lambda: _template(path, environment))


def _template(path: Path, environment: Environment) -> Template:
    source = _read(path)
    _check_tree(path, environment.parse(source, PAGE, str(path)))
    return environment.from_string(source)


def _check_tree(path: Path, tree: Any) -> None:
    from jinja2 import nodes

    body = list(tree.body)
    first = body.pop(0) if body else None
    fits = isinstance(first, nodes.Extends) and isinstance(first.template, nodes.Const)
    if not fits or first is None or first.template.value != PARENT:
        raise OptionError(
            f"{path}: it does not begin with what it changes.", hint=f'Expected {{% extends "{PARENT}" %}}.'
        )
    for node in body:
        if not isinstance(node, nodes.Block) and not _blank(node):
            raise OptionError(
                f"{path}:{node.lineno}: only blocks can be overridden.",
                hint="Put it between {% block ... %} and its end.",
            )
    blocks = {node.name for node in body if isinstance(node, nodes.Block)}
    unknown = sorted(blocks - set(_known()))
    if unknown:
        raise OptionError(f"{path}: the page has no block {unknown[0]!r}.", hint=f"Known: {', '.join(_known())}.")
    unwanted = (nodes.Include, nodes.Import, nodes.FromImport, nodes.ScopedEvalContextModifier)
    for node in tree.find_all(unwanted):
        raise OptionError(f"{path}:{node.lineno}: a block cannot load other templates or switch escaping off.")


def _known() -> list[str]:
    return re.findall(r"{% block (\w+) %}", asset(PAGE))


def _blank(node: Node) -> bool:
    from jinja2 import nodes

    inner = node.nodes if isinstance(node, nodes.Output) else [node]
    return all(isinstance(n, nodes.TemplateData) and not n.data.strip() for n in inner)


def told(path: Path, make: Callable[[], T]) -> T:
    """Turn what goes wrong in a template into one line that says where."""
    from jinja2 import TemplateError, TemplateSyntaxError

    try:
        return make()
    except TemplateSyntaxError as error:
        raise OptionError(f"{path}:{error.lineno}: {one_line(error)}.") from None
    except TemplateError as error:
        raise OptionError(f"{path}: {one_line(error).rstrip('.')}.") from None
    except (TypeError, ValueError, AttributeError, ArithmeticError, LookupError) as error:
        raise OptionError(f"{path}: {one_line(error).rstrip('.')}.") from None
