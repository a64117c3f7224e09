"""Backups: make, verify, prune and restore them, and replay what happened since."""
