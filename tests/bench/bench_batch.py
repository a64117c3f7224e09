"""Batches of 1,000 subjects x 5 fields beside the bare AES-GCM open rate: python -m tests.bench.bench_batch"""

from __future__ import annotations

import asyncio
import os
import statistics
import time

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.bench.ground import FIELDS, PURPOSE, app_key, fill, postgres, server, vault_folder, wrk

ROUNDS = 3


def bare_rate() -> float:
    """Opens a second on one core: values of that size, each person's under a key of its own, with associated data."""
    ciphers = [AESGCM(os.urandom(32)) for _ in range(1000)]
    nonce, extra, text = os.urandom(12), os.urandom(80), b"x" * 32
    sealed = [cipher.encrypt(nonce, text, extra) for cipher in ciphers]
    best = 0.0
    for _ in range(5):
        began = time.perf_counter()
        for _again in range(20):
            for cipher, value in zip(ciphers, sealed, strict=True):
                cipher.decrypt(nonce, value, extra)
                cipher.decrypt(nonce, value, extra)
                cipher.decrypt(nonce, value, extra)
                cipher.decrypt(nonce, value, extra)
                cipher.decrypt(nonce, value, extra)
        best = max(best, 100_000 / (time.perf_counter() - began))
    return best


def main() -> None:
    with postgres() as fresh, vault_folder(fresh, keys_kept_seconds=3600) as (folder, settings):
        ids = asyncio.run(fill(folder, settings, 10_000))
        key = app_key(folder, settings)
        several = ['","'.join(ids[n : n + 1000]) for n in range(0, 10_000, 1000)]
        ask = {"subjects": ["@ID@"], "fields": FIELDS, "purpose": PURPOSE}
        for workers in (1, 2):
            with server(folder, settings, workers=workers) as (url, _pid):
                wrk(url, "/v1/read", key, several, ask, seconds=5, connections=6)
                runs = [
                    (bare_rate(), wrk(url, "/v1/read", key, several, ask, seconds=5, connections=6))
                    for _round in range(ROUNDS)
                ]
            bare = statistics.median(run[0] for run in runs)
            rate = statistics.median(run[1]["rate"] for run in runs) * 5000
            print(f"{workers} worker(s): {rate:,.0f} fields/s; bare opens {bare:,.0f}/s on one core: {rate / bare:.2f}")
    print("wanted: 0.25 or more")


if __name__ == "__main__":
    main()
