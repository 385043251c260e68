"""Bytes by SHA-256 in the object store: named by what they are, verified when they are read."""
