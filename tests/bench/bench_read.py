"""`POST /v1/read` beside an empty FastAPI route and a naive read, in one server: python -m tests.bench.bench_read"""

from __future__ import annotations

import argparse
import asyncio
import statistics

from tests.bench.ground import FIELDS, PURPOSE, app_key, fill, postgres, server, vault_folder, wrk


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--subjects", type=int, default=10_000)
    options.add_argument("--seconds", type=int, default=6)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--no-naive", action="store_true")
    chosen = options.parse_args()
    ask = {"subject": "@ID@", "fields": FIELDS, "purpose": PURPOSE}
    with postgres() as fresh, vault_folder(fresh) as (folder, settings):
        ids = asyncio.run(fill(folder, settings, chosen.subjects))
        key = app_key(folder, settings)
        with server(folder, settings) as (url, pid):
            paths = ["/v1/read", "/empty"] + ([] if chosen.no_naive else ["/naive"])
            figures = {path: [] for path in paths}
            # The naive path comes last: what wrk leaves behind of it keeps the server busy for a while.
            for group in (paths[:2], paths[2:]):
                for path in group:
                    wrk(url, path, key, ids, ask, seconds=3)  # warm
                for _round in range(chosen.rounds):
                    for path in group:
                        figures[path].append(wrk(url, path, key, ids, ask, seconds=chosen.seconds, pid=pid))
    for path, runs in figures.items():
        rates = [run["rate"] for run in runs]
        print(
            f"{path:10} {statistics.median(rates):8.0f}/s  p50 {statistics.median(r['p50'] for r in runs):.2f} ms  "
            f"p99 {statistics.median(r['p99'] for r in runs):.2f} ms  "
            f"server CPU {statistics.median(r['cpu'] for r in runs):.0f} us   ({', '.join(f'{r:.0f}' for r in rates)})"
        )
    median = {path: statistics.median(run["rate"] for run in runs) for path, runs in figures.items()}
    print(f"read / empty  {median['/v1/read'] / median['/empty']:.2f}   (wanted: 1.00 or more)")
    if "/naive" in median:
        print(f"read / naive  {median['/v1/read'] / median['/naive']:.2f}   (wanted: 5.00 or more)")


if __name__ == "__main__":
    main()
