"""The house: every folder of the package is a room with a charter; `python tests/rooms.py --write` draws it.

Belongs here: rooms, arrows between them, and the drawing in docs/architecture.md. Elsewhere: what is allowed (graph/).
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

from machine import PROJECT

PACKAGE: Final = PROJECT / "platform_assets"
PAGE: Final = PROJECT / "docs" / "architecture.md"
BEGIN: Final = "<!-- The map of rooms: `make map` draws it. -->"
END: Final = "<!-- The end of the map. -->"
_FOLDED: Final = "engine/readers"  # one folder per format, one room
_FACE: Final = "platform_assets"


def room(module: Path) -> str:
    """The room that a module stands in: its folder; of the modules at the top, each is one."""
    path = module.relative_to(PACKAGE)
    if len(path.parts) == 1:
        return _FACE if path.name == "__init__.py" else path.name
    folder = path.parent.as_posix()
    return _FOLDED if folder.startswith(f"{_FOLDED}/") else folder


@cache
def charters() -> Mapping[str, str]:
    """Room -> what belongs there, as it says itself."""
    found: dict[str, str] = {}
    for module in sorted(PACKAGE.rglob("*.py")):
        if module.name == "__init__.py" or module.parent == PACKAGE:
            charter = ast.get_docstring(ast.parse(module.read_text())) or ""
            found.setdefault(room(module), charter)
    return found


@cache
def arrows() -> Mapping[str, frozenset[str]]:
    """Room -> rooms that it imports, anywhere in its modules."""
    found: dict[str, set[str]] = {}
    for module in PACKAGE.rglob("*.py"):
        there = found.setdefault(room(module), set())
        there |= {room(each) for each in _imported(module)} - {room(module)}
    return {each: frozenset(found[each]) for each in sorted(found)}


def _imported(module: Path) -> Iterator[Path]:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE.name:
            for alias in node.names:
                yield _file(f"{node.module}.{alias.name}") or _file(str(node.module)) or PACKAGE / "__init__.py"
        elif isinstance(node, ast.Import):
            yield from (each for alias in node.names if (each := _file(alias.name)))


def _file(name: str) -> Path | None:
    """The file of a module of ours."""
    if name.split(".")[0] != PACKAGE.name:
        return None
    path = PROJECT.joinpath(*name.split("."))
    return next((each for each in (path.with_suffix(".py"), path / "__init__.py") if each.is_file()), None)


def floors() -> dict[str, int]:
    """Room -> how many rooms stand above one another below it. Raises ValueError where rooms import in a circle."""
    found: dict[str, int] = {}

    def floor(each: str, above: tuple[str, ...]) -> int:
        if each in above:
            raise ValueError(f"rooms import in a circle: {' -> '.join((*above[above.index(each) :], each))}")
        if each not in found:
            found[each] = 1 + max((floor(below, (*above, each)) for below in arrows()[each]), default=-1)
        return found[each]

    for each in arrows():
        floor(each, ())
    return found


def drawing() -> str:
    """The map, as Markdown: the house as a diagram (arrows that others imply are left out), then every room."""
    floor = floors()
    order = sorted(floor, key=lambda each: (-floor[each], each))
    total = sum(map(len, arrows().values()))
    lines = [BEGIN, "", "```mermaid", "flowchart TD"]
    lines += [f'  {_id(each)}["{each}"]' for each in order]
    lines += [f"  {_id(each)} --> {_id(below)}" for each in order for below in sorted(direct(each))]
    lines += ["```", "", f"{len(order)} rooms, {total} arrows; an arrow that others imply is not drawn.", ""]
    lines += ["| room | is | imports |", "|---|---|---|"]
    for each in order:
        charter = charters()[each].splitlines()[0]
        lines.append(
            f"| `{each}` | {charter} | {', '.join(f'`{below}`' for below in sorted(arrows()[each])) or 'nothing'} |"
        )
    return "\n".join([*lines, "", END])


def _id(each: str) -> str:
    return each.replace("/", "_").replace(".py", "_py")


def direct(each: str) -> set[str]:
    """Rooms that a room imports and that none of the others it imports leads to."""
    implied = set().union(*(_below(other) for other in arrows()[each]))
    return set(arrows()[each] - implied)


@cache
def _below(each: str) -> frozenset[str]:
    return frozenset(arrows()[each]).union(*(_below(other) for other in arrows()[each]))


def redrawn(page: str) -> str:
    """The page with the map as it is now."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{drawing()}{rest.partition(END)[2]}"


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(redrawn(PAGE.read_text()))
    else:
        sys.stdout.write(drawing() + "\n")
