"""Anomalies: volume, nulls and values of a delivery against its feed's own history.

Belongs here: what is unusual, though no rule is broken. Other rooms: rules (contract), time (promises).
"""
