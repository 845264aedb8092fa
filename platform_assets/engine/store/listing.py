"""Deliveries as a person looks for them: by status and file, and those that somebody decided something about.

Belongs here: choosing receipts. Elsewhere: the ledger (ledger.py), what a decision does (load/decisions.py).
"""

from collections.abc import Collection

import duckdb

from platform_assets.engine.store.ledger import Ledger
from platform_assets.engine.store.receipts import Receipt


class Listing:
    """The receipts of a feed, through one open connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, feed: str) -> None:
        self._connection = connection
        self._feed = feed

    def newest(self, most: int, *, status: str | None = None, file: str | None = None) -> list[Receipt]:
        """At most so many receipts, newest first, of this status, and of files that fit the pattern (`*` and `?`)."""
        return self._where(
            "($2 IS NULL OR status = $2) AND ($3 IS NULL OR slot GLOB $3) ORDER BY delivery_id DESC LIMIT $4",
            status,
            file,
            most,
        )

    def of_content(self, fingerprint: str) -> list[Receipt]:
        """The deliveries that brought this content, newest first."""
        return self._where("fingerprint = $2 ORDER BY delivery_id DESC", fingerprint)

    def decided(self, contents: Collection[str] = (), files: Collection[str] = ()) -> list[Receipt]:
        """The deliveries whose receipts tell of a decision; and those of these contents, or of these files where they
        have none."""
        return self._where(
            "(withdrawn IS NOT NULL OR allowed IS NOT NULL OR list_contains($2::VARCHAR[], fingerprint) "
            "OR (fingerprint IS NULL AND list_contains($3::VARCHAR[], slot))) ORDER BY delivery_id",
            list(contents),
            list(files),
        )

    def _where(self, condition: str, *values: object) -> list[Receipt]:
        # Their ids first: of whole receipts DuckDB would sort and keep megabytes.
        ids = self._connection.execute(
            f"SELECT delivery_id FROM ledger.deliveries WHERE feed = $1 AND {condition}", [self._feed, *values]
        ).fetchall()
        found = {receipt.delivery_id: receipt for receipt in Ledger(self._connection).by_id(id for (id,) in ids)}
        return [found[id] for (id,) in ids]
