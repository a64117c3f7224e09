"""Batches of 1,000 subjects x 5 fields beside the bare AES-GCM open rate: python -m tests.bench.bench_batch"""

from __future__ import annotations

import asyncio
import os
import statistics
import time

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.bench.ground import FIELDS, PURPOSE, app_key, fill, postgres, server, vault_folder, wrk

ROUNDS = 9
SECONDS = 2


def bare_rate(people: int) -> float:
    """Opens a second on one core: values of that size, each of so many people's under a key of its own.

    The more keys, the fewer of them lie in the processor's caches; so both sides have equally many.
    """
    ciphers = [AESGCM(os.urandom(32)) for _ in range(people)]
    nonce, extra, text = os.urandom(12), os.urandom(80), b"x" * 32
    sealed = [cipher.encrypt(nonce, text, extra) for cipher in ciphers]
    rounds, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:  # as long as the other side, for a machine's speed comes and goes
        for cipher, value in zip(ciphers, sealed, strict=True):
            cipher.decrypt(nonce, value, extra)
            cipher.decrypt(nonce, value, extra)
            cipher.decrypt(nonce, value, extra)
            cipher.decrypt(nonce, value, extra)
            cipher.decrypt(nonce, value, extra)
        rounds += 1
    return rounds * people * 5 / (time.perf_counter() - began)


def main() -> None:
    with postgres() as fresh, vault_folder(fresh, keys_kept_seconds=3600) as (folder, settings):
        ids = asyncio.run(fill(folder, settings, 10_000))
        key = app_key(folder, settings)
        several = ['","'.join(ids[n : n + 1000]) for n in range(0, 10_000, 1000)]
        for workers in (1, 2):
            with server(folder, settings, workers=workers) as (url, _pid):
                for batches in (1, 10):
                    _compare(url, key, several[:batches], workers)
    print("wanted: 0.25 or more")


def _compare(url: str, key: str, several: list[str], workers: int) -> None:
    ask = {"subjects": ["@ID@"], "fields": FIELDS, "purpose": PURPOSE}
    people = len(several) * 1000
    wrk(url, "/v1/read", key, several, ask, seconds=5, connections=6)
    runs = [
        (bare_rate(people), wrk(url, "/v1/read", key, several, ask, seconds=SECONDS, connections=6)["rate"] * 5000)
        for _round in range(ROUNDS)
    ]
    bare, rate = (statistics.median(run[n] for run in runs) for n in (0, 1))
    ratios = sorted(rate / bare for bare, rate in runs)
    print(
        f"{workers} worker(s), {people:,} people: {rate:,.0f} fields/s; bare opens {bare:,.0f}/s on one core: "
        f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


if __name__ == "__main__":
    main()
