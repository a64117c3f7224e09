"""``cdv import``: its output, files and exit status, none of which contains a personal value."""

from __future__ import annotations

import json
import logging
import stat

import pytest
from typer.testing import CliRunner

from tests.imports.files import PEOPLE, people_csv, write_csv, write_jsonl
from vault.cli import app, imports

CANARY = "Kanarienvogel"


@pytest.fixture
def cdv(sqlite_place, monkeypatch, tmp_path):
    """The command line, on a vault of its own."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        env = {"CDV_VAULT": str(sqlite_place.folder)}
        return CliRunner().invoke(app, ["import", *map(str, arguments)], env=env, prog_name="cdv")

    return run


@pytest.fixture
def mapping(tmp_path):
    path = tmp_path / "people.toml"
    path.write_text(PEOPLE)
    return path


def test_an_import_reports_its_result_in_one_line(cdv, mapping, tmp_path):
    done = cdv(people_csv(tmp_path / "a.csv", 20), "--mapping", mapping)
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    assert "20 lines" in done.stderr
    assert "20 created, 0 updated, 0 unchanged, 0 refused" in done.stderr


def test_json_output_contains_nothing_else(cdv, mapping, tmp_path):
    done = cdv(people_csv(tmp_path / "a.csv", 20), "--mapping", mapping, "--json", "--dry-run")
    answer = json.loads(done.stdout)
    assert answer["dry_run"] is True
    assert (answer["lines"], answer["created"], answer["updated"], answer["unchanged"], answer["refused"]) == (
        20,
        20,
        0,
        0,
        0,
    )
    assert json.loads(cdv(tmp_path / "a.csv", "--mapping", mapping, "--json").stdout)["created"] == 20


def test_refused_lines_are_written_to_a_file_that_only_the_owner_can_read(cdv, mapping, tmp_path):
    path = write_csv(tmp_path / "a.csv", "no,name,mail", "1,Ada,ada@example.org", "2,Bob,wrong", "1,Eve,e@example.org")
    done = cdv(path, "--mapping", mapping, "--errors", tmp_path / "refused.jsonl")
    assert done.exit_code == 1
    assert "refused: bad-format 1, duplicate-in-file 1" in done.stderr
    written = tmp_path / "refused.jsonl"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    answers = [json.loads(line) for line in written.read_text().splitlines()]
    assert [(item["line"], item["code"], item["field"]) for item in answers] == [
        (3, "bad-format", "email"),
        (4, "duplicate-in-file", None),
    ]


def test_no_errors_file_is_created_if_no_line_is_refused(cdv, mapping, tmp_path):
    cdv(people_csv(tmp_path / "a.csv", 3), "--mapping", mapping, "--errors", tmp_path / "refused.jsonl")
    assert not (tmp_path / "refused.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name a FILE"),
        (("a.csv",), "the purpose of the import is missing"),
        (("a.csv", "--purpose", "order-fulfilment", "--dataset", "completejourney"), "name a FILE"),
        (("--dataset", "iris"), "the data sets are: completejourney"),
        (("--dataset", "completejourney", "--dry-run"), "leave out the other options"),
        (("missing.csv",), "does not exist"),
        (("a.csv", "--purpose", "direct-marketing"), "may not be imported for this purpose"),
        (("a.csv", "--purpose", "order-fulfilment", "--tenant", "nobody"), "no such tenant"),
        (("a.csv", "--mapping", "missing.toml"), "the mapping cannot be read"),
    ],
)
def test_errors_have_a_hint(cdv, tmp_path, arguments, said):
    write_csv(tmp_path / "a.csv", "external_ids.shop,name", "1,Ada")
    done = cdv(*arguments)
    assert done.exit_code != 0
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert "hint: " in done.stderr


def test_output_logs_and_errors_file_contain_no_values(cdv, sqlite_place, tmp_path, caplog):
    """Canaries in valid and invalid values of every kind of column, in every way in which a line can fail."""
    caplog.set_level(logging.DEBUG)
    mapping = tmp_path / "m.toml"
    mapping.write_text(
        PEOPLE
        + 'birth_date = { column = "born", date_format = "%d.%m.%Y" }\n'
        + 'salutation = { column = "sex", values = { m = "Mr" } }\n'
        + 'phone = "phone"\naddress = { object = { city = "city", country = "land" } }\n'
    )
    good = {"no": "1", "name": CANARY, "mail": f"{CANARY}@example.org", "born": "01.02.1990", "city": CANARY}
    bad = [
        {**good, "no": f"{CANARY}{n}", column: f"{CANARY}\x00\n"} for n, column in enumerate(("name", "mail", "born"))
    ]
    bad += [{**good, "no": f"{CANARY}{n + 9}", column: CANARY} for n, column in enumerate(("sex", "phone", "land"))]
    path = write_jsonl(tmp_path / "a.jsonl", good, *bad, good, {**good, "no": CANARY * 99}, {"name": CANARY})
    with path.open("a") as file:
        file.write(f'{{"{CANARY}": \n')
    done = cdv(path, "--mapping", mapping, "--errors", tmp_path / "refused.jsonl")
    assert done.exit_code == 1
    assert "1 created" in done.stderr
    refused = (tmp_path / "refused.jsonl").read_text()
    assert {json.loads(line)["line"] for line in refused.splitlines()} == set(range(2, 12))
    for said in (done.stdout, done.stderr, refused, caplog.text):
        assert CANARY.casefold() not in said.casefold()
    for lying in sqlite_place.folder.iterdir():
        if lying.is_file():
            assert CANARY.casefold().encode() not in lying.read_bytes().lower()


def test_the_progress_bar_shows_no_value(tmp_path, monkeypatch):
    from rich.console import Console

    from vault.imports.lines import LineFault

    shown = (tmp_path / "shown").open("w+")
    monkeypatch.setattr(imports, "Console", lambda **_how: Console(file=shown, force_terminal=True, width=120))
    path = people_csv(tmp_path / f"{CANARY}.csv", 3)
    with imports.ImportProgress(path, "", None, quiet=False) as screen:
        screen.surveying(10)
        screen.began(3, resumed=False)
        screen.advanced(2)
        screen.refused(LineFault(2, "bad-format", "email", "must be an e-mail address"))
        screen._progress.refresh()
    shown.seek(0)
    with shown:
        text = shown.read()
    assert "importing" in text
    assert "2/3" in text
    assert CANARY not in text


def test_the_public_data_set_is_imported_by_one_command(cdv):
    done = cdv("--dataset", "completejourney", "--limit-purchases", 5_000, "--json")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert {name: (part["created"], part["updated"], part["refused"]) for name, part in answer.items()} == {
        "households": (2_469, 0, 0),
        "demographics": (0, 801, 0),
        "purchases": (5_000, 0, 0),
        "offers": (6_589, 0, 0),
        "redemptions": (2_102, 0, 0),
    }


async def test_an_imported_household_has_the_values_of_the_data_set(sqlite_node, tmp_path):
    from pathlib import Path

    from tests.imports.files import counts, read, subject_of
    from vault.imports.completejourney import prepare
    from vault.imports.run import ImportRequest, import_file

    async def bring_all_in():
        result = {}
        for part in prepare(Path(tmp_path), purchases=5_000):
            asked = ImportRequest(part.path, part.mapping)
            result[part.name] = counts(await import_file(sqlite_node.services, None, asked))
        return result

    await bring_all_in()
    first = await subject_of(sqlite_node, "1", "completejourney")
    shown = await read(
        sqlite_node, first, "income_band", "household_size", "household_composition", "marital_status", "home_ownership",
        "kids_count", "age_group", "birth_date", "name", "email", "phone.country", "address.country", "external_ids",
        "purchase.amount", "purchase.product_category", "purchase.currency", "offer.campaign", "offer.status",
    )  # fmt: skip
    assert shown["income_band"] == "35-49K"
    assert shown["household_size"] == "2"
    assert shown["household_composition"] == "2 Adults No Kids"
    assert shown["marital_status"] == "Married"
    assert shown["home_ownership"] == "Homeowner"
    assert shown["kids_count"] == "0"
    assert shown["age_group"] == "65+"
    assert shown["birth_date"] <= "1952-12-31"
    assert shown["email"].endswith(".1@example.org")
    assert (shown["phone.country"], shown["address.country"]) == ("US", "US")
    assert shown["external_ids"] == {"completejourney": "1"}
    assert len(shown["purchase.amount"]) == 100  # the newest hundred
    assert "SOFT DRINKS" in shown["purchase.product_category"]
    assert set(shown["purchase.currency"]) == {"USD"}
    assert all(shown["offer.campaign"])
    assert "offer.status" not in shown  # of 2017, and needed for two years
    assert "Campaign 8" in shown["offer.campaign"]
    assert await bring_all_in() == {  # nothing is new the second time: people are made up alike, too
        "households": (0, 0, 2_469, 0),
        "demographics": (0, 0, 801, 0),
        "purchases": (0, 0, 5_000, 0),
        "offers": (0, 0, 6_589, 0),
        "redemptions": (0, 0, 2_102, 0),
    }


def test_birth_dates_match_the_age_bands_on_the_last_day_of_the_data():
    import random

    from vault.imports.completejourney import LAST_DAY, _birth_date

    def age(born):
        return LAST_DAY.year - born.year - ((born.month, born.day) > (LAST_DAY.month, LAST_DAY.day))

    for band, low, high in (("19-24", 19, 24), ("45-54", 45, 54), ("65+", 65, 90)):
        ages = {age(_birth_date(random.Random(seed), band)) for seed in range(3_000)}
        assert ages == set(range(low, high + 1))


def test_a_mapping_is_suggested_on_standard_output_and_nothing_comes_in(cdv, tmp_path):
    path = write_csv(tmp_path / "a.csv", "Kundennr,Name,E-Mail", f"1,{CANARY},{CANARY}@example.org")
    done = cdv(path, "--suggest-mapping")
    assert done.exit_code == 0, done.output
    assert 'email = "E-Mail"' in done.stdout
    assert CANARY not in done.output
    (tmp_path / "suggested.toml").write_text(done.stdout)
    assert "1 created" in cdv(path, "--mapping", tmp_path / "suggested.toml").stderr


def test_what_was_left_out_or_looks_like_no_value_is_told_with_counts(cdv, tmp_path):
    mapping = tmp_path / "m.toml"
    mapping.write_text(PEOPLE.replace('"mail"', '{ column = "mail", otherwise = "leave-out" }'))
    done = cdv(write_csv(tmp_path / "a.csv", "no,name,mail", "1,null,a@example.org", "2,Bob,x"), "--mapping", mapping)
    assert done.exit_code == 0, done.output
    assert "left out" in done.stderr
    assert "email 1" in done.stderr
    assert "name 1" in done.stderr
