"""Workbooks: sheets and cells, parsed by a program of its own."""
