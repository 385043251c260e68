"""Notifications: which facts are told to whom, in which words, and what has been told already."""
