"""Contracts: what a row must be. Columns, the Pandera model, casts of text, timestamps, the judging of rows, versions.

Belongs here: anything that is said of a row by itself. Other rooms: what an author declares beside it (feed).
"""
