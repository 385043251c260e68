"""The whole chain: rows and labels in at a rate, and how long until they are scored and joined."""
