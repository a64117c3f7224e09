"""The HTTP API for apps, under ``/v1``."""
