"""``cdv doctor``: looks at everything that a vault needs, and says what to do about what is not right.

The checks go from the outside in: settings, root key, databases, then the open vault. What cannot be looked at because
of an earlier failure is said to be skipped. They change nothing, and read no value of a person.
"""

from __future__ import annotations

import os
import shutil
import stat
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from sqlalchemy import make_url, text

from vault.bootstrap import databases_of, open_vault, policy_folder, provider_of, read_settings, shipped_policies
from vault.clock import Clock
from vault.errors import NotFound, PolicyInvalid, VaultError
from vault.health import MOST, TenantHealth, health_of
from vault.jobs.database import NEEDS
from vault.letters.send import sender_of
from vault.messaging.mail import Letter
from vault.policy.example import example_left
from vault.policy.policy_set import PolicySet
from vault.storage.database import Database
from vault.storage.diagnosis import TITLES, require_jobs
from vault.storage.migrate import is_current
from vault.storage.urls import place_of
from vault.views import OmitIfNone, View

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from datetime import datetime

    from vault.bootstrap import Vault
    from vault.ids import TenantId
    from vault.settings import Settings
    from vault.storage.migrate import Which

State = Literal["ok", "warning", "failed", "skipped"]
SOON: Final = timedelta(days=30)
BACKUP_AGE: Final = timedelta(days=7)
TRIAL_AGE: Final = timedelta(days=92)
SWEEP_AGE: Final = timedelta(days=1)
CLOCK_SECONDS: Final = 2.0
"""Nodes and databases whose clocks differ by more disagree about expiries and the order of what happened."""
LITTLE_SPACE: Final = 1 << 30
NO_SPACE: Final = 100 << 20


class Check(View):
    """What one check found."""

    name: str
    state: State
    detail: str
    remedy: OmitIfNone[str] = None


class Examination(View):
    """All checks, in the order in which they were made."""

    checks: tuple[Check, ...]

    @property
    def failed(self) -> bool:
        """Return whether something does not work."""
        return any(check.state == "failed" for check in self.checks)


def _ok(name: str, detail: str) -> Check:
    return Check(name=name, state="ok", detail=detail)


def _warning(name: str, detail: str, remedy: str) -> Check:
    return Check(name=name, state="warning", detail=detail, remedy=remedy)


def _failed(name: str, error: Exception) -> Check:
    """Show an error: the vault's own by its words, another by its class, as its message may contain anything."""
    if isinstance(error, VaultError):
        return Check(name=name, state="failed", detail=error.detail, remedy=error.hint or None)
    detail = f"the check did not end ({type(error).__name__})"
    return Check(name=name, state="failed", detail=detail, remedy="run it again with CDV_DEBUG=1")


async def examine(folder: Path, *, send_test: str | None = None) -> Examination:
    """Make all checks on the vault in a folder.

    Args:
        folder: the vault's.
        send_test: an address that gets a letter; without it, the relay is talked to and gets no letter.
    """
    try:
        settings = read_settings(folder)
    except VaultError as error:
        return Examination(checks=(_failed("settings", error), _skipped("all else", "without settings")))
    checks = [_settings(settings), _root_key(settings)]
    checks += [await _database(settings, which, url) for which, url in databases_of(settings).items()]
    checks.append(await _jobs(settings))
    checks += _places(settings)
    checks += _space(settings)
    if any(check.state == "failed" for check in checks):
        checks.append(_skipped("vault", "it would not open"))
    else:
        checks += await _open(settings, send_test)
    return Examination(checks=tuple(checks))


def _skipped(name: str, reason: str) -> Check:
    return Check(name=name, state="skipped", detail=f"not looked at: {reason}")


# --- before the vault is opened


def _settings(settings: Settings) -> Check:
    file = settings.vault / "cdv.toml"
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & 0o077 and "://" in file.read_text(encoding="utf-8"):
        detail = f"cdv.toml may hold passwords of databases, and others can read it (mode {mode:04o})"
        return _warning("settings", detail, f"chmod 600 {file}")
    if not settings.public_url:
        detail = "public_url is not set: letters and answers to people have no links"
        return _warning("settings", detail, "set CDV_PUBLIC_URL (docs/operating.md, TLS and the outside)")
    return _ok("settings", str(file))


def _root_key(settings: Settings) -> Check:
    try:
        reference = provider_of(settings).reference
    except VaultError as error:
        return _failed("root key", error)
    return _ok("root key", f"{reference}; is there a copy of it that is kept offline?")


async def _database(settings: Settings, which: Which, url: str) -> Check:
    name = f"the {TITLES[which]}"
    parsed = make_url(url)
    where = f"PostgreSQL, {place_of(url)}"
    if parsed.get_backend_name() == "sqlite":
        where = parsed.database or ""
        if (unusable := _file(name, where)) is not None:
            return unusable
    database = Database(url, timeout=settings.database_timeout)
    try:
        if not await is_current(database, which):
            detail = f"{where}: of another version than this program"
            return Check(name=name, state="failed", detail=detail, remedy="back up, then `cdv db upgrade`")
        if which == "data" and (away := await _clock_difference(database)) > CLOCK_SECONDS:
            detail = f"{where}: its clock and this machine's differ by {away:.0f} s"
            return _warning(name, detail, "synchronise the clocks of all nodes (NTP)")
    except Exception as error:  # noqa: BLE001 - for any error, the other checks go on
        found = _failed(name, error)
        return found.model_copy(update={"detail": f"{where}: {found.detail}"})
    finally:
        await database.close()
    return _ok(name, where)


async def _jobs(settings: Settings) -> Check:
    name, url = f"the {TITLES['jobs']}", settings.jobs_url
    try:
        await require_jobs(url, settings.database_timeout, NEEDS)
    except Exception as error:  # noqa: BLE001 - as above
        return _failed(name, error)
    return _ok(name, place_of(url))


def _file(name: str, path: str) -> Check | None:
    """Return what is wrong with the file of a database; to open a missing one would create it."""
    if not Path(path).is_file():
        remedy = "restore it from a backup (docs/backup.md); or correct its URL"
        return Check(name=name, state="failed", detail=f"there is no file {path}", remedy=remedy)
    if not os.access(path, os.R_OK | os.W_OK):
        remedy = "chown it to the vault's user, and chmod 600"
        return Check(name=name, state="failed", detail=f"{path} cannot be read and written", remedy=remedy)
    return None


async def _clock_difference(database: Database) -> float:
    """Return by how many seconds the clock of PostgreSQL differs from ours."""
    if database.dialect == "sqlite":
        return 0.0
    async with database.reading() as connection:
        theirs: datetime = (await connection.execute(text("SELECT clock_timestamp()"))).scalar_one()
    return abs((Clock().now() - theirs).total_seconds())


def _places(settings: Settings) -> Iterator[Check]:
    """Find databases that one disaster, or one administrator, has together."""
    places = {which: _place(url) for which, url in databases_of(settings).items()}
    if places["ledger"] == places["data"]:
        detail = "the ledger is where the main database is: what loses one loses both, and then no restore is safe"
        yield _warning("separation", detail, "put it on another disk or server: CDV_LEDGER_URL (docs/operating.md)")
    if places["keys"] == places["data"] and not places["data"].startswith("/"):
        detail = "key store and main database are on one server: its administrator has values and keys"
        yield _warning("separation", detail, "put the key store on a server of its own: CDV_KEYSTORE_URL")


def _place(url: str) -> str:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return str(Path(parsed.database or "").parent)
    return f"{parsed.host}:{parsed.port or 5432}"


def _space(settings: Settings) -> Iterator[Check]:
    """Look at the room on the disks of SQLite's files."""
    urls = [make_url(url) for url in databases_of(settings).values()]
    folders = {Path(url.database or "").parent for url in urls if url.get_backend_name() == "sqlite"}
    for folder in sorted(folder for folder in folders if folder.is_dir()):
        free = shutil.disk_usage(folder).free
        detail = f"{free >> 20} MiB are free in {folder}"
        if free < NO_SPACE:
            yield Check(name="disk", state="failed", detail=detail, remedy="make room: soon every write is refused")
        elif free < LITTLE_SPACE:
            yield _warning("disk", detail, "make room, or move the vault")
        else:
            yield _ok("disk", detail)


# --- the open vault


async def _open(settings: Settings, send_test: str | None) -> list[Check]:
    checks: list[Check] = []
    try:
        async with open_vault(settings.vault) as vault:
            tenants = sorted(await vault.services.keyring.tenants())
            for tenant in tenants:
                label = "" if len(tenants) == 1 else f" of {tenant}"
                checks += await _tenant(vault, tenant, label)
            checks.append(await _mail(vault, send_test))
    except VaultError as error:
        checks.append(_failed("vault", error))
    return checks


async def _tenant(vault: Vault, tenant: TenantId, label: str) -> list[Check]:
    checks = [_policies(vault, tenant, label)]
    try:
        health = await health_of(vault.services, tenant)
    except Exception as error:  # noqa: BLE001 - for any error, the other checks go on
        return [*checks, _failed(f"state{label}", error)]
    now = vault.services.clock.now()
    looks: tuple[Callable[[TenantHealth, datetime], Iterator[Check]], ...] = (_backups, _keys, _sweeps, _work)
    found = [check for look in looks for check in look(health, now)]
    return checks + [check.model_copy(update={"name": f"{check.name}{label}"}) for check in found]


def _policies(vault: Vault, tenant: TenantId, label: str) -> Check:
    name = f"policies{label}"
    try:
        active = vault.services.policies.active(tenant)
    except NotFound as error:
        return _failed(name, error)
    left = example_left(active.policy_set, shipped_policies())
    if left is not None:
        return _warning(name, left.message, left.remedy)
    folder = policy_folder(vault.settings, tenant)
    if not folder.is_dir():
        return _warning(name, f"there is no folder {folder}", "put the policies in force there")
    try:
        same = PolicySet.from_folder(folder).version == active.version
    except PolicyInvalid as error:
        detail = f"the folder has {len(error.findings)} mistakes: a server does not start with it"
        return Check(name=name, state="failed", detail=detail, remedy=f"cdv policy check {folder}")
    if not same:
        detail = "the folder and the policies in force differ: the next server that starts puts the folder into force"
        return _warning(name, detail, "cdv policy check, then cdv policy apply")
    return _ok(name, f"the folder is in force, {active.version}")


def _backups(health: TenantHealth, now: datetime) -> Iterator[Check]:
    make = "cdv backup make DIR --keys-to DIR --ledger-to DIR"
    if health.last_backup is None:
        yield _warning("backup", "none was ever made", make)
    elif now - health.last_backup > BACKUP_AGE:
        yield _warning("backup", f"the last one is of {health.last_backup:%Y-%m-%d}", make)
    elif health.last_failed:
        yield _warning("backup", "the last backup, or the last trial of one, failed", "cdv audit tail --action backup")
    elif health.last_trial is None or now - health.last_trial > TRIAL_AGE:
        tried = "never" if health.last_trial is None else f"on {health.last_trial:%Y-%m-%d}"
        yield _warning(
            "backup", f"made on {health.last_backup:%Y-%m-%d}, last tried {tried}", "cdv backup verify BACKUP"
        )
    else:
        yield _ok("backup", f"made on {health.last_backup:%Y-%m-%d}, tried on {health.last_trial:%Y-%m-%d}")


def _keys(health: TenantHealth, now: datetime) -> Iterator[Check]:
    name, ending = "API keys", [key for key in health.keys if key.at is None or key.at <= now + SOON]
    for key in ending:
        if key.at is None:
            yield _warning(name, f"{key.app} has none", f"cdv keys issue {key.app}; or cdv apps disable {key.app}")
        else:
            detail = f"the last key of {key.app} {'ended' if key.at <= now else 'ends'} on {key.at:%Y-%m-%d}"
            yield _warning(name, detail, f"cdv keys issue {key.app}")
    if not ending:
        yield _ok(name, "all apps have one for at least 30 days" if health.keys else "no app has one yet")


def _sweeps(health: TenantHealth, now: datetime) -> Iterator[Check]:
    if health.to_confirm:
        detail = "a sweep would take much, and waits; until then nothing is erased by retention"
        yield _warning("retention", detail, "cdv retention sweep --dry-run, then --confirm")
    elif health.last_sweep is None:
        yield _ok("retention", "no sweep yet; a server begins one within the hour")
    elif now - health.last_sweep > SWEEP_AGE:
        detail = f"the last sweep ended on {health.last_sweep:%Y-%m-%d}"
        yield _warning("retention", detail, "does a server run? cdv jobs list; cdv retention sweep")
    else:
        yield _ok("retention", f"last sweep {health.last_sweep:%Y-%m-%d %H:%MZ}")


def _work(health: TenantHealth, now: datetime) -> Iterator[Check]:
    del now
    for name, count, none, some, remedy in (
        ("requests", health.overdue, "none is overdue", "past their legal deadline", "cdv requests list --overdue"),
        ("jobs", health.jobs.get("failed", 0), "none has failed", "could not go on", "cdv jobs list"),
        ("notices", health.unheard, "all are heard", "not acknowledged by an app for a week", "cdv notices list"),
    ):
        number = f"{MOST} or more" if count >= MOST else str(count)
        yield _ok(name, none) if count == 0 else _warning(name, f"{number} {some}", remedy)


async def _mail(vault: Vault, send_test: str | None) -> Check:
    if not vault.services.mail.configured:
        detail = "no relay: people get no letters and no one-time codes"
        return _warning("mail", detail, "set CDV_SMTP_URL (docs/operating.md, Mail)")
    body = "This letter shows that the customer data vault reaches its mail relay. There is nothing to do."
    letter = Letter(send_test or "test@example.org", "Test of the customer data vault", body, _sender(vault))
    talk: Callable[[Letter], Awaitable[None]] = vault.services.mail.send if send_test else vault.services.mail.pretend
    try:
        await talk(letter)
    except Exception as error:  # noqa: BLE001 - as above
        return _failed("mail", error)
    return _ok(
        "mail", "the relay took the letter" if send_test else "the relay answers; --send-test ADDRESS sends a letter"
    )


def _sender(vault: Vault) -> str:
    """Return the address that letters come from where the settings have none."""
    active = vault.services.policies.all_active()
    return sender_of(active[0].policy_set.controller) if active else ""
