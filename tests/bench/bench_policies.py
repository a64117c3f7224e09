"""How long loading the shipped policies takes, against parsing their TOML files alone, side by side in one run.

``python -m tests.bench.bench_policies`` prints both and their ratio. Loading includes parsing, every check, and the
rules.
"""

from __future__ import annotations

import time
import tomllib
from statistics import median

from vault.policy.policy_set import PolicySet
from vault.settings import shipped_policies

ROUNDS = 15


def _seconds(run):
    start = time.process_time()
    run()
    return time.process_time() - start


def _parse():
    for path in sorted(shipped_policies().glob("*.toml")):
        tomllib.loads(path.read_text(encoding="utf-8"))


def main():
    """Measure in turn, after one round to warm up."""
    load, parse = [], []
    for _ in range(ROUNDS + 1):
        load.append(_seconds(lambda: PolicySet.from_folder(shipped_policies())))
        parse.append(_seconds(_parse))
    loading, parsing = median(load[1:]), median(parse[1:])
    print(f"load {loading * 1000:.0f} ms, parse {parsing * 1000:.0f} ms of CPU: ratio {loading / parsing:.2f}")


if __name__ == "__main__":
    main()
