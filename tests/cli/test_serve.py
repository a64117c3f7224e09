"""`cdv serve` runs the real server, until it is told to stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import httpx


def test_a_vault_is_served_until_ctrl_c(in_vault, vault_folder):
    key = in_vault.json("apps", "add", "web-shop", "--role", "sales")["key"]
    command = [sys.executable, "-m", "vault.cli", "serve", "--vault", str(vault_folder), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as server:
        try:
            said = json.loads(server.stderr.readline())
            assert said["event"] == "listening"
            transport = httpx.HTTPTransport(retries=5)  # the port is bound a moment before it is listened at
            with httpx.Client(base_url=f"http://127.0.0.1:{said['port']}", transport=transport, timeout=30) as client:
                assert client.get("/healthz").status_code == 200
                body = {"profile": {"name": "Ada Winter"}, "purpose": "order-fulfilment"}
                made = client.post("/v1/subjects", json=body, headers={"Authorization": f"Bearer {key}"})
                assert made.status_code == 201
        finally:
            server.send_signal(signal.SIGINT)
            _, rest = server.communicate(timeout=60)
    assert server.returncode == 130
    assert "Traceback" not in rest


def test_where_no_vault_is_nothing_is_served(cdv):
    result = cdv("serve", "--port", "0")
    assert result.exit_code == 1
    assert "error: there is no vault in this folder" in result.stderr
