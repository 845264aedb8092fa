"""Exports: the marts of a release as tables of another database, PostgreSQL or SQLite, whole or not at all.

Belongs here: types there, what is written, the transaction it comes in. Other rooms: reading a release's rows (store).
"""
