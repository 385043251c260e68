"""The decisions of the console: what the page shows, from what was heard; no I/O."""
