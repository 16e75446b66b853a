"""The host's answers to what guests ask: one file per tool, and what they share (`interface`)."""
