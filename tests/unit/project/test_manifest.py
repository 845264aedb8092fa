"""dbt's manifest as the platform keeps it. Elsewhere: what is made of it (tests/graph)."""

import json

from platform_assets.project.manifest import DBT_PROJECT, current_manifest


def test_what_dbt_by_hand_leaves_behind_is_not_what_the_platform_builds_by() -> None:
    kept = current_manifest()
    by_hand = DBT_PROJECT / "target" / "manifest.json"
    before = by_hand.read_bytes() if by_hand.exists() else None
    by_hand.write_text("{}")
    try:
        assert current_manifest() == kept
        assert json.loads(kept.read_bytes())["metadata"]["project_name"] == "platform"
    finally:
        if before is None:
            by_hand.unlink()
        else:
            by_hand.write_bytes(before)
