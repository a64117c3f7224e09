"""The settings of one vault: from the environment (``CDV_*``), then from ``cdv.toml`` in its folder, then defaults."""

from __future__ import annotations

import os
import re
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from vault.errors import Misconfigured
from vault.names import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE = "cdv.toml"
PREFIX = "CDV_"
"""Of the variables of the environment that are settings."""
FIRST = """\
# Settings of this vault. Each can also be given as an environment variable, such as CDV_PORT.
# docs/operating.md explains them all.

# database_url = "postgresql://vault@localhost/vault"        # default: data.sqlite in this folder
# keystore_url = "postgresql://vault@localhost/vault_keys"   # default: keys.sqlite in this folder
# root_key = "file:root.key"                                 # or "env:VAULT_ROOT_KEY"
# port = 8300
# workers = 1                                                # processes that share the port

# [[oidc]]                                                   # people who sign in with the company's issuer
# issuer = "https://login.example.org"
# audience = "customer-data-vault"
# jwks = "https://login.example.org/keys"
# roles_claim = "roles"
# roles = { "Privacy Office" = "dpo" }
"""
"""The file of a new vault."""


_BOUNDS = (
    ("ge", "at least {}"),
    ("gt", "more than {}"),
    ("le", "at most {}"),
    ("lt", "less than {}"),
    ("pattern", "{}"),
)
_KINDS = {
    "int_parsing": "a whole number", "int_type": "a whole number", "float_parsing": "a number",
    "float_type": "a number",
    "bool_parsing": "true or false", "bool_type": "true or false", "finite_number": "a finite number",
    "string_type": "a text", "missing": "it is missing",
}  # fmt: skip


class Oidc(BaseModel):
    """An issuer of tokens for people: ``[[oidc]]`` in ``cdv.toml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str
    audience: str
    jwks: str
    """URL (https, or loopback) or path of a file with the issuer's public keys."""
    roles_claim: str = "roles"
    roles: dict[str, str]
    """The claim's value -> the vault's role; other values give no role."""
    tenant: str = "default"


class Settings(BaseSettings):
    """The settings. Only bootstrap reads the environment; other modules get this object."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True)

    vault: Path
    """The vault's folder."""
    database_url: str = Field("", repr=False)
    """Main database; empty: ``data.sqlite`` in the folder."""
    keystore_url: str = Field("", repr=False)
    """Key store, a database of its own; empty: ``keys.sqlite`` in the folder."""
    ledger_url: str = Field("", repr=False)
    """Ledger of tombstones, a database of its own; empty: ``ledger.sqlite`` in the folder."""
    root_key: str = Field("file:root.key", pattern=r"^[a-z][a-z0-9+.-]*:.", repr=False)
    """``file:PATH`` (relative to the folder) or ``env:VARIABLE``; see :mod:`vault.crypto.providers`."""
    public_url: str = Field("", pattern=r"^(https?://[^\s?#]+)?$")
    """Address under which people reach ``/v1`` from outside, for the links that are sent to them; empty: no links."""
    jobs_database_url: str = Field("", repr=False)
    """Database for the state of jobs; empty: the main database's PostgreSQL, or ``jobs.sqlite`` in the folder."""
    jobs_takeover_seconds: Annotated[float, Field(ge=1, le=3600)] = 30.0
    """Seconds without a sign of life after which other processes take a process's jobs over."""
    smtp_url: str = Field("", pattern=r"^(smtps?://\S+)?$", repr=False)
    """``smtp://user:password@host:587`` (by STARTTLS) or ``smtps://…``; empty: no letters are sent."""
    mail_from: str = Field("", pattern=r"^(\S+@\S+)?$")
    """Sender of letters; empty: the e-mail address of controller.toml's data protection officer."""
    pg_tools: str = ""
    """Folder of PostgreSQL's ``pg_dump`` and ``pg_restore``, for backups; empty: found by ``PATH``."""
    webhooks_to_private_addresses: bool = False
    """Whether notices may be posted to loopback and private networks."""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8300
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """Processes that share the port."""
    database_timeout: Annotated[float, Field(gt=0, le=60)] = 5.0
    """Seconds for one statement."""
    database_connections: Annotated[int, Field(ge=2, le=100)] = 4
    audit_deadline: Annotated[float, Field(gt=0, le=60)] = 2.0
    """Seconds for an audit entry to be durable; then 503."""
    request_deadline: Annotated[float, Field(gt=0, le=600)] = 15.0
    """Seconds for any request, then 503; and for each part of an answer to be taken."""
    receive_deadline: Annotated[float, Field(gt=0, le=600)] = 10.0
    """Seconds for the head of a request to come, and again for its body; then 408."""
    connections: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    """Connections that each process keeps open."""
    largest_body: Annotated[int, Field(ge=1024)] = 2 * 1024 * 1024
    """Bytes of a request's body."""
    reads_per_minute: Annotated[int, Field(ge=1)] = 60_000
    """Subjects that one principal may read in a minute, on all nodes together."""
    searches_per_minute: Annotated[int, Field(ge=1)] = 120
    """Searches of one principal in a minute, on all nodes together."""
    writes_per_minute: Annotated[int, Field(ge=1)] = 6_000
    """Calls by which one principal may change anything in a minute, on all nodes together."""
    strangers_per_minute: Annotated[int, Field(ge=1)] = 60
    """Calls without a sign-in from one address in a minute, in each process."""
    trusted_proxies: str = ""
    """Networks of proxies whose ``X-Forwarded-For`` names the client, separated by commas; empty: none is trusted."""
    letters_per_day: Annotated[int, Field(ge=1)] = 20
    """Letters to one person within a day, on all nodes together; one-time codes have limits of their own."""
    keys_kept: Annotated[int, Field(ge=0)] = 20_000
    """Unwrapped data keys in memory, about 3 KB each."""
    keys_kept_seconds: Annotated[float, Field(gt=0, le=3600)] = 30.0
    """Age at which an unwrapped data key is fetched again."""
    principals_kept_seconds: Annotated[float, Field(gt=0, le=60)] = 5.0
    """Age at which a caller's key is checked again: a revoked key works for no longer."""
    policy_poll_seconds: Annotated[float, Field(gt=0, le=60)] = 2.0
    """How often a node looks for newly applied policies."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    oidc: tuple[Oidc, ...] = ()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is the library's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: arguments, environment, the folder's file."""
        folder = init_settings().get("vault")
        sources: list[PydanticBaseSettingsSource] = [init_settings, env_settings]
        if folder is not None:
            sources.append(TomlConfigSettingsSource(settings_cls, Path(folder) / FILE))
        return tuple(sources)

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, value: str) -> str:
        for network in _listed(value):
            ip_network(network)
        return value

    @property
    def proxies(self) -> tuple[str, ...]:
        """Return the networks of trusted proxies."""
        return _listed(self.trusted_proxies)

    @property
    def data_url(self) -> str:
        """Return the URL of the main database."""
        return self.database_url or _sqlite(self.vault / "data.sqlite")

    @property
    def keys_url(self) -> str:
        """Return the URL of the key store."""
        return self.keystore_url or _sqlite(self.vault / "keys.sqlite")

    @property
    def tombstones_url(self) -> str:
        """Return the URL of the ledger of tombstones."""
        return self.ledger_url or _sqlite(self.vault / "ledger.sqlite")

    @property
    def jobs_url(self) -> str:
        """Return the URL of the database of jobs."""
        if self.jobs_database_url:
            return self.jobs_database_url
        return self.database_url if self.database_url.startswith("postgres") else _sqlite(self.vault / "jobs.sqlite")

    @property
    def policies(self) -> Path:
        """Return the folder of the default tenant's policies."""
        return self.vault / "policies"


def shipped_policies() -> Path:
    """Return the folder of the shipped policies: in the wheel it is in the package, in a checkout next to it."""
    package = Path(__file__).parent
    installed = package / "_shipped" / "policies"
    return installed if installed.is_dir() else package.parent / "policies"


def _listed(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _sqlite(path: Path) -> str:
    return f"sqlite:///{quote(str(path))}"


def unknown_variables() -> list[str]:
    """Return a sentence for each variable of the environment that begins as a setting does, and is none."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    unknown = sorted({name for name in os.environ if name.startswith(PREFIX)} - known - {"CDV_DEBUG", "CDV_OPERATOR"})
    return [f"{name} is no setting, and is ignored{_meant(name)}" for name in unknown]


def _meant(name: str) -> str:
    """Ask whether another setting is meant; the prefix that all variables share does not make two of them alike."""
    is_variable = name.startswith(PREFIX)
    near = nearest(name.removeprefix(PREFIX).lower(), Settings.model_fields)
    if near is None:
        return ""
    return f"; did you mean {f'{PREFIX}{near.upper()}' if is_variable else near}?"


def _in_words(place: tuple[int | str, ...], kind: str, bounds: Mapping[str, Any], folder: Path) -> str:
    """Name a setting with the place where it was given and what it may be, without its value."""
    name, setting = ".".join(map(str, place)), str(place[0]) if place else ""
    variable = f"CDV_{setting.upper()}"
    where = f" ({variable})" if variable in os.environ else f" ({FILE}{_line_of(folder, setting)})"
    if kind == "extra_forbidden":
        return f"{name}{where} is no setting{_meant(setting) if len(place) == 1 else ''}"
    allowed = [f"one of {bounds['expected']}"] if kind == "literal_error" else []
    allowed += [words.format(bounds[bound]) for bound, words in _BOUNDS if bound in bounds]
    allowed += [_KINDS[kind]] if kind in _KINDS else []
    return f"{name}{where}{': ' if allowed else ''}{' and '.join(allowed)}"


def _line_of(folder: Path, setting: str) -> str:
    try:
        lines = (folder / FILE).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return ""
    at = [number for number, line in enumerate(lines, 1) if re.match(rf"\s*(\[\[)?{re.escape(setting)}\b", line)]
    return f", line {at[0]}" if at else ""


def load(folder: Path, **overrides: Any) -> Settings:
    """Read the settings of the vault in a folder.

    Raises:
        Misconfigured: a setting is unknown or invalid; the error names it and not its value.
    """
    try:
        return Settings(vault=folder.resolve(), **overrides)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        named = "; ".join(
            sorted({_in_words(fault["loc"], fault["type"], fault.get("ctx", {}), folder) for fault in faults})
        )
        raise Misconfigured(
            f"these settings are unknown or have no proper value: {named}",
            hint=f"look at {FILE} in the vault's folder and at the CDV_* variables; docs/operating.md lists them",
        ) from None
    except SettingsError:
        raise Misconfigured("a CDV_* variable that holds a list is not valid JSON", hint="look at CDV_OIDC") from None
    except ValueError:
        raise Misconfigured(f"{FILE} is not valid TOML", hint="see the error's line in an editor") from None
    except OSError as error:
        raise Misconfigured(
            f"{FILE} cannot be read ({type(error).__name__})", hint="look at its owner and mode"
        ) from None
