"""`cdv serve --background` and `cdv stop`, as a script uses them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import httpx
import pytest

from vault.cli.background import LOG, STATE


@pytest.fixture
def run_cdv(vault_folder):
    """Runs commands on the vault in a process of their own; a server that is left over is killed."""

    def run_cdv(*args, **env):
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CDV_")}
        return subprocess.run(
            [sys.executable, "-P", "-m", "vault", *args, "--vault", str(vault_folder)],
            env={**inherited, **env}, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    yield run_cdv
    run_cdv("stop")


def start(run_cdv, **env):
    started = run_cdv("serve", "--background", "--port", "0", **env)
    assert started.returncode == 0, started.stderr
    return started


def state(vault_folder):
    return json.loads((vault_folder / STATE).read_text())


@contextmanager
def taken_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield str(listener.getsockname()[1])


def test_background_server_is_ready_when_the_command_returns_and_gone_after_stop(run_cdv, vault_folder):
    started = start(run_cdv)
    server = state(vault_folder)
    url = f"http://127.0.0.1:{server['port']}"
    assert httpx.get(f"{url}/readyz").status_code == 200
    assert started.stdout.splitlines() == [
        f"ready: {url}",
        f"  process  {server['pid']}",
        f"  log      {vault_folder / LOG}",
        f"  stop     cdv stop --vault {vault_folder}",
    ]
    assert "warning: the controller is still the example" in started.stderr
    stopped = run_cdv("stop")
    assert (stopped.returncode, stopped.stderr) == (0, f"stopped (process {server['pid']})\n")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/readyz")
    again = run_cdv("stop")
    assert again.returncode == 1
    assert "error: no server of this vault runs in the background" in again.stderr


def test_another_program_of_the_name_in_the_current_directory_is_not_started(run_cdv, tmp_path, monkeypatch):
    (tmp_path / "vault").mkdir(exist_ok=True)
    (tmp_path / "vault" / "__init__.py").write_text("raise SystemExit('another program')")
    monkeypatch.chdir(tmp_path)
    start(run_cdv)


def test_a_vault_has_one_background_server(run_cdv, vault_folder):
    start(run_cdv)
    second = run_cdv("serve", "--background", "--port", "0")
    assert second.returncode == 1
    server = state(vault_folder)
    assert f"already: process {server['pid']}, http://127.0.0.1:{server['port']}" in second.stderr
    assert "hint: stop it by `cdv stop`" in second.stderr


def test_background_server_that_was_killed_is_not_taken_for_a_running_one(run_cdv, vault_folder):
    start(run_cdv)
    first = state(vault_folder)["pid"]
    os.kill(first, signal.SIGKILL)
    start(run_cdv, CDV_LOG_LEVEL="error")  # a quiet log has no line about the port
    assert state(vault_folder)["pid"] != first


def test_workers_in_the_background_stop_together(run_cdv, vault_folder):
    started = run_cdv("serve", "--background", "--port", "0", "--workers", "2")
    assert started.returncode == 0, started.stderr
    assert run_cdv("stop").returncode == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{state(vault_folder)['port']}/readyz")


def test_background_server_that_cannot_start_says_why(run_cdv, vault_folder):
    with taken_port() as port:
        failed = run_cdv("serve", "--background", "--port", port)
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert "error: the server did not start: the port cannot be opened (Address already in use)" in failed.stderr
    assert "hint: stop the process that listens there" in failed.stderr

    (vault_folder / "policies" / "purposes.toml").write_text("no policy at all")
    failed = run_cdv("serve", "--background", "--port", "0")
    assert failed.returncode == 1
    assert "purposes.toml" in failed.stderr
    assert run_cdv("stop").returncode == 1


def test_background_commands_need_a_vault(cdv, tmp_path):
    for args in (("serve", "--background"), ("stop",)):
        result = cdv(*args)
        assert result.exit_code == 1
        assert "error: there is no vault in this folder" in result.stderr
    assert list(tmp_path.iterdir()) == []
