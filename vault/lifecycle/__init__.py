"""Erasures, tombstones, key fencing, and the ledger of what a restore must repeat."""
