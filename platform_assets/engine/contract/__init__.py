"""Contracts: what a row must be. Columns, the Pandera model, casts of text, timestamps, validating rows, versions.

Belongs here: anything that is true of a row by itself. Other rooms: what an author declares beside it (feed).
"""
