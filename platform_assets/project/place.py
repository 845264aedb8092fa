"""Where a declaration stands: the line of its author's file that is wrong, and what Python says of it in our words.

Belongs here: from an error to file and line, and the nearest right name. Elsewhere: what may be declared (the engine),
finding declarations (declared.py).
"""

import ast
import builtins
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import platform_assets
from platform_assets.engine.contract.declaration import USUAL_TYPES
from platform_assets.errors import ConfigurationError, nearest, printable
from platform_assets.settings import PROJECT

FEEDS_PACKAGE: Final = "platform_assets.feeds"
MARTS_PACKAGE: Final = "platform_assets.marts"
_KEY: Final = re.compile(r"(?P<kind>\w+)(\(.*\))?\.(?P<name>\w+)")
_PATH: Final = re.compile(r" \(/[^)]*\)$")  # of the module that lacks the name
_LONGEST: Final = 300  # characters of what Python says
_NO_NAME: Final = re.compile(r"cannot import name '(\w+)' from '([\w.]+)'")


def misdeclared(error: Exception, file: Path) -> ConfigurationError:
    """What is wrong in `file`, which raised the error when it was imported, with the line that its author wrote."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        line = f"in `{printable(error.text.strip(), _LONGEST)}`" if error.text else "in it"
        place = f"{_shown(Path(error.filename))}:{error.lineno}"
        return ConfigurationError(place, f"{error.msg}, {line}", "Mend that line, or the one before it.")
    tops = [each for each in traceback.extract_tb(error.__traceback__) if Path(each.filename).parent == file.parent]
    if isinstance(error, ConfigurationError):
        return error.at(f"{_shown(Path(tops[-1].filename))}:{_line(tops[-1], error.key)}" if tops else _shown(file))
    place = f"{_shown(Path(tops[-1].filename))}:{tops[-1].lineno}" if tops else _shown(file)
    said = printable(f"{type(error).__name__}: {_PATH.sub('', str(error))}", _LONGEST)
    return ConfigurationError(place, f"{said}.{_near(error)}", "Mend that line.")


def place_of(kind: str, name: str, module: str) -> str:
    """Where the declaration `kind(name=…)` stands in a module that is imported: its file and line."""
    file = Path(sys.modules[module].__file__ or "")
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == kind:
            named = [each.value for each in node.keywords if each.arg in ("name", "product")] or node.args[:1]
            if named and isinstance(named[0], ast.Constant) and named[0].value == name:
                return f"{_shown(file)}:{node.lineno}"
    return _shown(file)


def place_in(kind: str, name: str, package: str) -> str:
    """The same, in whichever module of the package it stands; the package's folder where it stands in none."""
    for module in sorted(each for each in sys.modules if each.startswith(f"{package}.")):
        if ":" in (place := place_of(kind, name, module)):
            return place
    return package.replace(".", "/")


def place_of_name(name: str, file: Path) -> str:
    """Where the file gives something that name at its top: file and line."""
    lines = list(_lines_of(_tree(file), name))
    return ":".join([_shown(file), *map(str, lines[-1:])])


def _line(frame: traceback.FrameSummary, key: str) -> int:
    """The line of the argument or the column that `key` names, within what the frame was executing; else its first."""
    first, last = frame.lineno or 1, frame.end_lineno or frame.lineno or 1
    named = _KEY.match(key)
    if named is not None:
        for node in ast.walk(_tree(Path(frame.filename))):
            if isinstance(node, ast.Call) and node.lineno >= first and (node.end_lineno or last) <= last:
                for keyword in node.keywords:
                    if keyword.arg == named["name"]:
                        return keyword.lineno
            if isinstance(node, ast.ClassDef) and node.name == named["kind"]:
                for line in _lines_of(node, named["name"]):
                    return line
    return first


def _lines_of(block: ast.ClassDef | ast.Module, name: str) -> Iterator[int]:
    for node in block.body:
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        if any(isinstance(each, ast.Name) and each.id == name for each in targets):
            yield node.lineno


def _tree(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ast.Module([], [])


def _near(error: Exception) -> str:
    """The nearest name to the one that Python did not find."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return nearest(error.name, {*sys.stdlib_module_names, *sys.modules})
    if isinstance(error, ImportError) and (found := _NO_NAME.search(str(error))):
        return nearest(found[1], dir(sys.modules[found[2]]) if found[2] in sys.modules else ())
    if isinstance(error, NameError) and error.name:
        meant = USUAL_TYPES.get(error.name.lower())
        if meant is not None:
            return f" Did you mean {meant!r}?"
        if error.name in platform_assets.__all__:
            return f" Write `from platform_assets import {error.name}` at the top."
        return nearest(error.name, {*platform_assets.__all__, *_names_about(error), *dir(builtins)})
    if isinstance(error, AttributeError) and error.name:
        return nearest(error.name, dir(error.obj))
    return ""


def _names_about(error: Exception) -> list[str]:
    found = error.__traceback__
    while found is not None and found.tb_next is not None:
        found = found.tb_next
    return [] if found is None else [*found.tb_frame.f_globals, *found.tb_frame.f_locals]


def _shown(file: Path) -> str:
    return str(file.relative_to(PROJECT) if file.is_relative_to(PROJECT) else file)
