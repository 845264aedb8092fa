"""The page that lists what one delivery may take says what the code does."""

import re
from datetime import timedelta

from machine import CHECKOUT
from shop import SALES

from platform_assets.engine.durable.disk import Floor
from platform_assets.engine.feed.feed import Files
from platform_assets.engine.load import rows
from platform_assets.engine.readers import budget
from platform_assets.engine.readers.csv import dialect
from platform_assets.engine.readers.json import fields
from platform_assets.engine.readers.limits import LIMITS
from platform_assets.engine.readers.packing import zip as packed
from platform_assets.engine.readers.parquet import columnar
from platform_assets.engine.readers.xml import reader, stream

PAGE = (CHECKOUT / "docs" / "reference" / "limits.md").read_text()


def test_every_limit_is_told_as_it_is() -> None:
    told = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|", PAGE.partition("## What one delivery may take")[2], re.M))
    files = Files("*")
    assert files.longest == timedelta(minutes=5)
    expected = {
        "bytes of the file": f"{files.largest // 10**9} GB",
        "time to read it": f"5 minutes, and a second for each {budget._BYTES_A_SECOND >> 20} MB",
        "columns": f"{SALES.most_columns:,}",
        "undeclared columns": f"{SALES.most_undeclared}",
        "what it decodes to": f"{budget.RATIO_CAP} times its size, or {budget._FREE >> 20:,} MB",
        "what a packed file unpacks to": f"{budget.RATIO_CAP} times its size, or {LIMITS.unpacked >> 20} MB",
        "members of a zip": f"{packed._MOST_MEMBERS:,}",
        "a line of text": f"{LIMITS.record >> 20} MB",
        "a CSV record that spans lines": f"{LIMITS.over_lines >> 20} MB",
        "the header of a CSV": f"{dialect.SAMPLE >> 20} MB",
        "columns of Parquet": f"{fields._MOST_COLUMNS:,}",
        "nested elements of XML": f"{stream._DEEPEST}",
        "values in a record of JSON": f"{fields._MOST_VALUES:,}",
        "memory of the process": f"{LIMITS.parser_memory >> 20:,} MB",
    }
    for name, limit in expected.items():
        assert any(each.startswith(name) and text.startswith(limit) for each, text in told.items()), name
    assert f"{rows._FLUSH_BYTES >> 20} MB, or {rows._FLUSH_ROWS:,} rows" in PAGE
    assert (columnar._MOST_COLUMNS, reader._MOST_COLUMNS) == (fields._MOST_COLUMNS, fields._MOST_COLUMNS)
    assert (columnar._RATIO_CAP, columnar._RATIO_FREE) == (budget.RATIO_CAP, budget._FREE)
    assert stream._MOST_ELEMENTS == fields._MOST_VALUES
    assert LIMITS.record == columnar._LONGEST_ROW
    assert (Floor().size, Floor().share) == (10**9, 0.05)
