"""XML: its records and their fields."""
