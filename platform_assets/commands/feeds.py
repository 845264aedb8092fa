"""Feeds that are no longer declared: what is kept of them, dropping it, taking it over under another name.

Belongs here: the whole of each verb, with the audit log and the incidents. Elsewhere: the work (engine/undeclared.py).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from platform_assets.engine.store.undeclared import Left
from platform_assets.engine.undeclared import drop_feed, rename_feed, undeclared_feeds
from platform_assets.project.configured import audit_log, configured_alerts, declared_feeds, prepared_deployment
from platform_assets.project.dbt_sources import follow_feeds
from platform_assets.project.manifest import DBT_PROJECT, dbt_files
from platform_assets.settings import person

_READS: Final = r"""\bsource\(\s*["']\w+["']\s*,\s*["']{}["']\s*\)"""


@dataclass(frozen=True)
class Renamed:
    """What was taken over. models: files of the dbt project that still read the old name."""

    feed: str
    was: str
    rows: int
    deliveries: int
    models: tuple[str, ...]


def dropped(name: str, sure: Callable[[Left], None], tell: Callable[[str], None]) -> Left:
    """Remove what is kept of a feed that is not declared, once `sure` has not raised."""
    _, deployment = prepared_deployment(tell)
    for left in undeclared_feeds(deployment):
        if left.feed == name:
            sure(left)
    with audit_log(deployment.home).doing(person(), "feed drop", {"feed": name}) as came:
        left = drop_feed(deployment, name)
        came.update(rows=left.rows, rejected=left.rejected, deliveries=left.deliveries)
    return left


def renamed(old: str, new: str, tell: Callable[[str], None]) -> Renamed:
    """Let what is kept of the feed `old` be kept of `new`."""
    _, deployment = prepared_deployment(tell)
    with audit_log(deployment.home).doing(person(), "feed rename", {"feed": old, "to": new}) as came:
        alerts, origin = configured_alerts(tell, to_send=False), deployment.feed(new).origin
        left = rename_feed(deployment, old, new, lambda: alerts.rename(old, new, origin))
        came.update(rows=left.rows, deliveries=left.deliveries)
    follow_feeds(declared_feeds(), tell)
    reads = re.compile(_READS.format(old))
    models = [
        path.relative_to(DBT_PROJECT).as_posix()
        for path in dbt_files()
        if path.suffix == ".sql" and reads.search(path.read_text(errors="replace"))
    ]
    return Renamed(new, old, left.rows, left.deliveries, tuple(models))
