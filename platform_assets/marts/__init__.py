"""What the marts promise their readers: one file per subject, a contract per mart.

Belongs here: contracts, the one declaration of a mart's columns. Elsewhere: how marts are built (dbt_project/models).
"""
