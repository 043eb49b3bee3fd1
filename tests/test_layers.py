"""The arrows between the rooms of the house, and what is never imported where.

Imports are read from the sources, those inside functions too; imports for type checkers alone do not count.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import reportgen
from reportgen.document.codec import encode

from . import builders

ROOT = Path(reportgen.__file__).parent

ARROWS = {
    "__main__": {"cli"},
    "cli": {"monitor", "pipeline", "training", "subject", "render", "page", "health", "document"}
    | {"settings", "options", "look", "errors", "arguments"},
    "integrations": {"monitor", "training", "subject", "render", "document", "options", "errors", "arguments"},
    "monitor": {"pipeline", "training", "document", "options", "errors", "arguments"},
    "pipeline": {"probe", "training", "subject", "health", "document", "options", "errors", "arguments"},
    "training": {"probe", "subject", "document", "errors", "arguments"},
    "probe": {"subject", "document", "options", "errors", "arguments"},
    "subject": {"document", "options", "errors", "arguments"},
    "render": {"page", "document", "look", "options", "errors", "arguments"},
    "page": {"health", "document", "look", "options", "errors", "arguments"},
    "health": {"document", "options", "errors", "arguments"},
    "settings": {"options", "look", "errors", "arguments"},
    "look": {"errors", "arguments"},
    "options": {"errors", "arguments"},
    "document": {"errors", "arguments"},
    "errors": set(),
    "arguments": {"errors"},
}
WITHOUT_TORCH = {
    "__init__",
    "__main__",
    "cli",
    "render",
    "page",
    "health",
    "document",
    "settings",
    "options",
    "look",
    "errors",
    "arguments",
}
TORCH = {"torch", "torchvision", "torchinfo", "torchmetrics", "safetensors"}


class Import(NamedTuple):
    importer: str
    """Dotted path below the package; '__init__' is the package itself."""
    imported: str
    """The same for a module of the package; the full name for any other."""
    inside: bool
    """Of the package."""
    at_once: bool
    """Outside of functions, so it is done when the importer is imported."""


def room(module: str) -> str:
    return module.partition(".")[0]


def modules() -> dict[str, Path]:
    """Map dotted paths below the package to files; a package goes by its own name."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "__init__"] = path
    return found


MODULES = modules()


def statements(body: ast.AST, at_once: bool = True) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Yield the import statements below a node, but for those under ``if TYPE_CHECKING``."""
    for node in ast.iter_child_nodes(body):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from statements(other, at_once)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield node, at_once
        else:
            yield from statements(node, at_once and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def targets(importer: str, node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, bool]]:
    """Yield what one statement imports, and whether it is of the package."""
    if isinstance(node, ast.Import):
        yield from ((alias.name, False) for alias in node.names)
    elif not node.level:
        yield from ((f"{node.module}.{alias.name}", False) for alias in node.names)
    else:
        package = [] if importer == "__init__" else importer.split(".")
        climb = node.level - (1 if MODULES[importer].name == "__init__.py" else 0)
        base = package[: len(package) - climb] + (node.module or "").split(".") * bool(node.module)
        for alias in node.names:
            below = ".".join([*base, alias.name])
            yield (below if below in MODULES else ".".join(base) or "__init__"), True


IMPORTS = [
    Import(importer, imported, inside, at_once)
    for importer, path in MODULES.items()
    for node, at_once in statements(ast.parse(path.read_text(encoding="utf-8")))
    for imported, inside in targets(importer, node)
]


def test_the_walk_sees_what_is_there() -> None:
    assert Import("document.facts", "document.stats", inside=True, at_once=True) in IMPORTS
    assert Import("subject.model", "subject.vision", inside=True, at_once=True) in IMPORTS
    assert Import("subject.model", "torch", inside=False, at_once=True) in IMPORTS
    assert not [i for i in IMPORTS if i.inside and i.imported != "__init__" and i.imported not in MODULES]


def test_every_room_is_known() -> None:
    assert {room(module) for module in MODULES} - {"__init__"} <= set(ARROWS)


def test_rooms_import_along_the_arrows() -> None:
    wrong = [
        f"{i.importer} -> {i.imported}"
        for i in IMPORTS
        if i.inside
        and room(i.importer) not in ("__init__", room(i.imported))
        and room(i.imported) not in ARROWS[room(i.importer)]
    ]
    assert not wrong


def test_the_arrows_lead_one_way() -> None:
    assert list(TopologicalSorter(ARROWS).static_order())


def test_nothing_inside_imports_the_root() -> None:
    wrong = [
        i
        for i in IMPORTS
        if (i.inside and i.imported == "__init__") or (not i.inside and room(i.imported) == "reportgen")
    ]
    assert not wrong


def test_modules_do_not_import_in_circles() -> None:
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for i in IMPORTS:
        if i.inside and i.importer != i.imported:
            graph[i.importer].add(i.imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_rooms_without_torch_stay_without_it() -> None:
    wrong = [
        i
        for i in IMPORTS
        if room(i.importer) in WITHOUT_TORCH and not i.inside and room(i.imported) in TORCH
        if i.at_once or room(i.importer) != "cli"  # a command that trains may, once it is called
    ]
    assert not wrong
    reached = [
        i
        for i in IMPORTS
        if i.inside and i.at_once and room(i.importer) in WITHOUT_TORCH and room(i.imported) not in WITHOUT_TORCH
    ]
    assert not reached


def test_nobody_draws_through_pyplot() -> None:
    """It keeps state for the whole process and may want a display."""
    assert not [i for i in IMPORTS if i.imported.startswith("matplotlib.pyplot")]


@pytest.mark.parametrize(
    "code",
    [
        "import reportgen; dir(reportgen); reportgen.Options(); reportgen.Report; reportgen.read",
        "sys.argv = ['reportgen', '--help']; from reportgen.cli import main; main()",
    ],
)
def test_the_door_is_light(code: str) -> None:
    heavy = ("torch", "torchvision", "torchmetrics", "matplotlib", "weasyprint", "sklearn", "numpy")
    program = (
        f"import sys\ntry:\n    {code}\nexcept SystemExit as leave:\n    assert not leave.code, leave.code\n"
        f"print('HEAVY', [name for name in {heavy} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "HEAVY []"


@pytest.mark.parametrize("suffix", [".html", pytest.param(".pdf", marks=pytest.mark.slow), ".md", ".xml"])
def test_what_is_stored_is_shown_by_little(suffix: str, tmp_path: Path) -> None:
    """A report of a run with its curves: neither what measures it nor what draws somebody's own figures is loaded."""
    heavy = ("torch", "torchvision", "torchmetrics", "matplotlib", "sklearn", "numpy")
    heavy += () if suffix == ".pdf" else ("weasyprint", "fontTools", "PIL")
    (tmp_path / "report.json").write_bytes(encode(builders.classifier()))
    program = (
        f"import sys, reportgen\nreportgen.write(reportgen.read('report.json'), 'report{suffix}')\n"
        f"print('HEAVY', [name for name in {heavy} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "HEAVY []"
