"""Dagster: feeds become assets, checks, freshness policies and sensors; dbt's models and the release follow.

Belongs here: translating the engine into Dagster's terms. Elsewhere: any rule about data (engine).
"""
