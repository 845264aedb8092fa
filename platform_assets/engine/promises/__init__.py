"""Promises: which deliveries were due, which came in time and sound, what is left of the budget.

Belongs here: deciding time and soundness by receipts; values in, values out. Other rooms: how people are told (alerts).
"""
