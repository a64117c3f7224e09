"""Blind indexes: keyed digests by which a sealed value can be found. Pure; the keys are arguments.

A stolen table reveals that records share a value (exact), a beginning (prefix) or an end (last_n), and how often. A
shorter digest (``bits``) blurs this. Each match is verified after unsealing.
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
"""Lengths of the beginnings in a prefix index. One letter would match too many values."""


def digests(keys: IndexKeys, field: Field, value: JsonValue) -> list[bytes]:
    """Return the digests by which a value can be found, each once."""
    if not field.indexes:
        return []
    text = index_text(field.type, value)
    all_digests = [
        keys.digest(_key_name(field, index.kind, part), part, bits=index.bits)
        for index in field.indexes
        for part in _parts(index.kind, text)
    ]
    return list(dict.fromkeys(all_digests))


def search_digest(keys: IndexKeys, field: Field, index: Index, text: str) -> bytes:
    """Return the digest that a search for a normalised text looks up."""
    part = text[: PREFIXES.stop - 1] if index.kind == "prefix" else text
    return keys.digest(_key_name(field, index.kind, part), part, bits=index.bits)


def matches(kind: str, stored: str, text: str) -> bool:
    """Return whether an unsealed, normalised value matches the text of a search."""
    if kind == "exact":
        return stored == text
    if kind == "prefix":
        return stored.startswith(text)
    return stored.endswith(text)


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
    """Return the name of the key. Prefixes of each length have a key of their own, so that digests do not correlate."""
    return f"{field.whole}:{kind}:{len(part)}" if kind == "prefix" else f"{field.whole}:{kind}"
