"""What this deployment ingests: one file per source system. Delete a file to remove its feeds, add one to add them."""
