"""A vault that is really served: the process, what it writes, and keys that are valid by the real clock."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time

import httpx

from vault.bootstrap import open_vault
from vault.clock import Clock
from vault.governance.tenants import add_app
from vault.ids import DEFAULT_TENANT

PATIENCE = 60.0
"""Seconds to wait for a process; a loaded machine must not fail a test."""


class Served:
    """``cdv serve`` on a vault, and the lines that it writes."""

    def __init__(self, place, workers, **settings):
        self._command = [sys.executable, "-m", "vault", "serve", "--vault", str(place.folder)]
        self._command += ["--host", "127.0.0.1", "--port", "0", "--workers", str(workers)]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CDV_")}
        inherited.pop("PROMETHEUS_MULTIPROC_DIR", None)
        named = {f"CDV_{name.upper()}": str(value) for name, value in {**place.urls, **settings}.items()}
        self._environment = {**inherited, **named, "CDV_LOG_LEVEL": "debug"}
        self.lines: list[str] = []
        self._ahead: queue.Queue[str | None] = queue.Queue()

    def __enter__(self):
        self.process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = self._wait_for("listening")["port"]
        self.url = f"http://127.0.0.1:{self.port}"
        self.until(lambda: httpx.get(f"{self.url}/readyz", timeout=PATIENCE).status_code == 200)
        return self

    def __exit__(self, *_error):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stdout.close()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)
            self._ahead.put(line)
        self._ahead.put(None)

    def _wait_for(self, event):
        while True:
            line = self._ahead.get(timeout=PATIENCE)
            assert line is not None, "".join(self.lines)
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if entry.get("event") == event:
                return entry

    def until(self, done):
        """Wait until a condition holds."""
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            assert self.process.poll() is None, "".join(self.lines)
            try:
                if done():
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.02)
        raise AssertionError("the condition did not hold in time: " + "".join(self.lines))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE)
        self._reader.join()
        return code


async def issue_keys(place, *roles):
    """Return headers with an API key of a new app for each role."""
    headers = {}
    async with open_vault(place.folder, clock=Clock(), **place.urls) as vault:
        for role in roles:
            _, issued = await add_app(vault.services, DEFAULT_TENANT, f"real-{role}", [role])
            headers[role] = {"Authorization": f"Bearer {issued.key.reveal()}"}
    return headers
