"""Runs: when one is due, how it is launched, which process executes it, and Dagster's terms for what is ours.

Belongs here: keys, tags, conditions, launching. Other rooms: assets (orchestration), what is seen of them (watch).
"""
