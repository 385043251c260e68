"""The dashboard and the operator API: everything on one live page."""
