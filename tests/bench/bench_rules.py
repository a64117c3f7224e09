"""Reads under 10,000 policy rules beside reads under the shipped ones: python -m tests.bench.bench_rules"""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.bench.ground import app_key, fill, postgres, vault_folder
from tests.bench.side_by_side import compare, show
from vault.bootstrap import apply_folders, open_vault


def with_rules(folder: Path, settings, count: int) -> None:
    """Bring the rules of a vault to a number, with rules for roles of many branches."""
    file = folder / "policies" / "policy.csv"
    text = file.read_text()
    have = sum(line.startswith("p,") for line in text.splitlines())
    more = [f"p, branch{n}, *, profile.name, read, customer-support, allow" for n in range(count - have)]
    file.write_text(text + "\n" + "\n".join(more) + "\n")

    async def apply() -> None:
        async with open_vault(folder, **settings) as vault:
            await apply_folders(vault)

    asyncio.run(apply())


def only_ten(folder: Path, settings) -> None:
    """Leave ten rules, among them the one that the benchmark needs."""
    file = folder / "policies" / "policy.csv"
    lines = [line for line in file.read_text().splitlines() if line.startswith("p,")]
    needed = [line for line in lines if line.startswith("p, dpo,")]
    chosen = (needed + [line for line in lines if line not in needed])[:10]
    file.write_text("\n".join(chosen) + "\n")

    async def apply() -> None:
        async with open_vault(folder, **settings) as vault:
            await apply_folders(vault)

    asyncio.run(apply())


def main() -> None:
    with (
        postgres() as fresh,
        vault_folder(lambda name: fresh(name + "_few")) as few,
        vault_folder(lambda name: fresh(name + "_many")) as many,
    ):
        only_ten(*few)
        with_rules(*many, 10_000)
        variants = {
            name: (*vault, app_key(*vault), asyncio.run(fill(*vault, 10_000)))
            for name, vault in {"10 rules": few, "10,000 rules": many}.items()
        }
        variants = {name: (folder, settings, key, ids) for name, (folder, settings, key, ids) in variants.items()}
        figures = compare(variants)
    show(figures)
    print(f"10,000 / 10  {figures['10,000 rules']['rate'] / figures['10 rules']['rate']:.2f}   (wanted: 0.95 or more)")


if __name__ == "__main__":
    main()
