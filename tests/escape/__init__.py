"""Attacks by hostile twists. A package, so that its sandboxes end when the last of its tests has run."""
