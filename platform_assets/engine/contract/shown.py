"""What of a feed's text may be shown to people, where its contract has personal data.

Belongs here: the one decision about names, values and messages, by the contract alone. Elsewhere: which column is
personal (column.py, model.py), where data itself lies (store, archive), text of other programs (errors.py).
What lies in raw, quarantine and archive is all there; whatever else is written or said of it goes through here.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from polars.exceptions import PanicException

from platform_assets.engine.contract.model import LINEAGE, Contract, columns_of, folded, letters
from platform_assets.errors import HIDDEN, ForeignError, PlatformError, listed, told

MASK: Final = "***"
_LETTERS_PER_SLIP: Final = 6

Record = Mapping[str, str | None] | str


class Shown:
    """What may be shown of the data of a contract. Of one without personal data, everything.

    personal: whether it has any. Then an undeclared name may be data itself. It is shown if it resembles a declared
    one: their letters and digits, without case, differ by at most one slip (a letter more, less or other) for every six
    letters of the declared name. No value of a column that the contract does not know is shown.
    """

    def __init__(self, contract: type[Contract]) -> None:
        columns = columns_of(contract)
        self.personal = any(column.pii for column in columns)
        self._clear = {folded(name) for c in columns if not c.pii for name in (c.name, *c.headers)}
        self._secret = {folded(name) for c in columns if c.pii for name in (c.name, *c.headers)}
        self.declared = frozenset(self._clear | self._secret)
        self._declared = {letters(name) for c in columns for name in (c.name, *c.headers)}

    def names(self, names: Iterable[str]) -> tuple[str, ...]:
        """The names, HIDDEN in the place of each that must not be shown."""
        return tuple(name if self.may_name(name) else HIDDEN for name in names)

    def name(self, name: str | None) -> str | None:
        """The name, or None where it must not be shown."""
        return name if name is not None and self.may_name(name) else None

    def rule(self, rule: str, header: Iterable[str]) -> str:
        """A broken rule that may speak of columns by their delivered names."""
        hidden = sorted((name for name in header if not self.may_name(name)), key=len, reverse=True)
        return functools.reduce(lambda text, name: text.replace(name, HIDDEN), hidden, rule)

    def message(self, text: str) -> str:
        """A message in which names or values are `quoted`."""
        return told(text, self.names if self.personal else None)

    def record(self, record: Any) -> Record:  # noqa: ANN401 - what JSON holds
        """A record by delivered header, without personal data; whole where it could not be taken apart."""
        if not isinstance(record, dict):
            return MASK if self.personal else str(record)
        if not self.personal:
            return record
        shown: dict[str, str | None] = {}
        hidden = 0
        for name, value in record.items():
            if not self.may_name(name):
                hidden += 1
                continue
            clear = folded(name) in self._clear
            shown[name] = value if clear or value is None else MASK
        return shown | ({listed([HIDDEN] * hidden): MASK} if hidden else {})

    def holds(self, column: str) -> bool:
        """Whether the column of raw may hold personal data."""
        return self.personal and folded(column) not in self._clear and column not in LINEAGE

    def value(self, column: str | None, value: str | None) -> str | None:
        """A value that broke a rule of `column`; of a rule across columns it is the whole row."""
        secret = self.personal if column is None else self.holds(column)
        return MASK if secret and value is not None else value

    def may_name(self, name: str) -> bool:
        """Whether the name may be shown."""
        if not self.personal or folded(name) in self._clear or folded(name) in self._secret:
            return True
        spelled = letters(name)
        return any(_alike(spelled, each, len(each) // _LETTERS_PER_SLIP) for each in self._declared)


@contextmanager
def guarding(
    contracts: Iterable[type[Contract]], known: Iterable[str] = (), but: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Around work on the data of these contracts: what is raised tells no personal data, nor does what caused it.

    known: names and code that text of other programs may show besides the contracts' own names. but: errors that say
    nothing of data, and pass as they are.
    """
    shown = [shown_of(each) for each in contracts]
    if not any(each.personal for each in shown):
        yield
        return

    def names(given: Iterable[str]) -> list[str]:
        return [name if any(each.may_name(name) for each in shown if each.personal) else HIDDEN for name in given]

    try:
        yield
        return
    except but:
        raise
    except PlatformError as error:
        error.tell(names)
        error.__cause__, error.__context__, error.__suppress_context__ = None, None, True
        raise
    except (Exception, PanicException) as error:  # noqa: BLE001 - whatever a library raises; Polars panics besides
        safe = ForeignError(error, [*known, *(name for each in shown for name in each.declared)])
        safe.__traceback__ = error.__traceback__
    raise safe from None


@functools.cache
def shown_of(contract: type[Contract]) -> Shown:
    """What may be shown of the contract's data."""
    return Shown(contract)


def _alike(one: str, other: str, slips: int) -> bool:
    """Whether the spellings differ by at most so many letters."""
    if not slips or abs(len(one) - len(other)) > slips:
        return one == other
    row = list(range(len(other) + 1))
    for at, letter in enumerate(one, start=1):
        before, row = row, [at]
        for to, its in enumerate(other, start=1):
            row.append(min(before[to] + 1, row[to - 1] + 1, before[to - 1] + (letter != its)))
        if min(row) > slips:
            return False
    return row[-1] <= slips
