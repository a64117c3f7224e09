"""Every answer that a test gets over HTTP is held against the OpenAPI document.

Clients that are generated from the document fail on an answer that it does not describe, and no test of one route looks
at all that an answer holds. So the clients of the tests look at each answer themselves: the status must be documented,
the media type and the body must be those of the status. A schema's members are all that there may be: what the document
does not name is a mismatch as well, although JSON Schema lets it pass.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import httpx
import jsonschema_rs
import msgspec

from vault.http.problems import MEDIA_TYPE as PROBLEM

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
DOCUMENT: Final = "/openapi.json"
"""It does not describe itself."""
NO_OPERATION: Final = frozenset({"404", "405", "422"})
"""What an address or method that the document does not have is answered: unknown, not allowed, no proper address."""


class Mismatch(AssertionError):
    """An answer is not as the OpenAPI document says."""


class Contract:
    """The OpenAPI document, with a compiled validator for each answer that was met.

    Args:
        document: the OpenAPI document.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._paths = document["paths"]
        self._components = _closed(document["components"])
        self._patterns = [(_pattern(path), path) for path in sorted(self._paths, key=_literal_length, reverse=True)]
        self._validators: dict[tuple[str, str, str, str], jsonschema_rs.Validator] = {}

    def check(self, method: str, path: str, status: int, content_type: str | None, body: bytes) -> None:
        """Hold one answer against the document.

        Raises:
            Mismatch: it is not described there.
        """
        if method not in METHODS or path == DOCUMENT:
            return
        template, code = self._template(method, path), str(status)
        where = f"{method} {template or path} -> {status}"
        if template is None:
            if code not in NO_OPERATION:
                raise Mismatch(f"{where}: the document has no such operation")
            self._check_body(("", "", code), _PROBLEMS, where, content_type, body)
            return
        responses = self._paths[template][method.lower()]["responses"]
        if code == "422" and code not in responses and b'"control-character"' in body:
            self._check_body(("", "", code), _PROBLEMS, where, content_type, body)  # refused before any route
            return
        if code not in responses:
            raise Mismatch(f"{where}: the document has {sorted(responses)} only; the answer was {body[:500]!r}")
        self._check_body((method, template, code), responses[code].get("content", {}), where, content_type, body)

    def _template(self, method: str, path: str) -> str | None:
        # The most literal path counts: `…:approve` is an action, and no id of another path.
        template = next((template for pattern, template in self._patterns if pattern.fullmatch(path)), None)
        return template if template is not None and method.lower() in self._paths[template] else None

    def _check_body(
        self,
        operation: tuple[str, str, str],
        content: Mapping[str, Any],
        where: str,
        content_type: str | None,
        body: bytes,
    ) -> None:
        if not content:
            if body:
                raise Mismatch(f"{where}: the document has no body, the answer has one")
            return
        media_type = (content_type or "").partition(";")[0].strip()
        if media_type not in content:
            raise Mismatch(f"{where}: {content_type!r} is none of {sorted(content)}")
        if not media_type.endswith("json"):
            return
        key = (*operation, media_type)
        validator = self._validators.get(key)
        if validator is None:
            schema = {**_closed(content[media_type]["schema"]), "components": self._components}
            validator = self._validators[key] = jsonschema_rs.validator_for(schema, validate_formats=True)
        fault = next(validator.iter_errors(msgspec.json.decode(body)), None)
        if fault is not None:
            place = "/".join(map(str, fault.instance_path))
            raise Mismatch(f"{where}: at /{place}: {fault.message}")


_PROBLEMS: Final = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}


class CheckedTransport(httpx.AsyncBaseTransport):
    """Passes requests to an ASGI application, and holds each answer against the document.

    Args:
        app: the application.
        document: returns the OpenAPI document.
    """

    def __init__(self, app: Any, document: Callable[[], Mapping[str, Any]]) -> None:
        self._inner = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._document = document

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and check the answer."""
        answer = await self._inner.handle_async_request(request)
        body = await answer.aread()
        contract_of(self._document).check(
            request.method, request.url.path, answer.status_code, answer.headers.get("content-type"), body
        )
        # One that is not read yet: the client measures how long reading took, and refuses to tell otherwise.
        return httpx.Response(answer.status_code, headers=answer.headers, stream=httpx.ByteStream(body))

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self._inner.aclose()


_shared: list[Contract] = []


def contract_of(document: Callable[[], Mapping[str, Any]]) -> Contract:
    """Return the contract of the process: all vaults have one document, and its validators are compiled once."""
    if not _shared:
        _shared.append(Contract(document()))
    return _shared[0]


def _closed(schema: Any) -> Any:
    """Return a schema in which objects have no members but those that it names."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(part) for key, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed


def _literal_length(path: str) -> int:
    return len(re.sub(r"\{[^}]*\}", "", path))


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"\{[^}]*\}", path)
    return re.compile("[^/]+".join(map(re.escape, parts)))
