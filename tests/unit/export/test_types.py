"""Types: what a consumer reads from the other database is the mart's value, or the mart is refused by name."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from uuid import UUID

import pytest
from databases import There

from platform_assets.engine.export.database import ExportRefused

ONE = """
SELECT true AS yes, (-128)::TINYINT AS tiny, 255::UTINYINT AS utiny,
    32767::SMALLINT AS small, 65535::USMALLINT AS usmall,
    (-2147483648)::INTEGER AS whole, 4294967295::UINTEGER AS uwhole, (-9223372036854775807)::BIGINT AS large,
    (SELECT sum(range) FROM range(6)) AS summed, 0.1::DOUBLE AS part, 1e300::DOUBLE AS huge,
    'inf'::DOUBLE AS endless, 0.1::FLOAT AS rough,
    12.50::DECIMAL(18,2) AS price, (-0.001)::DECIMAL(9,3) AS small_price,
    E'a "b", c\\nd\\r\\n\\\\.\\té' AS text, '' AS empty, NULL::VARCHAR AS missing, E'\\\\.' AS dot,
    DATE '2026-03-01' AS day, DATE 'infinity' AS never, TIME '23:59:59.5' AS clock,
    TIMESTAMP '2026-03-01 10:00:00.000001' AS at, TIMESTAMP_S '2026-03-01 10:00:00' AS at_s,
    TIMESTAMP_NS '2026-03-01 10:00:00.000001' AS at_ns, TIMESTAMPTZ '2026-03-01 10:00:00+02' AS instant,
    '12345678-1234-5678-1234-567812345678'::UUID AS id, '\\x00\\xFF'::BLOB AS bytes,
    '{"b": 1, "a": [1.0, null]}'::JSON AS json, [1, NULL, 3] AS several, {'b': 'x', 'a': [0.25::DOUBLE]} AS nested,
    MAP {'z': 1, 'a': 2} AS by_name, 'red'::ENUM('red', 'blue') AS colour, [DATE '2026-03-01'] AS days

"""


def test_each_type_is_read_as_the_mart_has_it(pg: There) -> None:
    pg.export(pg.release("r1", everything=ONE))

    (row,) = pg.ask(
        "SELECT summed, price, text, empty, missing, dot, day, clock, at, at_ns, instant, id, bytes, json, several, "
        "nested, by_name, colour, huge, endless, rough, yes FROM everything"
    )
    assert row == (
        *(15, Decimal("12.50"), 'a "b", c\nd\r\n\\.\té', "", None, "\\.", date(2026, 3, 1), time(23, 59, 59, 500_000)),
        *(datetime(2026, 3, 1, 10, 0, 0, 1), datetime(2026, 3, 1, 10, 0, 0, 1)),  # noqa: DTZ001 - as it is there
        *(datetime(2026, 3, 1, 8, tzinfo=UTC), UUID("12345678-1234-5678-1234-567812345678"), b"\x00\xff"),
        *({"b": 1, "a": [1.0, None]}, [1, None, 3], {"b": "x", "a": [0.25]}, {"z": 1, "a": 2}, "red"),
        *(1e300, float("inf"), pytest.approx(0.1), True),
    )
    kinds = dict(
        pg.ask("SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'everything'")
    )
    assert kinds["price"] == kinds["summed"] == "numeric"
    assert kinds["several"] == kinds["nested"] == kinds["json"] == "jsonb"
    assert (kinds["id"], kinds["bytes"], kinds["instant"]) == ("uuid", "bytea", "timestamp with time zone")
    assert pg.export(pg.release("r1", everything=ONE)).written == []


def test_each_type_is_read_from_sqlite_too(there: There) -> None:
    there.export(there.release("r1", everything=ONE))
    assert there.export(there.release("r1", everything=ONE)).written == []


def test_a_decimal_is_a_number_in_sqlite(there: There) -> None:
    there.export(there.release("r1", prices="SELECT 12.50::DECIMAL(18,2) AS price UNION ALL SELECT 9"))

    assert there.ask("SELECT sum(price) FROM prices WHERE price > 10") == [(pytest.approx(12.5),)]


def test_nan_is_nan_in_postgresql(pg: There) -> None:
    pg.export(pg.release("r1", n="SELECT 'nan'::DOUBLE AS x UNION ALL SELECT '-inf'::FLOAT"))

    assert pg.ask("SELECT count(*) FROM n WHERE x = 'NaN'") == [(1,)]


NUL = "'a' || chr(0)"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (NUL, "character NUL"),
        (f"[{NUL}]", "character NUL"),
        (f"{{'a': {NUL}}}", "character NUL"),
        ("DATE '0044-03-15 (BC)'", "before the year 1"),
        ("TIMESTAMP_NS '2026-03-01 10:00:00.000000001'", "finer than a microsecond"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_row_and_column(there: There, value: str, why: str) -> None:
    rows = f"SELECT NULL::VARCHAR AS ok, x FROM (SELECT 1 AS n, {value} AS x UNION ALL SELECT 0, NULL) ORDER BY n"

    with pytest.raises(ExportRefused, match=rf"odd\.x .*{why}.*, first in row 2 of the release"):
        there.export(there.release("r1", odd=rows))
    assert there.held() == {}


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("'nan'::DOUBLE", "NaN"),
        ("18446744073709551615::UBIGINT", "larger than SQLite's whole numbers"),
        ("12345678901234567.25::DECIMAL(20,2)", "15 digits"),
    ],
)
def test_what_sqlite_has_no_number_for_is_refused(there: There, value: str, why: str) -> None:
    out = there.release("r1", odd=f"SELECT {value} AS x")
    if there.schema is not None:
        there.export(out)
        return
    with pytest.raises(ExportRefused, match=rf"odd\.x .*{why}"):
        there.export(out)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("INTERVAL 1 DAY", "INTERVAL"),
        ("'101'::BIT", "BIT"),
        ("union_value(n := 1)", "UNION"),
        ("[INTERVAL 1 DAY]", "INTERVAL"),
    ],
)
def test_a_type_that_is_not_there_is_refused_by_name(there: There, value: str, kind: str) -> None:
    with pytest.raises(ExportRefused, match=rf"odd\.x is of type .*{kind}"):
        there.export(there.release("r1", odd=f"SELECT {value} AS x"))


@pytest.mark.parametrize(("mart", "column"), [("m" * 54, "x"), ("m", "c" * 64), ("m", "ü" * 32)])
def test_a_name_that_postgresql_would_cut_is_refused(pg: There, mart: str, column: str) -> None:
    with pytest.raises(ExportRefused, match="longer than the 63 bytes"):
        pg.export(pg.release("r1", **{mart: f'SELECT 1 AS "{column}"'}))


def test_a_name_that_postgresql_keeps_for_itself_is_refused(pg: There) -> None:
    with pytest.raises(ExportRefused, match=r"m\.xmin: PostgreSQL has a column of that name"):
        pg.export(pg.release("r1", m="SELECT 1 AS xmin"))
