"""Keys of assets, and the pool of the one writer: the names that the rest of this package shares.

Belongs here: names. Does not: anything that a name stands for.
"""

from typing import Final

import dagster as dg

from platform_assets.engine.feed import Feed
from platform_assets.engine.mart import Mart

WRITER_POOL: Final = "duckdb_writer"
RELEASE_KEY: Final = dg.AssetKey("release")


def deliveries_key(feed: Feed) -> dg.AssetKey:
    """The key of what the producer delivers, ahead of anything we make of it."""
    return dg.AssetKey(["deliveries", feed.origin, feed.name])


def raw_key(feed: Feed) -> dg.AssetKey:
    """The key of a feed's accepted rows."""
    return dg.AssetKey(["raw", feed.origin, feed.name])


def quarantine_key(feed: Feed) -> dg.AssetKey:
    """The key of a feed's rejected rows."""
    return dg.AssetKey(["quarantine", feed.origin, feed.name])


def mart_key(mart: Mart) -> dg.AssetKey:
    """The key of a mart's table."""
    return dg.AssetKey(["marts", mart.name])
