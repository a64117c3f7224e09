"""What the URL of a database says, for messages."""

from __future__ import annotations

from sqlalchemy import make_url


def place_of(url: str) -> str:
    """Return where a database is: its file, or its name, host and port. A user's name and password are left out."""
    parsed = make_url(url)
    if not is_postgres(url):
        return str(parsed.database)
    host = parsed.host or parsed.query.get("host") or "localhost"
    return f"{parsed.database or 'its default'} at {host}:{parsed.port or parsed.query.get('port') or 5432}"


def is_postgres(url: str) -> bool:
    """Return whether a URL is of PostgreSQL."""
    return make_url(url).get_backend_name().startswith("postgres")
