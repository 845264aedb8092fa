"""Parquet: columns and row groups, parsed by a program of its own."""
