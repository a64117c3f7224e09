"""Bodies of calls about webhooks."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from vault.api.schemas.subjects import Body


class NewWebhook(Body):
    """The address of an app's webhook."""

    url: Annotated[
        str,
        Field(max_length=2000, description="https, of a public address.", examples=["https://crm.example.org/vault"]),
    ]
