"""Alerts: incidents, the outbox, channels, the heartbeat.

Belongs here: how people are told. Other rooms: what there is to tell (orchestration/watch).
"""
