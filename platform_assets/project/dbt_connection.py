"""dbt's connection, locked as the engine's are: dbt-duckdb loads this as the plugin that profiles.yml names.

Belongs here: what dbt may reach beside the two databases. Elsewhere: the lock (engine/store/connection.py).
"""

from typing import Any

from dbt.adapters.duckdb.plugins import BasePlugin

from platform_assets.engine.store.connection import lock
from platform_assets.project.manifest import DBT_PROJECT


class Plugin(BasePlugin):
    """Locks the connection before the databases are attached, which are the ones that the profile names.

    Its configuration: `directories`, relative to the dbt project, which models and seeds may read and write.
    """

    def initialize(self, plugin_config: dict[str, Any]) -> None:
        """Take the configuration."""
        self._directories = [str(DBT_PROJECT / each) for each in plugin_config.get("directories", ())]

    def configure_connection(self, conn: Any) -> None:  # noqa: ANN401 - DuckDB's, which the store alone knows
        """Lock it."""
        assert self.creds is not None
        files = [self.creds.path, *(each.path for each in self.creds.attach or ())]
        lock(conn, files, self._directories, self.creds.settings or ())
