"""Samples: whole worlds to try the platform on, each a folder with its simulator, its declarations and its dbt models.

Belongs here: what a deployment can do without. Links in platform_assets and dbt_project make a sample part of it.
"""
