"""The processes in which shadow versions answer, and what they say to the service."""
