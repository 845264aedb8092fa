"""JSON: documents and lines, their records and nested fields."""
