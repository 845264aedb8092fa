"""Watching: what is seen of runs, checks and deliveries, and the problems that come of it.

Belongs here: observed state, problems, why, freshness, runbooks. Other rooms: how people are told (alerts).
"""
