"""Readers with an older DuckDB: a release is opened, and read exactly, by the oldest that is promised."""

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Final

import duckdb
import pytest
from machine import missing
from shop import Shop
from sql_types import LEAVES

from platform_assets.engine.store.sql import quote

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

OLDEST: Final = "1.4.0"
_TYPES: Final = {f"m{at}": kind for at, kind in enumerate(sorted(LEAVES))}
_READS: Final = """
import duckdb, json, sys
with duckdb.connect(sys.argv[1], read_only=True) as connection:
    marts = connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal ORDER BY 1").fetchall()
    told = {}
    for (mart,) in marts:
        types = [kind for _, kind, *_ in connection.execute(f"DESCRIBE {mart}").fetchall()]
        texts = "SELECT v::VARCHAR, l[1]::VARCHAR, s.s::VARCHAR"
        told[mart] = [types, connection.execute(f"{texts} FROM {mart}").fetchall()]
    print(json.dumps({"version": duckdb.__version__, "marts": told}))
"""


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has the older DuckDB, and nothing of ours."""
    folder = tmp_path_factory.mktemp("older")
    try:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True)
        pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, f"duckdb=={OLDEST}"], check=True, capture_output=True, timeout=200)
    except (OSError, subprocess.SubprocessError) as error:
        missing(f"duckdb {OLDEST} cannot be installed here: {error}")
    return folder / "bin/python"


def test_the_oldest_client_that_is_promised_reads_every_type_of_a_release(shop: Shop, older: Path) -> None:
    with closing(duckdb.connect(str(shop.deployment.warehouse.marts))) as marts:
        for mart, kind in _TYPES.items():
            rows = [
                f"SELECT {each} AS v, [{each}] AS l, {{'s': {each}}} AS s"
                for each in (f"CAST({value} AS {kind})" for value in (*LEAVES[kind], "NULL"))
            ]
            marts.execute(f"CREATE TABLE {quote(mart)} AS {' UNION ALL '.join(rows)}")
            marts.execute(f"COMMENT ON TABLE {quote(mart)} IS 'each value of a type'")
    releases = shop.deployment.releases
    releases.publish(shop.deployment.warehouse, shop.clock(), list(_TYPES))
    read = [subprocess.run([python, "-c", _READS, releases.link], check=True, capture_output=True, text=True)
            for python in (older, Path(sys.executable))]  # fmt: skip
    theirs, ours = (json.loads(each.stdout) for each in read)
    assert theirs["version"] == OLDEST
    assert theirs["marts"] == ours["marts"]
    assert len(ours["marts"]) == len(LEAVES)
