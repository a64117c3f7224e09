"""The public keys of an issuer (RFC 7517), read from a URL or a file and cached."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from joserfc import jwk
from joserfc.errors import JoseError
from joserfc.util import base64_to_int

from vault.errors import Misconfigured, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from joserfc.jwk import Key

_MOST_BYTES = 256 * 1024
_FRESH = 600.0  # seconds after which the keys are read again: how long a key that the issuer withdrew may still work
_STALE = 3600.0  # seconds for which they are used while they cannot be read again
_BETWEEN = 30.0  # least seconds between two readings, however many unknown key ids are presented
_BETWEEN_FIRST = 5.0  # the same while there are no keys at all


def is_url(location: str) -> bool:
    """Return whether a JWKS location is a URL and not a file.

    Raises:
        Misconfigured: it is a URL without TLS.
    """
    if "://" not in location:
        return False
    try:
        url = httpx.URL(location)
    except httpx.InvalidURL:
        raise Misconfigured("the JWKS of an issuer has a URL that cannot be read") from None
    if url.scheme == "https" or (url.scheme == "http" and _is_loopback(url.host)):
        return True
    raise Misconfigured(
        "the JWKS of an issuer must come by https", hint="Plain http is for an issuer on the loopback address only."
    )


class Jwks:
    """One issuer's signing keys.

    Args:
        location: an https URL, a loopback http URL, or the path of a file.
        timeout: seconds that one fetch may take as a whole.
        monotonic: seconds from any start, for the ages.

    Raises:
        Misconfigured: the URL is not protected, or there is no such file.
    """

    def __init__(self, location: str, *, timeout: float = 5.0, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._location = location
        self._by_url = is_url(location)
        if not self._by_url and not Path(location).is_file():
            raise Misconfigured("the JWKS file of an issuer is not there")
        self._timeout = timeout
        self._monotonic = monotonic
        self._keys: dict[str, Key] = {}
        self._read_at = 0.0
        self._tried_at: float | None = None
        self._reading = asyncio.Lock()

    async def key(self, kid: str | None) -> Key | None:
        """Return the key with this id; without an id the only key, if there is but one (OIDC Core §10.1).

        For an unknown id the set is read again, at most once in 30 s.

        Raises:
            Unavailable: there are no keys that are fresh enough to be trusted.
        """
        key = self._find(kid)
        if key is not None and self._age() < _FRESH:
            return key
        # A caller whose key is only due for renewal does not wait for the renewal.
        if key is None or not self._reading.locked():
            async with self._reading:
                if self._may_read(kid):
                    await self._read()
        if not self._keys or self._age() >= _STALE:
            raise Unavailable("the signing keys of the token's issuer cannot be read")
        return self._find(kid)

    def _age(self) -> float:
        return self._monotonic() - self._read_at if self._keys else float("inf")

    def _find(self, kid: str | None) -> Key | None:
        if kid is not None:
            return self._keys.get(kid)
        return next(iter(self._keys.values())) if len(self._keys) == 1 else None

    def _may_read(self, kid: str | None) -> bool:
        if self._find(kid) is not None and self._age() < _FRESH:
            return False  # another call has read them in the meantime
        if self._tried_at is None:
            return True
        return self._monotonic() - self._tried_at >= (_BETWEEN if self._keys else _BETWEEN_FIRST)

    async def _read(self) -> None:
        self._tried_at = self._monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                text = await (self._fetch() if self._by_url else asyncio.to_thread(Path(self._location).read_bytes))
            keys = usable_keys(json.loads(text))
        except (httpx.HTTPError, OSError, TimeoutError, ValueError, RecursionError):
            keys = {}  # the present keys are used until they are stale; then the error is Unavailable
        # The pause counts from the end, so that a call that waited for a failed fetch does not start the next one.
        self._tried_at = self._monotonic()
        if keys:
            self._keys = keys
            self._read_at = self._tried_at

    async def _fetch(self) -> bytes:
        # Proxies are not taken from the environment: only the settings decide where the vault connects to. The system's
        # own trust store joins the bundled one, for an issuer behind a company's own authority.
        trust = httpx.create_ssl_context(trust_env=False)
        trust.load_default_certs()
        async with (
            httpx.AsyncClient(verify=trust, trust_env=False, timeout=self._timeout) as client,
            client.stream("GET", self._location, headers={"Accept": "application/json"}) as answer,
        ):
            answer.raise_for_status()
            body = b""
            async for part in answer.aiter_bytes():
                body += part
                if len(body) > _MOST_BYTES:
                    raise ValueError("the JWKS is too large")
            return body


def usable_keys(document: object) -> dict[str, Key]:
    """Return the keys of a JWKS that may check a signature here, by key id, or by thumbprint if a key has none.

    Other keys are skipped, so that they do not invalidate the set (RFC 7517 §5): symmetric keys, which would allow
    algorithm confusion, other curves, RSA below 2048 bits, keys for encryption.
    """
    entries = document.get("keys") if isinstance(document, dict) else None
    keys: dict[str, Key] = {}
    for entry in entries if isinstance(entries, list) else []:
        key = _usable(entry)
        if key is not None:
            key.ensure_kid()
            keys.setdefault(str(key.kid), key)
    return keys


def _usable(entry: object) -> Key | None:
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    form = (entry.get("kty"), entry.get("crv"))
    if form not in {("RSA", None), ("EC", "P-256"), ("OKP", "Ed25519")}:
        return None
    try:
        # SP 800-131A: no signature by less than 2048 bits counts.
        if form[0] == "RSA" and base64_to_int(entry["n"]).bit_length() < 2048:
            return None
        return jwk.import_key(entry)
    except (JoseError, ValueError, TypeError, KeyError):
        return None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
