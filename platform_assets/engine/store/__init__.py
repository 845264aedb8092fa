"""The store: the one owner of connection and transaction. Ledger, feed tables, quarantine, builds, releases.

Belongs here: SQL of the warehouse. Other rooms: what one transaction does with it (load).
"""
