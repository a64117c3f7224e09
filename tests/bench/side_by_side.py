"""Run variants in turn, round after round, so that whatever else the machine does falls on all of them alike."""

from __future__ import annotations

import contextlib
import statistics

from tests.bench.ground import FIELDS, PURPOSE, server, wrk

ASK = {"subject": "@ID@", "fields": FIELDS, "purpose": PURPOSE}


def compare(variants, *, rounds=5, seconds=4, path="/v1/read", ask=None, in_turn=False):
    """Load servers in turn.

    ``variants`` maps a name to (folder, settings, key, ids). Gives for each name the median rate, p50 and p99.
    """
    figures = {name: [] for name in variants}
    with contextlib.ExitStack() as stack:
        urls = {}
        for name, (folder, settings, _key, _ids) in variants.items():
            urls[name] = stack.enter_context(server(folder, settings))
        for name, (_folder, _settings, key, ids) in variants.items():
            wrk(urls[name][0], path, key, ids, ask or ASK, seconds=3, in_turn=in_turn)
        for _round in range(rounds):
            for name, (_folder, _settings, key, ids) in variants.items():
                url, pid = urls[name]
                figures[name].append(wrk(url, path, key, ids, ask or ASK, seconds=seconds, in_turn=in_turn, pid=pid))
    return {
        name: {what: statistics.median(run[what] for run in runs) for what in runs[0]} for name, runs in figures.items()
    }


def show(figures) -> None:
    for name, run in figures.items():
        print(
            f"{name:24} {run['rate']:8.0f}/s  p50 {run['p50']:.2f} ms  p99 {run['p99']:.2f} ms  "
            f"server CPU {run['cpu']:.0f} us a request"
        )
