"""What a verb does as a whole, where that takes Dagster: run, ci.

Belongs here: putting rooms together for one purpose. Other rooms: arguments and output (cli).
"""
