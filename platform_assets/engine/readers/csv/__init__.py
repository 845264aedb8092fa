"""Delimited text: its dialect, its records, and the fast way where it is proved safe."""
