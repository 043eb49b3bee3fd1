"""Getting hold of what the user names: ``pkg.mod:name``, ``path/to/file.py:name``, ``torchvision:resnet18``.

This runs the user's code. Whatever it raises comes back as one TargetError that says what it was and where.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import pkgutil
import sys
import traceback
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ..errors import ReportgenError, TargetError
from . import vision

FORMS = "'pkg.mod:name', 'path/to/file.py:name' or 'torchvision:resnet18'"


def resolve(target: str) -> object:
    """Return what ``target`` names; after the colon, dots lead to attributes of attributes.

    Modules are sought as ``python -m`` seeks them, the current directory first, and beside a file for that file's own
    imports. Afterwards that directory stands last on ``sys.path``, so that imports inside functions and in the workers
    of a loader still find their modules but nothing there shadows an installed package.
    """
    where, colon, name = target.rpartition(":")
    if not colon:
        example = f"{target}:build" if target else "mypackage.models:build"
        raise TargetError(f"{target!r} has no colon; expected {FORMS}.", hint=f"Name what is in it, as in {example!r}.")
    if not where or not all(name.split(".")):
        raise TargetError(f"{target!r} lacks a {'name' if where else 'module'}; expected {FORMS}.")
    if where == "torchvision":
        return _torchvision_builder(name)
    module = _import_file(Path(where)) if where.endswith(".py") else _import_module(where, target)
    return _attribute(module, name, where)


def load_model(target: str) -> torch.nn.Module:
    """Return the model that ``target`` names: an instance as it is, or what a class or function returns."""
    found = resolve(target)
    if isinstance(found, torch.nn.Module):
        return found
    if not callable(found):
        raise TargetError(
            f"{target!r} is {_kind(found)}; expected a torch.nn.Module, or a class or function that makes one."
        )
    made = call_target(found, target)
    if isinstance(made, torch.nn.Module):
        return made
    raise TargetError(
        f"{target!r} made {_kind(made)}; expected a torch.nn.Module.",
        hint="Let it return the model alone.",
    )


def load_loss(target: str) -> Callable[..., Any]:
    """Return the loss that ``target`` names: an instance of a class, a function or an instance as it is."""
    found = resolve(target)
    loss: object = call_target(found, target) if isinstance(found, type) else found
    if callable(loss):
        return loss
    raise TargetError(f"{target!r} is {_kind(loss)}; expected a loss: a callable of (output, target).")


def call_target(build: Callable[..., Any], target: str) -> Any:
    """Call the user's class or function without arguments."""
    needed = _required_arguments(build)
    if needed:
        raise TargetError(
            f"{target!r} needs arguments ({', '.join(needed)}); expected a class or function that needs none.",
            hint=f"Write a function without arguments that returns {target.rpartition(':')[2]}(...), and name that.",
        )
    try:
        return build()
    except ReportgenError:
        raise
    except (Exception, SystemExit) as error:  # the user's code: anything may come
        raise TargetError(f"{target!r} was called and raised {_told(error)}.") from error


def _required_arguments(build: Callable[..., Any]) -> list[str]:
    try:
        parameters = inspect.signature(build).parameters.values()
    except (TypeError, ValueError):  # some builtins have no signature: calling them will tell
        return []
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in variadic]


def _torchvision_builder(name: str) -> Callable[[], torch.nn.Module]:
    """Return a function that builds the named model with random weights, so that nothing is downloaded."""
    vision.prepare()
    try:
        models = importlib.import_module("torchvision.models")
    except ImportError as error:
        raise TargetError(f"'torchvision:{name}' needs torchvision, which cannot be imported: {error}.") from error
    try:
        builder = models.get_model_builder(name)
    except ValueError as error:
        near = _near(name, models.list_models())
        raise TargetError(
            f"torchvision has no model {name!r}{near}.", hint="torchvision.models.list_models() gives them all."
        ) from error
    weights = [argument for argument in inspect.signature(builder).parameters if argument.startswith("weights")]
    return partial(builder, **dict.fromkeys(weights))


def _import_module(name: str, target: str) -> ModuleType:
    with _importable(Path.cwd()):
        try:
            if name.partition(".")[0] in ("torchvision", "torchmetrics"):
                vision.prepare()
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if name != missing and not name.startswith(f"{missing}."):
                raise _failed_import(name, error) from error
            hint = ""
            if "/" in name or "\\" in name:
                hint = f"For a file write {name + '.py:' + target.rpartition(':')[2]!r}."
            raise TargetError(
                f"there is no module {missing!r}{_near(missing, _sibling_modules(missing))}; expected one that is "
                f"installed or lies in the current directory.",
                hint=hint,
            ) from error
        except ReportgenError:
            raise
        except (Exception, SystemExit) as error:  # the user's code: anything may come
            raise _failed_import(name, error) from error


def _import_file(path: Path) -> ModuleType:
    """Import a file under its own name, or under a made-up one where that name belongs to another module."""
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        beside = path.parent.glob("*.py") if path.parent.is_dir() else ()
        near = _near(path.name, [p.name for p in beside])
        raise TargetError(f"{str(path)!r} {what}{near}; expected a Python file.")
    path = path.resolve()
    with _importable(path.parent):
        name = path.stem if _own_name_is_free(path) else f"{path.stem}_{zlib.crc32(bytes(path)):08x}"
        if name in sys.modules:
            return sys.modules[name]
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise TargetError(f"{str(path)!r} cannot be imported; expected a Python file.")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException as error:
            del sys.modules[name]
            if isinstance(error, ReportgenError) or not isinstance(error, Exception | SystemExit):
                raise
            raise _failed_import(str(path), error) from error  # the user's code: anything may come
    return module


def _own_name_is_free(path: Path) -> bool:
    """Tell whether ``import stem`` leads to this very file, as it would in a script beside it."""
    if not path.stem.isidentifier():
        return False
    try:
        spec = importlib.util.find_spec(path.stem)
    except ValueError:  # '__main__' has no spec
        return False
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve() == path


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Put a folder first on ``sys.path``, and leave it there as the last when it was not there before."""
    place = str(folder)
    known = place in sys.path or (folder == Path.cwd() and "" in sys.path)
    sys.path.insert(0, place)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(place)
        if not known:
            sys.path.append(place)


def _attribute(module: ModuleType, dotted: str, where: str) -> object:
    found: object = module
    path = where
    for name in dotted.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            near = _near(name, [n for n in dir(found) if not n.startswith("_")])
            raise TargetError(f"{path!r} has no {name!r}{near}.") from error
        except (Exception, SystemExit) as error:  # a lazy module may run the user's code here
            raise TargetError(f"{name!r} of {path!r} cannot be had: it raised {_told(error)}.") from error
        path = f"{path}.{name}"
    return found


def _sibling_modules(name: str) -> list[str]:
    """List the modules beside the missing one: of its package, or of the current directory."""
    parent, _, _ = name.rpartition(".")
    if parent:
        places = list(getattr(sys.modules.get(parent), "__path__", []))
        return [f"{parent}.{module.name}" for module in pkgutil.iter_modules(places)]
    return [module.name for module in pkgutil.iter_modules([str(Path.cwd())])]


def _near(name: str, names: Iterable[str]) -> str:
    """Say which names come closest; '' when none does."""
    found = difflib.get_close_matches(name, list(names), n=3, cutoff=0.5)
    return f" (close: {', '.join(found)})" if found else ""


def _failed_import(where: str, error: BaseException) -> TargetError:
    if isinstance(error, SyntaxError):
        place = f"{error.filename}, line {error.lineno}"
        return TargetError(f"importing {where!r} failed: {error.msg} ({place}).")
    hint = ""
    if isinstance(error, ModuleNotFoundError):
        hint = f"Install {error.name!r}, or run where it can be imported."
    if isinstance(error, ImportError) and "relative import" in str(error):
        hint = "A file of a package is named through the package, as in 'pkg.mod:name', from the folder that holds it."
    if isinstance(error, SystemExit):
        hint = "Put what is to run only as a script under 'if __name__ == \"__main__\":'."
    return TargetError(f"importing {where!r} raised {_told(error)}.", hint=hint)


def _told(error: BaseException) -> str:
    """Name an error in one line: its type, its message, and the user's line that it came from."""
    message = " ".join(str(error).split())
    if len(message) > 300:
        message = message[:299] + "…"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__ and f.filename[:1] != "<"]
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{': ' if message else ''}{message}{place}"


def _kind(found: object) -> str:
    if isinstance(found, ModuleType):
        return f"the module {found.__name__}"
    if isinstance(found, type):
        return f"the class {found.__qualname__}"
    return f"a value of type {type(found).__name__}"
