"""Customer Data Vault: personal data sealed by field, read for a purpose, on record.

The library door: :func:`open_vault` opens the vault in a folder, :class:`Vault` is what it gives, and
:class:`VaultError` is the root of all errors. They are loaded when first asked for, so that a short command starts
quickly.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vault.bootstrap import Vault, open_vault
    from vault.errors import VaultError

__all__ = ["Vault", "VaultError", "open_vault"]

_AT = {"Vault": "vault.bootstrap", "open_vault": "vault.bootstrap", "VaultError": "vault.errors"}


def __getattr__(name: str) -> Any:
    if name not in _AT:
        raise AttributeError(name)
    return getattr(import_module(_AT[name]), name)
