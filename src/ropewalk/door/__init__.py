"""Ordinary HTTP clients of an attempt: their connections, as a proxy serves them, under the same guard as `Network.fetch`."""
