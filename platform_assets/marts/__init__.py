"""What the marts promise their readers: one file per subject, a contract per mart.

Belongs here: contracts. Does not: how the marts are built (dbt_project/models/marts).
"""
