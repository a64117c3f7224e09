"""Sealing, keys and digests. No other package imports `cryptography`."""
