"""The engine: deliveries, contracts, receipts, promises, releases.

Knows nothing of Dagster, dbt, the environment or the feeds a deployment declares.
"""
