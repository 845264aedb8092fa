"""The web: what a browser meets before Dagster's UI. The guard, logins, users, the shared view.

Belongs here: who may ask what of a port. Elsewhere: Dagster's processes (orchestration/runs), the verb (commands)."""
