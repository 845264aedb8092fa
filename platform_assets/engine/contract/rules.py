"""Rules: what a contract asks of its values through Pandera's checks, and what they are called.

Belongs here: names of rules, and rules that cannot be meant. Elsewhere: asking them of rows (validate.py).
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import polars as pl

from platform_assets.errors import ContractError

_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")
_COMPARING: Final = {
    *("equal_to", "not_equal_to", "greater_than", "greater_than_or_equal_to", "less_than", "less_than_or_equal_to"),
    *("in_range", "isin", "notin"),
}


def rule_of(check: Any) -> str:  # noqa: ANN401 - pandera's Check
    """The name that a broken check is reported under, the same in every process: without addresses, sets in order."""
    name = str(check.error or check.name or check)
    for value in check.statistics.values():
        if isinstance(value, set | frozenset) and (asked := pandera_name(check)):
            name = f"{asked}({{{', '.join(sorted(map(repr, value)))}}})"
    return _ADDRESS.sub("", name)


def pandera_name(check: Any) -> str | None:  # noqa: ANN401 - pandera's Check
    """What pandera calls a check of its own that has no name from its author: its function."""
    name = getattr(check._check_fn, "__name__", "")
    return name if str(check.error).startswith(f"{name}(") else None


def refuse_unlike_a_rule(where: str, check: Any) -> None:  # noqa: ANN401 - pandera's Check
    """Raise ContractError for a check that would let rows through which break it."""
    for option in ("raise_warning", "n_failure_cases", "groupby"):
        if getattr(check, option, None):
            raise ContractError(
                f"{where}: {rule_of(check)}", f"{option} would let rows pass that break the rule", f"Take {option} out."
            )


def refuse_senseless(where: str, rules: Iterable[tuple[str, Mapping[str, Any]]], values: pl.DataType) -> None:
    """Raise ContractError for rules of Pandera's own (name and arguments) that cannot be asked of a value of that type,
    or that no value keeps."""
    lowest: Any = None
    highest: Any = None
    for rule, arguments in rules:
        if rule.startswith("str_") and values != pl.String():
            raise ContractError(where, f"{rule} asks texts, and its values are {values}", f"Take {rule} out.")
        if rule not in _COMPARING:
            continue
        compared = []
        for name, given in arguments.items():
            if rule in ("isin", "notin"):
                if isinstance(given, str) or not given:
                    raise ContractError(where, f"{rule}={given!r} lists no values", f'Write {rule}=["A", "B"].')
                compared += list(given)
            elif not name.startswith("include"):
                compared.append(given)
        if wrong := [each for each in compared if not _comparable(each, values)]:
            raise ContractError(
                where, f"{rule}: {wrong[0]!r} cannot be compared with {values}", "Give values of the column's own type."
            )
        lowest, highest = arguments.get("min_value", lowest), arguments.get("max_value", highest)
    if lowest is not None and highest is not None and lowest > highest:
        raise ContractError(where, f"no value is at least {lowest} and at most {highest}", "Change one of the two.")


def _comparable(value: object, values: pl.DataType) -> bool:
    column = pl.Series([None], dtype=values)
    try:
        column.to_frame("c").select(pl.col("c") == pl.lit(value))
    except (pl.exceptions.PolarsError, TypeError, ValueError):
        return False
    return isinstance(value, bool) == (values == pl.Boolean()) and isinstance(value, str) == (values == pl.String())
