"""Keeping secrets: what is sealed in the database, the keys that open it, and what hides them in texts."""
