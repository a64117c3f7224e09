"""The catalogue: collections, fields, types, purposes, notices and retention rules."""
