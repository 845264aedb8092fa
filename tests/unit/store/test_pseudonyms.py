"""Pseudonyms in SQL: as anybody makes them who has the key, the same for the same value, and the key nowhere."""

import hmac
import itertools

import duckdb
import pytest

from platform_assets.engine.store.connection import connect
from platform_assets.engine.store.pseudonyms import Key, canonical, pseudonym, treated
from platform_assets.errors import ConfigurationError

KEY = "canary-key-0123456789"
HUNDRED = [
    *("100", "100::TINYINT", "100::UTINYINT", "100::SMALLINT", "100::BIGINT", "100::UBIGINT", "100::HUGEINT"),
    *("100::DECIMAL(3,0)", "100::DECIMAL(38,10)", "100::FLOAT", "1e2::DOUBLE", "'100'", "100::BIGNUM"),
]
EQUAL = [
    HUNDRED,
    ["0.1::DECIMAL(2,1)", "0.100::DECIMAL(20,10)", "0.1::DOUBLE", "0.1::FLOAT", "'0.1'"],
    ["0", "-0.0::DOUBLE", "-0.0::FLOAT", "0.00::DECIMAL(5,2)", "'0'"],
    ["-12.5::DECIMAL(5,2)", "-12.5::DOUBLE", "-12.5::FLOAT"],
    ["0.0000001::DECIMAL(10,8)", "1e-7::DOUBLE"],
    ["10000000000000000000000::HUGEINT", "1e22::DOUBLE", "10000000000000000000000::DECIMAL(38,0)"],
    ["'2024-05-06 10:00:00+00'::TIMESTAMPTZ", "'2024-05-06 12:00:00+02'::TIMESTAMPTZ"],
]
TEXTS = ["anna", "Anna", " anna", "", "Zoë 😀", "a" * 63, "a" * 64, "a" * 65, "a" * 1000, "O'Brien", "$1 ?"]


@pytest.fixture
def connection() -> duckdb.DuckDBPyConnection:
    """A locked connection, with the key."""
    opened = connect()
    Key(KEY).bind(opened)
    return opened


def made(connection: duckdb.DuckDBPyConnection, value: str) -> str | None:
    kind = connection.sql(f"SELECT {value} AS v").types[0]
    found = connection.execute(f"SELECT {pseudonym('v', kind)} FROM (SELECT {value} AS v)").fetchone()
    assert found is not None
    return None if found[0] is None else str(found[0])


@pytest.mark.parametrize("key", [KEY, "k" * 16, "ü" * 32, "k" * 64, "k" * 65, "k" * 300], ids=len)
def test_it_is_the_hmac_of_the_text_that_any_language_can_make(key: str) -> None:
    with connect() as connection:
        Key(key).bind(connection)
        for text in TEXTS:
            found = connection.execute(f"SELECT {pseudonym('v', _VARCHAR)} FROM (SELECT $1 AS v)", [text]).fetchone()
            assert found == (hmac.new(key.encode(), text.encode(), "sha256").hexdigest(),)
            assert found == (Key(key).pseudonym(text),)


@pytest.mark.parametrize("equal", EQUAL, ids=lambda each: str(each[0]))
def test_equal_values_of_other_types_have_the_same(equal: list[str], connection: duckdb.DuckDBPyConnection) -> None:
    assert len({made(connection, value) for value in equal}) == 1


def test_other_values_have_others(connection: duckdb.DuckDBPyConnection) -> None:
    values = [each[0] for each in EQUAL] + [f"'{text}'" for text in TEXTS if "'" not in text]
    values += [
        "'nan'::DOUBLE",
        "'inf'::DOUBLE",
        "'-inf'::DOUBLE",
        "1e300",
        "1e301",
        "5e-324",
        "0.1::DECIMAL(3,1) + 0.01",
    ]
    values += ["DATE '2024-05-06'", "true", "[1, 2]", "[2, 1]", "{'a': 1}", "'x'::BLOB || '\\x00'::BLOB", "uuid()"]
    found = [made(connection, value) for value in values]
    assert None not in found
    assert len(set(found)) == len(values)


def test_whole_numbers_are_written_with_all_their_digits(connection: duckdb.DuckDBPyConnection) -> None:
    for value, text in {"1.50::DECIMAL(9,4)": "1.5", "1e15::DOUBLE": "1000000000000000", "-3": "-3"}.items():
        kind = connection.sql(f"SELECT {value} AS v").types[0]
        found = connection.execute(f"SELECT {canonical('v', kind)} FROM (SELECT {value} AS v)").fetchone()
        assert found == (text,)


@pytest.mark.parametrize("kind", ["VARCHAR", "BIGINT", "DECIMAL(9,2)", "DOUBLE", "DATE", "TIMESTAMPTZ", "INTEGER[]"])
def test_null_stays_null(kind: str, connection: duckdb.DuckDBPyConnection) -> None:
    assert made(connection, f"NULL::{kind}") is None


def test_of_a_table_personal_columns_are_dropped_pseudonyms_or_kept(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("""CREATE TABLE people AS SELECT 7 AS "a ""b", 'anna' AS name, 'x' AS mail, 1 AS n""")
    relation = connection.sql("FROM people")
    columns = dict(zip(relation.columns, relation.types, strict=True))
    shown = connection.sql(treated("m", "people", columns, {'a "b': "pseudonym", "name": "drop", "mail": "keep"}))
    assert list(zip(shown.columns, map(str, shown.types), strict=True)) == [
        ('a "b', "VARCHAR"), ("mail", "VARCHAR"), ("n", "INTEGER"),
    ]  # fmt: skip
    assert shown.fetchall() == [(Key(KEY).pseudonym("7"), "x", 1)]


def test_another_key_gives_others_and_has_another_name() -> None:
    one, other = Key(KEY), Key(f"{KEY}!")
    assert one.pseudonym("anna") != other.pseudonym("anna")
    assert one.id != other.id
    assert KEY not in repr(one)


@pytest.mark.parametrize("key", ["", "short", "k" * 15])
def test_a_key_that_could_be_guessed_is_refused_unsaid(key: str) -> None:
    with pytest.raises(ConfigurationError, match="openssl rand") as refused:
        Key(key)
    assert key not in str(refused.value) or not key


def test_no_error_and_no_plan_has_the_key(connection: duckdb.DuckDBPyConnection) -> None:
    kind = connection.sql("SELECT 'x' AS v").types[0]
    sql = f"SELECT {pseudonym('v', kind)} AS p FROM (SELECT 'x' AS v)"
    plans = [str(connection.execute(f"{how} {sql}").fetchall()) for how in ("EXPLAIN", "EXPLAIN ANALYZE")]
    with pytest.raises(duckdb.Error) as failed:
        connection.execute(f"SELECT CAST(p AS INTEGER) FROM ({sql})")
    pads = [bytes(byte ^ pad for byte in KEY.encode()) for pad in (0x36, 0x5C)]
    shown = connection.execute("SELECT $1::BLOB::VARCHAR, $2::BLOB::VARCHAR", pads).fetchone()
    assert shown is not None
    secrets = [KEY, *(pad.hex() for pad in pads), *map(str, shown)]
    for text, secret in itertools.product([sql, *plans, str(failed.value)], secrets):
        assert secret.lower() not in text.lower()


_VARCHAR = duckdb.sqltypes.VARCHAR
