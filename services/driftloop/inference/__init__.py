"""Answers with the champion and its shadows, and swaps versions without a failed request."""
