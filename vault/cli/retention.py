"""``cdv retention``: until when values are kept, on which grounds, and what happens when their time is up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault.cli import retention_events, retention_reviews, retention_sweeps, retention_why
from vault.cli.options import make_group

if TYPE_CHECKING:
    import typer

SUBJECT = "0199aabb-0000-7000-8000-000000000001"

app = make_group(
    "Retention: until when values are kept and why, what is due, sweeps, events, reviews.",
    f"cdv retention why {SUBJECT} birth_date",
)


def register(root: typer.Typer) -> None:
    """Add the group. A module that brings more of its commands has a ``register`` of its own, called here."""
    retention_why.register(app)
    retention_events.register(app)
    retention_reviews.register(app)
    retention_sweeps.register(app)
    root.add_typer(app, name="retention")
