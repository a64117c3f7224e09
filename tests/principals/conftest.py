"""The register on both databases, an OIDC issuer on loopback, and a clock that is set by hand."""

from __future__ import annotations

import json
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from joserfc import jwk, jwt
from joserfc.errors import SecurityWarning

from vault.principals.oidc import OidcIssuer
from vault.principals.store import Principals
from vault.storage.columns import DataTable
from vault.storage.database import Database


class Seconds:
    """A monotonic clock that moves only when it is set."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def pass_by(self, seconds):
        self.now += seconds


@pytest.fixture
def seconds():
    return Seconds()


TABLES = [DataTable.metadata.tables[name] for name in ("principal", "api_key", "rate_window")]


@pytest.fixture
async def database(data_url):
    database = Database(data_url)
    async with database.transaction() as connection:
        await connection.run_sync(lambda sync: DataTable.metadata.create_all(sync, tables=TABLES))
    yield database
    await database.close()


@pytest.fixture
async def other_database(data_url, database):
    """The same database as another node sees it."""
    other = Database(data_url)
    yield other
    await other.close()


@pytest.fixture
def principals(database, keyring, clock, seconds):
    return Principals(database, keyring, clock, monotonic=seconds)


@pytest.fixture
async def shop(database, principals):
    async with database.transaction() as connection:
        return await principals.add_app(connection, "default", "shop", ["fulfilment", "support"])


@pytest.fixture
async def issued(database, principals, shop):
    async with database.transaction() as connection:
        return await principals.issue_key(connection, "default", shop.id)


class Issuer:
    """A real HTTP server on 127.0.0.1 that publishes keys, and signs with them."""

    def __init__(self, clock):
        self.clock = clock
        self.fetches = 0
        self.body = None
        self.status = 200
        self.keys = [
            jwk.RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig"}),
            jwk.ECKey.generate_key("P-256", {"kid": "ec", "use": "sig"}),
            jwk.OKPKey.generate_key("Ed25519", {"kid": "ed", "use": "sig"}),
        ]
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                issuer.fetches += 1
                body = issuer.body if issuer.body is not None else json.dumps(issuer.jwks()).encode()
                self.send_response(issuer.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/jwks"
        self.name = "https://login.example.org"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def jwks(self):
        return {"keys": [key.as_dict(private=False) for key in self.keys]}

    def key(self, kid):
        return next(key for key in self.keys if key.kid == kid)

    def claims(self, **changes):
        now = int(self.clock.now().timestamp())
        claims = {
            "iss": self.name,
            "aud": ["vault", "another"],
            "sub": "ada@example.org",
            "iat": now,
            "exp": now + 300,
            "realm_access": {"roles": ["crm-support", "unheard-of"]},
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, alg="ES256", kid="ec", *, key=None, header=None, **changes):
        head = {"alg": alg, "kid": kid, **(header or {})}
        head = {name: value for name, value in head.items() if value is not None}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # of the name EdDSA, which issuers use
            return jwt.encode(head, self.claims(**changes), key or self.key(kid), algorithms=[alg])

    def settings(self, **changes):
        return OidcIssuer(
            **{
                "issuer": self.name,
                "audience": "vault",
                "jwks": self.url,
                "roles_claim": "realm_access.roles",
                "roles": {"crm-support": "support", "crm-dpo": "dpo"},
                "tenant": "default",
                **changes,
            }
        )


@pytest.fixture
def issuer(clock):
    issuer = Issuer(clock)
    yield issuer
    issuer.close()
