"""Blind indexes: which keyed digests lead to a value. Pure; the digests' keys are handed in.

What they give away, whoever steals the table: that two records share a value (exact), a beginning (prefix) or an end
(last_n), and how often. A shorter digest (``bits``) blurs that; what is found is always checked after unsealing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault.catalogue.types import index_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vault.catalogue.model import Field, Index
    from vault.catalogue.types import JsonValue
    from vault.crypto.derive import IndexKeys

PREFIXES = range(2, 9)
"""Lengths of the beginnings that a prefix index knows. One letter would match too many to be a search."""


def digests(keys: IndexKeys, field: Field, value: JsonValue) -> list[bytes]:
    """List the digests under which a value is to be found, each once."""
    if not field.indexes:
        return []
    text = index_text(field.type, value)
    found = [
        keys.digest(_key_name(field, index.kind, part), part, bits=index.bits)
        for index in field.indexes
        for part in _parts(index.kind, text)
    ]
    return list(dict.fromkeys(found))


def search_digest(keys: IndexKeys, field: Field, index: Index, text: str) -> bytes:
    """Return the digest under which a search for a normalised text looks."""
    part = text[: PREFIXES.stop - 1] if index.kind == "prefix" else text
    return keys.digest(_key_name(field, index.kind, part), part, bits=index.bits)


def matches(kind: str, stored: str, wanted: str) -> bool:
    """Tell whether a value, unsealed and normalised, really is what was searched for."""
    if kind == "exact":
        return stored == wanted
    if kind == "prefix":
        return stored.startswith(wanted)
    return stored.endswith(wanted)


def tail_length(kind: str) -> int:
    """Return the ``n`` of ``last_<n>``."""
    return int(kind.removeprefix("last_"))


def _parts(kind: str, text: str) -> Iterable[str]:
    if kind == "exact":
        return (text,)
    if kind == "prefix":
        return (text[:size] for size in PREFIXES if size <= len(text))
    size = tail_length(kind)
    return (text[-size:],) if len(text) >= size else ()


def _key_name(field: Field, kind: str, part: str) -> str:
    """Name the key: prefixes of different lengths have different keys, so that none can be told from another's."""
    return f"{field.whole}:{kind}:{len(part)}" if kind == "prefix" else f"{field.whole}:{kind}"
