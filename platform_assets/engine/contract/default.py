"""What rows have whose delivery lacks an optional column, as its author declares it.

Belongs here: whether a row could have it. Elsewhere: the declaration (column.py), filling it in (cast.py).
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from platform_assets.engine.contract.rules import rule_of
from platform_assets.errors import ContractError

if TYPE_CHECKING:
    from platform_assets.engine.contract.column import Column

_VALUES: Final[dict[str, tuple[type, ...]]] = {
    "text": (str,),
    "integer": (int,),
    "decimal": (Decimal, int),
    "number": (float, int),
    "timestamp": (datetime,),
    "date": (date,),
    "boolean": (bool,),
}
_EXAMPLES: Final[dict[str, str]] = {
    "text": 'a text, such as "EUR"',
    "integer": "a whole number, such as 0",
    "decimal": 'a number of as many digits as declared, such as Decimal("0.00")',
    "number": "a number, such as 0.5",
    "timestamp": "a moment with its offset, such as datetime(2020, 1, 31, 12, tzinfo=UTC)",
    "date": "a day, such as date(2020, 1, 31)",
    "boolean": "True or False",
}


def refuse_wrong_default(where: str, column: "Column", checks: Sequence[Any]) -> None:
    """Raise ContractError unless a row can have what it is given where a delivery lacks the column."""
    if column.default is None:
        if column.optional and not column.nullable:
            raise ContractError(
                where,
                "is optional and not nullable, so rows without it would all be rejected",
                "Declare nullable=True, or what such rows have: default=….",
            )
        return
    if not column.optional:
        raise ContractError(
            where,
            "default is for rows whose delivery lacks the column, and this one may not be lacked",
            "Declare optional=True, or take default out.",
        )
    given = column.default
    fits = type(given) in _VALUES[column.kind] and getattr(given, "tzinfo", UTC) is not None
    if fits:
        try:
            fits = pl.Series([given], dtype=column.dtype)[0] == given
        except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError):
            fits = False
    if not fits:
        raise ContractError(
            where,
            f"default {given!r} is no value of a {column.kind} as it is declared",
            f"Give {_EXAMPLES[column.kind]}.",
        )
    frame = pl.DataFrame({column.name: pl.Series([given], dtype=column.dtype)})
    for check in checks:
        kept = True
        with suppress(Exception):  # one that cannot answer is told of where rows are validated
            kept = check(frame.lazy(), column.name).check_output.collect().to_series().all()
        if not kept:
            raise ContractError(
                where,
                f"default {given!r} breaks the column's own rule {rule_of(check)}",
                "Give a default that keeps it, or allow it in the rule.",
            )
