"""This deployment, without Dagster: declarations, dbt's manifest, the graph of assets, what of it is out of date.

Belongs here: what is known without a run. Other rooms: runs and assets (orchestration).
"""
