"""Definitions carried out of vault.requests.model."""

from __future__ import annotations

import msgspec


class Scope(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a request is about; empty: everything.

    Attributes:
        fields: whole names of fields.
        collections: names of collections.
        purposes: names of purposes.
    """

    fields: tuple[str, ...] = ()
    collections: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()
