"""Rules of a contract, as Pandera's checks: their names, and those that could not be kept.

Belongs here: what a check is called in every process, which check is no rule. Elsewhere: asking a check of rows
(validate.py), what of a check's code makes a new version (version.py).
"""

import re
from typing import Any, Final

from platform_assets.errors import ContractError

_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")


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
