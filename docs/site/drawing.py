"""The map of rooms as a picture: the site shows it where the page has a mermaid diagram, without a script or a network.

Belongs here: placing boxes on floors and drawing lines between them. Elsewhere: rooms and arrows (tests/rooms.py).
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Final

_WIDTH: Final = 164
_HEIGHT: Final = 30
_FLOOR: Final = 66
_GAP: Final = 22
_SWEEPS: Final = 24

# A box, or where a line passes a floor: (name, "") or (from, to).
Knot = tuple[str, str]


def picture(arrows: Mapping[str, Sequence[str]]) -> str:
    """An SVG of boxes and arrows that run down; `arrows` are without circles."""
    floors = _floors(arrows)
    lines = [_line(above, below, floors) for above, targets in arrows.items() for below in targets]
    rows: list[list[Knot]] = [[] for _ in range(max(floors.values()) + 1)]
    for name, floor in floors.items():
        rows[floor].append((name, ""))
    for line in lines:
        for at, knot in enumerate(line[1:-1], 1):
            rows[floors[line[0][0]] - at].append(knot)
    neighbours: dict[Knot, list[Knot]] = {knot: [] for row in rows for knot in row}
    for line in lines:
        for above, below in pairwise(line):
            neighbours[above].append(below)
            neighbours[below].append(above)
    x = _placed(rows, neighbours)
    left, right = min(x.values()) - _WIDTH, max(x.values()) + _WIDTH
    top = {knot: (len(rows) - 1 - floor) * _FLOOR + 6 for floor, row in enumerate(rows) for knot in row}
    drawn = [f'<path d="{_path([(x[knot] - left, top[knot]) for knot in line])}"/>' for line in lines]
    for name in floors:
        across, down = x[name, ""] - left, top[name, ""]
        drawn.append(f'<rect x="{across - _WIDTH / 2:.0f}" y="{down}" width="{_WIDTH}" height="{_HEIGHT}" rx="6"/>')
        drawn.append(f'<text x="{across:.0f}" y="{down + _HEIGHT / 2 + 4:.0f}">{name}</text>')
    size = f"0 0 {right - left:.0f} {len(rows) * _FLOOR}"
    return f'<svg class="rooms" viewBox="{size}" role="img" aria-label="The map of rooms">{"".join(drawn)}</svg>'


def _floors(arrows: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """How many boxes stand above one another below each."""
    found: dict[str, int] = {}

    def floor(each: str) -> int:
        if each not in found:
            found[each] = 1 + max((floor(below) for below in arrows.get(each, ())), default=-1)
        return found[each]

    for each in arrows:
        floor(each)
    return found


def _line(above: str, below: str, floors: Mapping[str, int]) -> list[Knot]:
    """An arrow as the knots it passes, one a floor."""
    return [(above, ""), *((above, f"{below}@{at}") for at in range(floors[above] - 1, floors[below], -1)), (below, "")]


def _placed(rows: Sequence[list[Knot]], neighbours: Mapping[Knot, Sequence[Knot]]) -> dict[Knot, float]:
    """Where each knot stands: near those it is tied to, and apart from those beside it."""
    x: dict[Knot, float] = {knot: at * (_WIDTH + _GAP) for row in rows for at, knot in enumerate(row)}
    for _ in range(_SWEEPS):
        for row in (*rows, *reversed(rows)):
            wanted = {
                knot: fmean(x[other] for other in neighbours[knot]) if neighbours[knot] else x[knot] for knot in row
            }
            row.sort(key=lambda knot: wanted[knot])
            # From the left no nearer than allowed, then as a whole back to where they want to be.
            at = [wanted[row[0]]] if row else []
            for before, knot in pairwise(row):
                at.append(max(wanted[knot], at[-1] + (_room(before) + _room(knot)) / 2 + _GAP))
            shift = fmean(wanted[knot] - there for knot, there in zip(row, at, strict=True)) if row else 0
            x.update({knot: there + shift for knot, there in zip(row, at, strict=True)})
    return x


def _room(knot: Knot) -> int:
    return 0 if knot[1] else _WIDTH


def _path(points: Sequence[tuple[float, float]]) -> str:
    """A smooth line from the foot of the first box to the head of the last."""
    (across, down), *rest = points
    drawn = f"M{across:.0f} {down + _HEIGHT}"
    down += _HEIGHT
    for next_across, next_down in rest:
        half = (down + next_down) / 2
        drawn += f"C{across:.0f} {half:.0f} {next_across:.0f} {half:.0f} {next_across:.0f} {next_down}"
        across, down = next_across, next_down
    return drawn
