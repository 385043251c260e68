"""Telemetry: keeps everything that was said in ClickHouse, once, and answers questions in SQL."""
