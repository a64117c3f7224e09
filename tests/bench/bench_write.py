"""Writes and searches beside an empty FastAPI route, in one server on PostgreSQL: python -m tests.bench.bench_write

CPU is given in microseconds a call: the server process, and PostgreSQL with all of its processes.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
from pathlib import Path

from tests.bench.ground import app_key, cpu_below, fill, person, postgres, server, vault_folder, wrk

PURPOSE = "customer-support"
ROLE = "support"


def bodies() -> dict[str, tuple[str, dict, int]]:
    """Path, body and expected status of each verb; ``@ID@`` is a number that is used once, or a subject's id."""
    create = json.loads(json.dumps(person(0)).replace("Number 0", "Number @ID@"))
    del create["birth_date"], create["occupation"]  # support may not write them
    create |= {"salutation": "Dr.", "phone_mobile": "+4917@ID@"} | {
        "email": "p.@ID@@example.net",
        "phone": "+4930@ID@",
        "family_name": "Number@ID@",
    }
    append = {"channel": "phone", "direction": "inbound", "subject": "a question", "body": "an answer of some words"}
    return {
        "create": ("/v1/subjects", {"profile": create, "purpose": PURPOSE}, 201),
        "append": ("/v1/subjects/@ID@/records/interaction", {"fields": append, "purpose": PURPOSE}, 201),
        "search": (
            "/v1/subjects:search",
            {"match": {"email": "person.@ID@@example.org"}, "fields": ["name"], "purpose": PURPOSE},
            200,
        ),
        "read": ("/v1/read", {"subject": "@ID@", "fields": ["name", "notes"], "purpose": PURPOSE}, 200),
        "empty": ("/empty", {"subject": "@ID@", "fields": ["name", "notes"], "purpose": PURPOSE}, 200),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--subjects", type=int, default=3_000)
    options.add_argument("--seconds", type=int, default=4)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--connections", type=int, default=32)
    options.add_argument("--verbs", nargs="*", default=list(bodies()))
    chosen = options.parse_args()
    fresh_numbers = itertools.count(10_000_000, 100_000)
    figures: dict[str, list[dict]] = {verb: [] for verb in chosen.verbs}
    with postgres() as fresh, vault_folder(fresh) as (folder, settings):
        ids = asyncio.run(fill(folder, settings, chosen.subjects))
        key = app_key(folder, settings, ROLE)
        database = int(next(Path(fresh.folder).glob("data/postmaster.pid")).read_text().split()[0])
        with server(folder, settings) as (url, pid):
            for round_number in range(chosen.rounds + 1):  # the first warms up
                for verb in chosen.verbs:
                    path, body, status = bodies()[verb]
                    start = next(fresh_numbers)
                    given = {
                        "create": [str(n) for n in range(start, start + 100_000)],
                        "search": [str(n) for n in range(chosen.subjects)],
                    }.get(verb, ids)
                    before = cpu_below(database)
                    run = wrk(
                        url, path, key, given, body, seconds=chosen.seconds if round_number else 2, status=status,
                        connections=chosen.connections, in_turn=verb == "create", pid=pid,
                    )  # fmt: skip
                    run["database"] = (cpu_below(database) - before) / run["count"] * 1e6
                    if round_number:
                        figures[verb].append(run)
    rates = {verb: statistics.median(run["rate"] for run in runs) for verb, runs in figures.items()}
    for verb, runs in figures.items():
        median = {what: statistics.median(run[what] for run in runs) for what in runs[0]}
        print(
            f"{verb:8} {median['rate']:7.0f}/s  p50 {median['p50']:6.2f} ms  p99 {median['p99']:6.2f} ms  "
            f"CPU {median['cpu']:6.0f} + {median['database']:6.0f} us   "
            f"({', '.join(format(run['rate'], '.0f') for run in runs)})"
        )
    for one, other, wanted in (("create", "empty", 0.25), ("append", "create", 1.3), ("search", "read", 0.45)):
        if one in rates and other in rates:
            print(f"{one} / {other}  {rates[one] / rates[other]:.2f}   (wanted: {wanted:.2f} or more)")


if __name__ == "__main__":
    main()
