"""Measures what the page about evidence says: errors, power, false alarms, delays, estimates."""
