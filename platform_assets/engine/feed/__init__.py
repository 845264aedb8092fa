"""Feeds and marts as their authors declare them: source, cadence, formats, policies, owner.

Belongs here: declarations and what is computed from them alone. Other rooms: rows (contract), files (sources).
"""
