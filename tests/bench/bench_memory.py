"""A worker's memory over a million reads: python -m tests.bench.bench_memory"""

from __future__ import annotations

import argparse
import asyncio

from tests.bench.ground import app_key, fill, postgres, rss, server, vault_folder, wrk
from tests.bench.side_by_side import ASK


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--reads", type=int, default=1_000_000)
    wanted = options.parse_args().reads
    with postgres() as fresh, vault_folder(fresh) as (folder, settings):
        ids = asyncio.run(fill(folder, settings, 50_000))
        key = app_key(folder, settings)
        with server(folder, settings) as (url, pid):
            done, seen = 0, []
            while done < wanted:
                run = wrk(url, "/v1/read", key, ids, ASK, seconds=20)
                done += int(run["rate"] * 20)
                seen.append(rss(pid))
                print(f"{done:>9,} reads   {seen[-1]} MiB   {run['rate']:.0f}/s   p99 {run['p99']:.1f} ms", flush=True)
    settled = seen[len(seen) // 4]
    print(f"end / after a quarter  {seen[-1] / settled:.2f}   (wanted: flat)")


if __name__ == "__main__":
    main()
