"""Positions: up to where, or in which state, a source has been read.

Belongs here: the type that journal, ledger and published copies keep. Elsewhere: what is in one (sources).
"""

Position = str
"""JSON text that the source wrote and only that source reads; the same state always gives the same text.

It is committed with the receipt of the delivery that was taken in there. A file's is its size, times and inode.
"""
