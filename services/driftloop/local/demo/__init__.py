"""The demo: a year of real flights replayed through the running services."""
