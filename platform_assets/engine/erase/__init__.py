"""Erasing: who was erased, kept as keyed marks without a clear value; copies without their records; certificates.

Belongs here: what can be told of an erased person without knowing who it is. Other rooms: rows and receipts (load).
"""
