"""Backups: made, tried, thinned out, restored, and made good by the ledger of tombstones."""
