"""Backups: the sealed file, the manifest, and the copies of each kind of database."""
