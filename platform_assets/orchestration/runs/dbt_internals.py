"""What we use of dagster-dbt that it does not offer to its users, because there is no public way.

Belongs here: every import of a private name of dagster-dbt; each is pinned by tests/upstream. Elsewhere: Dagster's
(dagster_internals.py). Apart from those, since importing dagster-dbt takes two seconds that the daemon need not spend.
"""

from dagster_dbt.asset_utils import get_asset_check_key_for_test, get_updated_cli_invocation_params_for_context
from dagster_dbt.core.dbt_cli_event import DbtCoreCliEventMessage

__all__ = [
    "DbtCoreCliEventMessage",
    "get_asset_check_key_for_test",
    "get_updated_cli_invocation_params_for_context",
]
