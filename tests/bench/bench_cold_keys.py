"""Reads whose data key has to be fetched and unwrapped each time: python -m tests.bench.bench_cold_keys"""

from __future__ import annotations

import asyncio

from tests.bench.ground import app_key, fill, postgres, vault_folder
from tests.bench.side_by_side import compare, show


def main() -> None:
    with postgres() as fresh, vault_folder(fresh) as (folder, settings):
        ids = asyncio.run(fill(folder, settings, 10_000))
        key = app_key(folder, settings)
        cold = {**settings, "keys_kept": 1}
        warm = {**settings, "keys_kept_seconds": 3600}
        figures = compare({"warm": (folder, warm, key, ids), "cold": (folder, cold, key, ids)})
    show(figures)
    print(f"cold / warm  {figures['cold']['rate'] / figures['warm']['rate']:.2f}   (wanted: 0.60 or more)")


if __name__ == "__main__":
    main()
