"""Request bodies about packages."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from vault.api.schemas.subjects import Body


class DownloadPackage(Body):
    """How to encrypt a package."""

    passphrase: Annotated[
        str,
        Field(
            max_length=2_000,
            description="Encrypts the file, 12 characters or more; `age -d` or `cdv packages open` opens it.",
            examples=["correct horse battery staple"],
        ),
    ]


class SendPackage(Body):
    """Where to send a portability package."""

    url: Annotated[
        str,
        Field(
            max_length=2_000,
            description="The other controller's address for it, https.",
            examples=["https://other.example.org/inbox"],
        ),
    ]
