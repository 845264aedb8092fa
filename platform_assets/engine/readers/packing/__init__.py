"""Packed deliveries: .gz, .zst, and .zip with its members."""
