"""A read with a million people in the store beside one with ten thousand: python -m tests.bench.bench_scale"""

from __future__ import annotations

import argparse
import asyncio
import time

from tests.bench.ground import app_key, fill, postgres, vault_folder
from tests.bench.side_by_side import compare, show


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--many", type=int, default=1_000_000)
    many = options.parse_args().many
    with (
        postgres() as fresh,
        vault_folder(lambda name: fresh(name + "_small")) as small,
        vault_folder(lambda name: fresh(name + "_large")) as large,
    ):
        began = time.perf_counter()
        people = asyncio.run(fill(*large, many))
        print(f"filled {many:,} in {time.perf_counter() - began:.0f} s")
        few = asyncio.run(fill(*small, 10_000))
        # The same number of keys is warm in both, so that the stores are compared and not the caches.
        some = people[:: max(1, many // 10_000)][:10_000]
        variants = {
            "10 k": (*small, app_key(*small), few),
            f"{many:,}": (*large, app_key(*large), some),
        }
        figures = compare(variants)
        everyone = compare({f"{many:,}, anybody": (*large, variants[f"{many:,}"][2], people)}, rounds=1)
    show(figures | everyone)
    ratio = figures["10 k"]["rate"] / figures[f"{many:,}"]["rate"]
    print(f"time at {many:,} / time at 10 k  {ratio:.2f}   (wanted: 1.20 or less)")


if __name__ == "__main__":
    main()
