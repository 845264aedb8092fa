"""Keys of assets, names of sensors, the pool of the one writer: the names that the rest of this package shares.

Belongs here: names. Elsewhere: what they stand for.
"""

from typing import Final

import dagster as dg

from platform_assets.engine.feed.feed import Feed
from platform_assets.project.graph import raw_name
from platform_assets.project.products import ReleasedProduct

WRITER_POOL: Final = "duckdb_writer"
# On runs that sensors and automation ask for: what they find to be done already, or not yet possible, is no failure.
BY_ITSELF_TAG: Final = "platform/by_itself"
# On runs that a command asked for: the command, so that who looks at the list of runs knows what each is.
BY_COMMAND_TAG: Final = "platform/command"
RUN: Final = "platform run"
CI: Final = "platform ci"
# On runs that left something unmade because a blocking check failed.
HELD_TAG: Final = "platform/held_back"
# The metadata of an observation that says that an asset was not made, and why.
HELD: Final = "held_back_by"


def release_key(product: ReleasedProduct) -> dg.AssetKey:
    """The key of the product's releases."""
    return dg.AssetKey(product.release.split("/"))


def is_export(key: dg.AssetKey) -> bool:
    """Whether the asset is what another database holds."""
    return key.path[0] == "export"


def deliveries_key(feed: Feed) -> dg.AssetKey:
    """The key of what the producer delivers, ahead of anything we make of it."""
    return dg.AssetKey(["deliveries", feed.origin, feed.name])


def raw_key(feed: Feed) -> dg.AssetKey:
    """The key of a feed's accepted rows."""
    return dg.AssetKey(raw_name(feed).split("/"))


def quarantine_key(feed: Feed) -> dg.AssetKey:
    """The key of a feed's rejected rows."""
    return dg.AssetKey(["quarantine", feed.origin, feed.name])


def sensor_name(feed: Feed) -> str:
    """The name of the sensor that looks for the feed's files."""
    return f"{feed.name}_files"


def feed_tag(feed: Feed) -> str:
    """The tag of every run that loads the feed; its value is `true`. A run may load several."""
    return f"platform/feed.{feed.name}"


def targets_of(run: dg.DagsterRun) -> frozenset[dg.AssetKey] | None:
    """The assets that a run names to be made; None where it names nothing, which means all."""
    if not run.asset_selection and not run.asset_check_selection:
        return None
    return frozenset(run.asset_selection or ())


def mart_key(mart: str) -> dg.AssetKey:
    """The key of the table of the mart that is called so."""
    return dg.AssetKey(["marts", mart])
