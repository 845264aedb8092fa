"""What the marts promise their readers: one file per subject, a contract per mart; dbt_project/models/marts builds them."""
