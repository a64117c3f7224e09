"""Sealing, keys and digests: the only rooms of the house that `cryptography` is let into."""
