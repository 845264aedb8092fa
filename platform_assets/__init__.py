"""An asset-oriented data platform: drop a file, get a trusted table."""
