"""The label join, the only one in the system: scored rows and labels in, outcomes out."""
