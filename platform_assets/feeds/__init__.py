"""What this deployment ingests: one file per source system.

Belongs here: declarations, made of `platform_assets` alone. Deleting a file removes its feeds, adding one adds them.
"""
