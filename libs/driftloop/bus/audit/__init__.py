"""Exact accounting: what the streams hold of each model, against itself and against ClickHouse."""
