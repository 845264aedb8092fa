"""Pseudonyms: what stands in a release for a value that leads to a person. The same value has the same one everywhere.

Belongs here: the key, the canonical text of a value, and both in SQL. Elsewhere: which columns (project/treatments.py).
A pseudonym is the HMAC-SHA-256, in hex, of a value's text in UTF-8, so that whoever has the key can make it anywhere.
The key is a row of a temporary table of one connection: it stands in no SQL, and so in no error, plan or file.
"""

import hashlib
import hmac
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

import duckdb

from platform_assets.engine.store.sql import quote
from platform_assets.errors import ConfigurationError, ReleaseRefused, quoted

SETTING: Final = "PLATFORM_PSEUDONYM_KEY"
MAKE_ONE: Final = f"export {SETTING}=$(openssl rand -hex 32)"
"""How a person makes a key."""

_SHORTEST_KEY: Final = 16
_BLOCK: Final = 64  # bytes, of SHA-256
_TABLE: Final = "temp.main.pseudonym_key"
_FLOATS: Final = ("float", "double")
# As many digits before the mark as a number with decimals has, and as many behind as there is room for.
_EXACT: Final = "DECIMAL(38,22)"
_LARGEST: Final = "1e38"  # what HUGEINT holds


class Key:
    """The secret that pseudonyms are made with. `id` tells keys apart and says nothing else of them."""

    def __init__(self, secret: str) -> None:
        """Raises ConfigurationError where it is too short to be one."""
        if len(secret) < _SHORTEST_KEY:
            raise ConfigurationError(
                SETTING,
                f"has {len(secret)} characters, and could be guessed; a key has {_SHORTEST_KEY} or more",
                f"Make one, and keep it as you keep passwords: {MAKE_ONE}",
            )
        self._secret = secret.encode()

    def __repr__(self) -> str:
        return f"Key({self.id})"

    @cached_property
    def id(self) -> str:
        """What names the key."""
        return hmac.digest(self._secret, b"name of the key", "sha256").hex()[:16]

    def pseudonym(self, text: str) -> str:
        """The pseudonym of a value with that canonical text."""
        return hmac.digest(self._secret, text.encode(errors="surrogatepass"), "sha256").hex()

    def bind(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Let SQL of this connection make pseudonyms."""
        secret = self._secret if len(self._secret) <= _BLOCK else hashlib.sha256(self._secret).digest()
        padded = secret.ljust(_BLOCK, b"\0")
        pads = [bytes(byte ^ pad for byte in padded) for pad in (0x36, 0x5C)]
        # Not a variable: DuckDB writes what variables hold into its plans.
        connection.execute(f"CREATE OR REPLACE TEMPORARY TABLE {_TABLE} (inner_pad BLOB, outer_pad BLOB)")
        connection.execute(f"INSERT INTO {_TABLE} VALUES ($1, $2)", pads)


def treated(mart: str, table: str, columns: Mapping[str, Any], personal: Mapping[str, str]) -> str:
    """The query that gives what readers are to see of a mart: of a table with these columns (name -> type) all that is
    not dropped; for a pseudonym a key is bound. Raises ReleaseRefused where nothing is left."""
    chosen = []
    for name, kind in columns.items():
        match personal.get(name):
            case "drop":
                continue
            case "pseudonym":
                chosen.append(f"{pseudonym(quote(name), kind)} AS {quote(name)}")
            case _:
                chosen.append(quote(name))
    if not chosen:
        raise ReleaseRefused(
            f"every column of the mart {quoted(mart)} is to be dropped",
            "Keep one, or take the mart out of dbt_project.",
        )
    return f"SELECT {', '.join(chosen)} FROM {table}"


def pseudonym(value: str, kind: Any) -> str:  # noqa: ANN401 - a type of DuckDB's, which has no name in its stubs
    """The SQL of a value's pseudonym; NULL has none."""
    inner = f"sha256((SELECT inner_pad FROM {_TABLE}) || encode({canonical(value, kind)}))"
    return f"sha256((SELECT outer_pad FROM {_TABLE}) || unhex({inner}))"


def canonical(value: str, kind: Any) -> str:  # noqa: ANN401 - as above
    """The SQL of a value's text. Numbers that are equal have the same, whatever their types: no zeros behind the mark,
    no mark without digits behind it, no exponent. All else is written as DuckDB writes it, instants in UTC."""
    text = f"CAST({value} AS VARCHAR)"
    if kind.id == "decimal":
        return _without_zeros(text)
    if kind.id not in _FLOATS:
        return value if kind.id == "varchar" else text
    finite = f"isfinite({value})"
    exact = f"TRY_CAST({text} AS {_EXACT})"
    return (
        f"CASE WHEN {finite} AND {value} = trunc({value}) AND abs({value}) < {_LARGEST} "
        f"THEN CAST(CAST({value} AS HUGEINT) AS VARCHAR) "
        f"WHEN {finite} AND CAST({exact} AS {kind}) = {value} THEN {_without_zeros(f'CAST({exact} AS VARCHAR)')} "
        f"ELSE {text} END"
    )


def _without_zeros(text: str) -> str:
    return f"CASE WHEN contains({text}, '.') THEN rtrim(rtrim({text}, '0'), '.') ELSE {text} END"
