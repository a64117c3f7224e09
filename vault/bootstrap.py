"""Settings to vault: all wiring, and the only reader of the settings."""

from __future__ import annotations

import os
import shutil
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import inspect, make_url, text

from vault import logs
from vault import settings as settings_module
from vault.audit.refusals import COUNT_SECONDS
from vault.backup.gate import require_open, require_replayed, require_whole
from vault.clock import Clock
from vault.context import Services
from vault.crypto import providers
from vault.crypto.keyring import Keyring
from vault.errors import Misconfigured, Unavailable
from vault.governance.tenants import add_tenant, apply_policies
from vault.ids import DEFAULT_TENANT
from vault.periodic import PeriodicTasks
from vault.policy.example import FILE as CONTROLLER
from vault.policy.example import controller_of
from vault.storage.database import Database
from vault.storage.diagnosis import TITLES, VARIABLES, explained
from vault.storage.failures import ReadOnly
from vault.storage.migrate import is_current, upgrade
from vault.storage.urls import place_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from sqlalchemy.engine import Connection

    from vault.audit.log import AuditLog
    from vault.backup.postgres_tools import PostgresTools
    from vault.consent.store import ConsentEvents
    from vault.crypto.providers import KeyProvider
    from vault.health import Measured
    from vault.jobs.runner import Jobs
    from vault.lifecycle.personal_data import PersonalData
    from vault.lifecycle.restore_ledger import RestoreLedger
    from vault.messaging.http import Post
    from vault.messaging.mail import Mail
    from vault.policy.policy_set import PolicySet
    from vault.policy.store import Policies
    from vault.principals.oidc import TokenVerifier
    from vault.principals.rate_limit import Limits
    from vault.principals.store import Principals
    from vault.requests.kind import RequestKind
    from vault.retention.clocks import ClockReader
    from vault.settings import Settings
    from vault.storage.migrate import Which
    from vault.subjects.store import Subjects

log = logs.get_logger()
MEASURE_SECONDS: Final = 60.0

INIT_SECONDS = 60.0
"""For each step of the databases when a vault is made."""
shipped_policies = settings_module.shipped_policies
unknown_variables = settings_module.unknown_variables


class Vault:
    """An open vault: its services, and the background tasks that keep them current.

    Use :func:`open_vault`; it closes what it opened.
    """

    def __init__(self, settings: Settings, services: _Services, keys: Database, tombstones: Database) -> None:
        self.settings = settings
        self.services: Services = services
        self._close_services = services.close
        self._keys = keys
        self._tombstones = tombstones
        self.periodic = PeriodicTasks()
        self._measured: Measured | None = None

    def start_jobs(self) -> None:
        """Follow the policies and erasures of other nodes, and run jobs and periodic tasks."""
        from vault.erasure.workflow import POLL_SECONDS, KeyEviction
        from vault.workflows import plan_of  # imports all operations, which only a process that runs jobs needs

        services, start = self.services, self.periodic.start
        start("follow-policies", self.settings.policy_poll_seconds, services.policies.refresh, required=True)
        start("evict-keys", POLL_SECONDS, KeyEviction(services).poll, required=True)
        start("count-refusals", COUNT_SECONDS, services.audit_log.refusals.append_counts)
        start("measure", MEASURE_SECONDS, self._measure, delay=5.0)
        # The job engine takes most of a second to import: requests are answered first.
        start("run-jobs", 1.0, lambda: services.jobs.run_worker(services, plan_of(services), self.periodic), delay=0.5)

    async def _measure(self) -> None:
        from vault.health import Measured

        if self._measured is None:
            self._measured = Measured(self.services, os.environ.get("PROMETHEUS_MULTIPROC_DIR"))
        await self._measured.measure()

    def figures(self) -> dict[str, dict[str, float]]:
        """Return what is overdue, has failed or ends soon, as it was last measured; see :mod:`vault.health`."""
        return {} if self._measured is None else self._measured.figures(self.services.clock.now())

    def databases(self) -> dict[Which, Database]:
        """Return the vault's databases by name."""
        return {"data": self.services.data, "keys": self._keys, "ledger": self._tombstones}

    async def ready(self) -> None:
        """Check that all databases answer, and that this process follows policies and erasures.

        Raises:
            Unavailable: a database does not answer, or this process would decide on old data.
        """
        for which, database in self.databases().items():
            try:
                await database.ping()
            except Unavailable as error:  # the name of its role, and neither place nor reason: any caller may ask
                fault = "can only be read" if isinstance(error, ReadOnly) else "does not answer"
                raise Unavailable(f"the {TITLES[which]} {fault}", hint=error.hint) from error
        if behind := [*self.periodic.behind(), *self.services.policies.behind()]:
            raise Unavailable(
                f"this process is behind: {', '.join(behind)}", hint="the log of the process says what failed"
            )

    async def close(self) -> None:
        """Stop the jobs and close the databases."""
        await self.periodic.stop()
        if self._measured is not None:
            self._measured.close()
        await self._close_services()
        await self.services.data.close()
        await self._keys.close()
        await self._tombstones.close()


@asynccontextmanager
async def open_vault(
    folder: Path, *, clock: Clock | None = None, replaying: bool = False, policies: bool = True, **overrides: Any
) -> AsyncIterator[Vault]:
    """Open the vault in a folder.

    Args:
        folder: made by :func:`init_vault`.
        clock: by default the real time.
        replaying: open a restored vault that is not replayed yet.
        policies: load the policies that are in force. Without them, every decision is refused.
        overrides: settings that take precedence over the environment and the folder's file.

    Raises:
        Misconfigured: there is no vault, its settings are wrong, its root key is missing or another's, its
            databases are of another version, or it was restored and is not replayed yet.
        Unavailable: a database does not answer.
    """
    settings = read_settings(folder, **overrides)
    vault = _wire(settings, clock or Clock())
    try:
        await _check_versions(vault)
        await vault.services.keyring.check_root()
        await _require_adopted(vault.services.keyring)
        if not replaying:
            await require_replayed(vault.services.data)
            vault.services.data.admit(require_open)
        if policies:
            await vault.services.policies.refresh()
        yield vault
    finally:
        await vault.close()


async def init_vault(folder: Path, *, controller: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Make a vault: folder, root key, databases, the default tenant, and a copy of the shipped policies to edit.

    Args:
        folder: a new or empty one.
        controller: values for the policies' controller.toml, by key.
        overrides: settings that take precedence over the environment.

    Raises:
        Misconfigured: the folder is not empty, or the key store contains keys of another root key.
    """
    _lay_out(folder)
    made_keys = False
    try:
        settings = _with_root_key(folder, **overrides)
        if controller:
            text = controller_of(controller, shipped_policies())
            (settings.policies / CONTROLLER).write_text(text, encoding="utf-8")
        await _require_unused(settings)
        await _require_reachable(settings)
        await upgrade_databases(folder, **overrides)
        patient = settings.model_copy(update={"audit_deadline": INIT_SECONDS})  # no caller waits for an answer
        vault = _wire(patient, Clock())
        try:
            await vault.services.keyring.check_root()
            if DEFAULT_TENANT not in await vault.services.keyring.tenants():
                made_keys = True
                await add_tenant(vault.services, DEFAULT_TENANT, _policy_set(settings.policies))
        finally:
            await vault.close()
    except BaseException:
        if not made_keys:  # from then on there are keys that only this root key opens: never delete it
            _clear(folder)
        raise
    return settings


async def _require_unused(settings: Settings) -> None:
    """Require that no vault has used the main database, so that two vaults never share it; raises Misconfigured."""
    _touch(settings.data_url)
    database = Database(settings.data_url, timeout=INIT_SECONDS)
    try:
        async with database.reading() as connection:
            used = await connection.run_sync(_is_used)
    except Unavailable as error:
        raise await explained("data", settings.data_url, settings.database_timeout, error) from error
    finally:
        await database.close()
    if used:
        raise Misconfigured(
            f"the main database ({place_of(settings.data_url)}) is in use by another vault",
            hint="name an empty one by CDV_DATABASE_URL; a new node of the other vault gets a copy of its folder",
        )


async def _require_reachable(settings: Settings) -> None:
    """Require that all databases answer before a table is made in one of them; raises Misconfigured."""
    for which, url in databases_of(settings).items():
        _touch(url)
        database = Database(url, timeout=INIT_SECONDS)
        try:
            await database.ping()
        except Unavailable as error:
            raise await explained(which, url, settings.database_timeout, error) from error
        finally:
            await database.close()


def _is_used(connection: Connection) -> bool:
    """Return whether a vault has ever recorded anything in a database; what a failed `cdv init` left does not count."""
    if not inspect(connection).has_table("audit_entry"):
        return False
    return connection.execute(text("SELECT 1 FROM audit_entry LIMIT 1")).first() is not None


async def upgrade_databases(folder: Path, **overrides: Any) -> dict[str, tuple[str | None, str | None]]:
    """Bring all databases up to this version of the code; returns the revisions before and after."""
    settings = settings_module.load(folder, **overrides)
    changed: dict[str, tuple[str | None, str | None]] = {}
    for which, url in databases_of(settings).items():
        _touch(url)
        database = Database(url, timeout=60)
        try:
            changed[which] = await upgrade(database, which)
        except Unavailable as error:
            raise await explained(which, url, settings.database_timeout, error) from error
        finally:
            await database.close()
    await _adopt_rows(settings)
    return changed


async def _adopt_rows(settings: Settings) -> None:
    """Give MACs to the rows of a vault from before MACs."""
    from vault.adoption import adopt

    vault = _wire(settings, Clock())
    try:
        await vault.services.keyring.check_root()
        await adopt(vault.services.data, vault.services.keyring)
    finally:
        await vault.close()


def databases_of(settings: Settings) -> dict[Which, str]:
    """Return the URLs of the vault's databases by name."""
    return {"data": settings.data_url, "keys": settings.keys_url, "ledger": settings.tombstones_url}


def postgres_tools(settings: Settings) -> PostgresTools:
    """Return PostgreSQL's programs for backups. They are looked up when they are needed."""
    from vault.backup.postgres_tools import PostgresTools

    return PostgresTools(settings.pg_tools, os.environ)


async def apply_folders(vault: Vault) -> dict[str, bool]:
    """Apply the policies in the vault's folder: the default tenant's, and those under ``tenants/``.

    Returns:
        for each tenant whether its policies changed.

    Raises:
        PolicyInvalid: a folder has mistakes; it is not applied.
    """
    changed = {}
    for tenant in await vault.services.keyring.tenants():
        folder = policy_folder(vault.settings, tenant)
        if folder.is_dir():
            changed[str(tenant)] = await apply_policies(vault.services, tenant, _policy_set(folder))
    return changed


def _policy_set(folder: Path) -> PolicySet:
    from vault.policy.policy_set import PolicySet

    return PolicySet.from_folder(folder)


def policy_folder(settings: Settings, tenant: str) -> Path:
    """Return the folder of a tenant's policies."""
    return settings.policies if tenant == DEFAULT_TENANT else settings.vault / "tenants" / tenant / "policies"


def default_folder() -> Path:
    """Return the default folder of the vault: ``CDV_VAULT``, or the current one."""
    return Path(os.environ.get("CDV_VAULT", "."))


def read_settings(folder: Path, **overrides: Any) -> Settings:
    """Read the settings of the vault in a folder.

    Raises:
        Misconfigured: there is no vault, its settings are invalid, or a restore into the folder is incomplete.
    """
    if not (folder / settings_module.FILE).is_file():
        raise Misconfigured(
            "there is no vault in this folder", hint="make one with `cdv init DIR`, or name one by --vault"
        )
    require_whole(folder)
    return settings_module.load(folder, **overrides)


def _lay_out(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        raise Misconfigured("the folder is not empty", hint="name a folder that does not exist yet")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    providers.hide_from_git(folder)
    shutil.copytree(shipped_policies(), folder / "policies")
    file = folder / settings_module.FILE
    file.touch(mode=0o600)  # it may contain a database's password later
    file.write_text(settings_module.FIRST, encoding="utf-8")


def _with_root_key(folder: Path, **overrides: Any) -> Settings:
    settings = settings_module.load(folder, **overrides)
    providers.create_root_key(settings.root_key, settings.vault)
    return settings


def _clear(folder: Path) -> None:
    """Empty the folder after a failure, so that the next attempt can start again."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _touch(url: str) -> None:
    """Create an SQLite file that only its owner can read, before SQLite creates one that others can read."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        Path(parsed.database).touch(mode=0o600)


def _wire(settings: Settings, clock: Clock) -> Vault:
    size, timeout = settings.database_connections, settings.database_timeout
    data = Database(settings.data_url, timeout=timeout, size=size)
    keys = Database(settings.keys_url, timeout=timeout, size=size)
    tombstones = Database(settings.tombstones_url, timeout=timeout, size=2)
    keyring = Keyring(keys, provider_of(settings), clock, most=settings.keys_kept, max_age=settings.keys_kept_seconds)
    makers = _Makers(settings, clock, data, keyring, tombstones)
    return Vault(settings, _Services(makers, data, keyring, clock), keys, tombstones)


class _Services(Services):
    """Services that are made when they are first used, so that a command imports only what it needs."""

    def __init__(self, makers: _Makers, data: Database, keyring: Keyring, clock: Clock) -> None:
        vars(self).update(_makers=makers, data=data, keyring=keyring, clock=clock)

    def __getattr__(self, name: str) -> object:  # for what is not in the instance's dictionary yet
        if name.startswith("_"):
            raise AttributeError(name)
        return vars(self).setdefault(name, getattr(self._makers, name)())

    async def close(self) -> None:
        """Close what was made and is to be closed; the databases are the vault's to close."""
        audit_log: AuditLog | None = vars(self).get("audit_log")
        if audit_log is not None:
            try:
                await audit_log.refusals.append_counts(now_too=True)
            except Unavailable:
                log.exception("the number of refused calls is not on the audit log")
        mail: Mail | None = vars(self).get("mail")
        if mail is not None:
            await mail.close()


@dataclass(frozen=True)
class _Makers:
    """Makes each of the services that a command may do without: the method has the service's name."""

    settings: Settings
    clock: Clock
    data: Database
    keyring: Keyring
    tombstones: Database

    def audit_log(self) -> AuditLog:
        from vault.audit.log import AuditLog

        return AuditLog(self.data, self.clock, deadline=self.settings.audit_deadline)

    def restore_ledger(self) -> RestoreLedger:
        from vault.lifecycle.restore_ledger import RestoreLedger

        return RestoreLedger(self.tombstones)

    def policies(self) -> Policies:
        from vault.policy.store import Policies

        return Policies(self.data, self.keyring, self.clock)

    def principals(self) -> Principals:
        from vault.principals.store import Principals

        verifiers = [_verifier(issuer, self.clock) for issuer in self.settings.oidc]
        return Principals(self.data, self.keyring, self.clock, verifiers, max_age=self.settings.principals_kept_seconds)

    def limits(self) -> Limits:
        from vault.principals.rate_limit import Limits

        settings = self.settings
        budgets = {
            "reads": settings.reads_per_minute,
            "searches": settings.searches_per_minute,
            "writes": settings.writes_per_minute,
            "letters": settings.letters_per_day,
        }
        return Limits(self.data, self.clock, **budgets)

    def subjects(self) -> Subjects:
        from vault.subjects.store import Subjects

        return Subjects(self.data, self.keyring)

    def personal_data(self) -> Sequence[PersonalData]:
        from vault.workflows import OWNERS

        return OWNERS

    def clocks(self) -> ClockReader:
        from vault.retention.clocks import ClockReader

        return ClockReader(self.data)

    def consents(self) -> ConsentEvents:
        from vault.consent.store import ConsentEvents

        return ConsentEvents(self.data)

    def jobs(self) -> Jobs:
        from vault.jobs.runner import Jobs

        return Jobs(self.settings.jobs_url, takeover=self.settings.jobs_takeover_seconds)

    def mail(self) -> Mail:
        from vault.messaging.mail import Mail

        return Mail(self.settings.smtp_url, self.settings.mail_from)

    def post(self) -> Post:
        from vault.messaging.http import Post

        return Post(private=self.settings.webhooks_to_private_addresses)

    def request_kinds(self) -> Mapping[str, RequestKind]:
        from vault.workflows import REQUEST_KINDS

        return REQUEST_KINDS


def provider_of(settings: Settings) -> KeyProvider:
    """Return the provider of the root key that the settings name.

    Raises:
        Misconfigured: they name none, or it is not there.
    """
    return providers.provider_of(settings.root_key, settings.vault)


def _verifier(given: settings_module.Oidc, clock: Clock) -> TokenVerifier:
    from vault.principals.oidc import OidcIssuer, TokenVerifier  # slow to import, and few vaults have an issuer

    issuer = OidcIssuer(given.issuer, given.audience, given.jwks, given.roles_claim, given.roles, given.tenant)
    return TokenVerifier(issuer, clock)


def _require_urls(settings: Settings) -> None:
    """Require that a vault on PostgreSQL names its key store and ledger, unless they are files in its folder."""
    for which, url in databases_of(settings).items():
        is_default = url.startswith("sqlite") and settings.database_url.startswith("postgres")
        if is_default and not Path(make_url(url).database or "").exists():
            raise Misconfigured(
                f"no {TITLES[which]}: set {VARIABLES[which]}",
                hint="the main database is on PostgreSQL; every command and process needs the URLs of all three",
            )


async def _require_adopted(keyring: Keyring) -> None:
    if await keyring.unadopted():
        raise Misconfigured(
            "rows of the main database have no MACs yet, so none of them would be accepted", hint="run `cdv db upgrade`"
        )


async def _check_versions(vault: Vault) -> None:
    settings = vault.settings
    _require_urls(settings)
    for which, database in vault.databases().items():
        try:
            current = await is_current(database, which)
        except Unavailable as error:
            url = databases_of(settings)[which]
            raise await explained(which, url, settings.database_timeout, error) from error
        if not current:
            raise Misconfigured(
                f"the {which} database is of another version than this program", hint="run `cdv db upgrade`"
            )
