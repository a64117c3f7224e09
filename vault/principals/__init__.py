"""Callers: apps with API keys, staff with OIDC tokens, and their rate limits."""
