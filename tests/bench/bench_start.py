"""How much CPU a start takes: ``cdv --help``, ``cdv apps list``, and ``cdv serve`` until it is ready.

``python -m tests.bench.bench_start [ROUNDS]``. The machine's speed cancels out: each round also measures an import of
the web framework and of SQLAlchemy, between the others, and the figures are given as ratios to that as well.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

REFERENCE = ("-c", "import fastapi, sqlalchemy")
CDV = ("-m", "vault")


def cpu_of(*arguments):
    """Run Python to its end; return the CPU seconds, its own and the system's."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def cpu_until_ready(folder):
    """Start a server; return the CPU seconds that it took until it answered that it is ready."""
    server = subprocess.Popen(
        [sys.executable, *CDV, "serve", "--vault", folder, "--port", "0"], stderr=subprocess.PIPE, text=True
    )
    try:
        port = json.loads(server.stderr.readline())["port"]
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5).close()
                break
            except OSError:
                if server.poll() is not None:
                    raise
                time.sleep(0.05)
        fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate()


def main(rounds=5):
    """Measure, and print the median of each with its ratio to the reference."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = str(Path(scratch) / "vault")
        cpu_of(*CDV, "init", folder)
        measured = {"import fastapi, sqlalchemy": [], "cdv --help": [], "cdv apps list": [], "cdv serve": []}
        for _ in range(rounds):
            measured["import fastapi, sqlalchemy"].append(cpu_of(*REFERENCE))
            measured["cdv --help"].append(cpu_of(*CDV, "--help"))
            measured["cdv apps list"].append(cpu_of(*CDV, "apps", "list", "--vault", folder))
            measured["cdv serve"].append(cpu_until_ready(folder))
    (reference, *_) = [statistics.median(seconds) for seconds in measured.values()]
    for name, seconds in measured.items():
        print(f"{name:28} {statistics.median(seconds):6.2f} s  {statistics.median(seconds) / reference:5.2f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
