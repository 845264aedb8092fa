"""Benchmarks: every speed claim, as ratios against named peers, by one command (make bench, docs/benchmarks.md).

Belongs here: what is measured (workloads.py), how (harness.py, child.py) and the table (report.py). Elsewhere: code of
the platform. ours.py drives the real engine, bare.py DuckDB alone; peers.py runs in an environment of its own.
"""
