"""Merge two subjects that are one person. A merge loses no data and never widens a permission."""
