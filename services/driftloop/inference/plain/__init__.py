"""Predictions in Driftloop's own formats: rows by name or a matrix, as JSON, MessagePack, Arrow."""
