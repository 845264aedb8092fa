"""Runbooks: which page says what to do about which failed check, and the page as the UI shows it.

Belongs here: finding the page. Elsewhere: its text (docs/runbooks), who is told of it (problems.py).
"""

from collections.abc import Mapping
from typing import Any, Final

import dagster as dg

from platform_assets.alerts.incidents import Runbook
from platform_assets.project.causes import Cause, Kind
from platform_assets.settings import PROJECT

FOLDER: Final = PROJECT / "docs" / "runbooks"
# Any other check is of a mart or a model.
_OF_CHECKS: Final[Mapping[str, Runbook]] = {
    "receipts_reconcile": "not-reconciled",
    "rejects_within_tolerance": "rows-rejected",
    "volume_as_usual": "volume",
    "no_drift": "drift",
    "no_delivery_quarantined": "delivery-quarantined",
    "nulls_as_usual": "nulls-or-values",
    "values_as_usual": "nulls-or-values",
    "fresh": "missing-delivery",
    "readable": "release-damaged",
}

_OF_KINDS: Final[Mapping[Kind, Runbook]] = {
    "disk low": "disk-low",
    "sensor failed": "sensor-failed",
    "run failed": "run-failed",
    "dbt error": "model-failed",
    "delivery missing": "missing-delivery",
    "would break consumers": "consumer-held",
    "pinned": "pinned",
    "personal data": "personal-data",
}


def of_check(name: str) -> Runbook:
    """The runbook for a check that failed."""
    return _OF_CHECKS.get(name, "mart-broken")


def runbook_of(cause: Cause) -> Runbook:
    """The runbook for a cause that somebody is told of."""
    return _OF_KINDS[cause.kind] if cause.kind in _OF_KINDS else of_check(cause.key.rpartition(":")[2])


def shown(page: Runbook) -> dict[str, Any]:
    """The runbook as metadata: where a person looks at what failed, what to do stands beside it."""
    path = FOLDER / f"{page}.md"
    return {"runbook": dg.MetadataValue.md(path.read_text() if path.exists() else f"docs/runbooks/{page}.md")}
