"""Sends notifications: channels, their secrets, and the one owner who keeps the book."""
