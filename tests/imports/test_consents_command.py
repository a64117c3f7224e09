"""``cdv consent import``: files of consents are checked line by line, and valid lines are imported."""

from __future__ import annotations

import asyncio
import json
import stat

import pytest
from typer.testing import CliRunner

from tests.support import FixedClock
from tests.vaults import ADA
from vault.cli import app
from vault.errors import Unavailable
from vault.imports import consent_files as running
from vault.imports.consent_files import ConsentFile, import_consents_file

HEAD = "external_id,purpose,decision,notice,method,occurred_at,evidence\n"
YES = "{0},direct-marketing,given,marketing@3,checkbox,2020-01-02T03:04:05Z,scan {0}\n"
CANARY = "Kanarienvogel"


@pytest.fixture
def people(sqlite_place):
    """Five customers of the shop."""

    async def make():
        async with sqlite_place.node(FixedClock()) as node:
            return [await node.create(dict(ADA), external_ids={"shop": str(number)}) for number in range(5)]

    return asyncio.run(make())


@pytest.fixture
def cdv(sqlite_place, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        env = {"CDV_VAULT": str(sqlite_place.folder)}
        return CliRunner().invoke(app, ["consent", "import", *map(str, arguments)], env=env, prog_name="cdv")

    return call


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "consents.csv"
    path.write_text(HEAD + "".join(YES.format(number) for number in range(5)))
    return path


def counts(done):
    answer = json.loads(done.stdout)
    return answer["written"], answer["there"], answer["refused"]


OPTIONS = ("--source", "old-crm", "--system", "shop")


@pytest.mark.usefixtures("people")
def test_a_file_is_imported_once(cdv, file):
    first = cdv(file, *OPTIONS, "--json")
    assert (first.exit_code, counts(first)) == (0, (5, 0, 0)), first.output
    assert counts(cdv(file, *OPTIONS, "--json")) == (0, 5, 0)


@pytest.mark.usefixtures("people")
def test_a_dry_run_reports_and_writes_nothing(cdv, file):
    assert counts(cdv(file, *OPTIONS, "--json", "--dry-run")) == (5, 0, 0)
    assert counts(cdv(file, *OPTIONS, "--json")) == (5, 0, 0)


@pytest.mark.usefixtures("people")
def test_invalid_lines_are_reported_by_number_and_code_and_the_others_are_imported(cdv, file, tmp_path):
    with file.open("a") as more:
        more.write(f"{CANARY},direct-marketing,given,marketing@3,checkbox,2020-01-02,{CANARY}\n")
        more.write(f"1,{CANARY},given,marketing@3,checkbox,2020-01-02,\n")
        more.write(f"1,direct-marketing,given,marketing@3,checkbox,{CANARY},\n")
        more.write(f"1,direct-marketing,,marketing@3,{CANARY},2020-01-02,\n")
        more.write(f"{CANARY}\n")
    done = cdv(file, *OPTIONS, "--errors", tmp_path / "refused.jsonl")
    assert done.exit_code == 1
    assert "10 lines" in done.stderr
    assert "5 written, 0 there already, 5 refused" in done.stderr
    refused = [json.loads(line) for line in (tmp_path / "refused.jsonl").read_text().splitlines()]
    assert sorted((refusal["line"], refusal["code"], refusal["field"]) for refusal in refused if refusal["field"]) == [
        (7, "subject-not-found", "subject"),
        (8, "unknown-purpose", "purpose"),
        (9, "bad-format", "occurred_at"),
        (10, "missing", "decision"),
    ]
    assert (11, "not-a-line") in {(refusal["line"], refusal["code"]) for refusal in refused}
    assert CANARY not in done.output + (tmp_path / "refused.jsonl").read_text()
    assert stat.S_IMODE((tmp_path / "refused.jsonl").stat().st_mode) == 0o600


@pytest.mark.usefixtures("people")
def test_a_mapping_defines_the_meaning_of_other_columns(cdv, tmp_path):
    (tmp_path / "old.csv").write_text(
        "kunde;nl;seit\n0;J;24.12.2019 18:00\n1;N;24.12.2019 18:00\n2;?;24.12.2019 18:00\n"
    )
    (tmp_path / "m.toml").write_text(
        'source = "old-crm"\nsystem = "shop"\ntime_zone = "Europe/Berlin"\n[columns]\nexternal_id = "kunde"\n'
        'purpose = { constant = "direct-marketing" }\nnotice = { constant = "marketing@3" }\n'
        'decision = { column = "nl", values = { J = "given", N = "withdrawn" } }\n'
        'occurred_at = { column = "seit", date_format = "%d.%m.%Y %H:%M" }\n'
    )
    done = cdv(tmp_path / "old.csv", "--mapping", tmp_path / "m.toml", "--json")
    assert counts(done) == (2, 0, 1), done.output
    assert json.loads(done.stdout)["codes"] == {"unmapped-value": 1}


@pytest.mark.usefixtures("people")
def test_jsonl_and_parquet_files_are_imported(cdv, tmp_path):
    from pyarrow import parquet, table

    keys = HEAD.strip().split(",")
    rows = [dict(zip(keys, YES.format(number).strip().split(","), strict=True)) for number in range(3)]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert counts(cdv(tmp_path / "c.jsonl", *OPTIONS, "--json")) == (3, 0, 0)
    parquet.write_table(table({key: [row[key] for row in rows] for key in keys}), tmp_path / "c.parquet")
    assert counts(cdv(tmp_path / "c.parquet", *OPTIONS, "--json")) == (0, 3, 0)


@pytest.mark.usefixtures("people")
def test_an_unknown_column_is_refused(cdv, tmp_path):
    """It could be the end of a consent under another name; if it was ignored, the consent would not end."""
    (tmp_path / "a.csv").write_text(HEAD.strip() + ",valid_til\n" + YES.format(1).strip() + ",2021-01-01\n")
    done = cdv(tmp_path / "a.csv", *OPTIONS)
    assert (done.exit_code, "unknown columns" in done.stderr) == (1, True)
    row = {"external_id": "1", "purpose": "direct-marketing", "decision": "given", "valid_til": "2021-01-01"}
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    assert json.loads(cdv(tmp_path / "a.jsonl", *OPTIONS, "--json").stdout)["codes"] == {"unknown-key": 1}


def test_a_file_without_a_source_a_system_or_a_required_column_is_refused(cdv, file, tmp_path):
    assert "names its source" in cdv(file, "--system", "shop").stderr
    assert "the system of the external ids is missing" in cdv(file, "--source", "old-crm").stderr
    (tmp_path / "a.csv").write_text("purpose,decision\na,b\n")
    assert "lacks columns" in cdv(tmp_path / "a.csv", *OPTIONS).stderr


async def test_an_interrupted_import_is_completed_by_the_same_command(sqlite_node, tmp_path, monkeypatch):
    ids = [await sqlite_node.create(external_ids={"shop": str(number)}) for number in range(5)]
    path = tmp_path / "c.csv"
    path.write_text(HEAD + "".join(YES.format(number) for number in range(5)))
    request = ConsentFile(path, source="old-crm", system="shop")
    monkeypatch.setattr(running, "MOST", 2)
    real, left = running.import_batch, [True, False]

    async def bring_in(*args, **kwargs):
        if not left.pop(0):
            raise Unavailable("gone")
        return await real(*args, **kwargs)

    monkeypatch.setattr(running, "import_batch", bring_in)
    with pytest.raises(Unavailable):
        await import_consents_file(sqlite_node.services, request)
    monkeypatch.setattr(running, "import_batch", real)
    report = await import_consents_file(sqlite_node.services, request)
    assert (report.written, report.there) == (3, 2)
    for id_ in ids:
        assert (await sqlite_node.read("marketing", id_, ["name"], "direct-marketing")).status_code == 200


async def test_an_import_of_profiles_does_not_change_consents(sqlite_node, tmp_path):
    """Imports of profiles write values, and cannot write a consent, an objection or a restriction."""
    from tests.imports.files import write_csv
    from vault.imports.mapping import parse_mapping
    from vault.imports.run import ImportRequest, import_file

    subject = await sqlite_node.create(external_ids={"shop": "1"})
    said = {"purpose": "direct-marketing", "decision": "refused"}
    assert (await sqlite_node.post("support", f"/v1/subjects/{subject}/consents", said)).status_code == 201
    before = await sqlite_node.sql("SELECT state, standing FROM subject")
    mapping = parse_mapping(
        'purpose = "order-fulfilment"\n[external_ids]\nshop = "no"\n[fields]\nname = "name"\nlanguage = "lang"\n'
    )
    file = write_csv(tmp_path / "a.csv", "no,name,lang,standing,state,consent", "1,Eve,de,x,active,given")
    report = await import_file(sqlite_node.services, None, ImportRequest(file, mapping, processes=1))
    assert report.updated == 1
    assert await sqlite_node.sql("SELECT state, standing FROM subject") == before
    assert (await sqlite_node.read("marketing", subject, ["name"], "direct-marketing")).status_code == 403
