"""Wrong inputs by the thousand, at every door of the real services: `python -m tests.fuzz`."""
