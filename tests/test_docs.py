"""The docs cannot drift: what they say of commands, settings, codes, routes, metrics and views is what the code has."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
import typer
from prometheus_client import metrics as prometheus

from vault import logs
from vault.api.app import bare_app
from vault.audit.entry import Action, Entry
from vault.bootstrap import init_vault, open_vault
from vault.catalogue.types import TYPES
from vault.cli import app as command_line
from vault.http import metrics
from vault.http.problem_codes import EXPLAINED
from vault.policy.policy_set import PolicySet
from vault.settings import Oidc, Settings

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])
NOT_SETTINGS = {"CDV_DEBUG", "CDV_OPERATOR"}
"""Variables that the docs name and that are no settings."""
EVERY_TYPE = "every type"
TWO_COMMANDS = (
    "python3 -m venv .venv && .venv/bin/pip install -c requirements.lock -e . && .venv/bin/cdv demo",
    "python3 -m venv .venv && .venv/bin/pip install -c requirements.lock -e '.[test]' && .venv/bin/pytest",
)

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def _read(name):
    return (DOCS / name).read_text(encoding="utf-8")


def _fences(text, *languages):
    """Return the insides of fenced blocks in some languages, those inside lists too."""
    match = re.findall(r"^( *)```([a-z]*)\n(.*?)^\1```$", text, re.DOTALL | re.MULTILINE)
    return [inside for _indent, language, inside in match if language in languages]


def _prose(text):
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.DOTALL | re.MULTILINE)


def _sections(text):
    """Map each heading to what stands under it."""
    parts = re.split(r"^#{1,6} (.+)$", _prose(text), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _rows(text):
    """Return the cells of all rows of tables, headings left out, code ticks taken off."""
    rows = []
    for before, line in pairwise(["", *text.splitlines()]):
        if line.startswith("|") and not re.fullmatch(r"[|\s-]+", line) and before.startswith("|"):
            cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
            rows.append([cell.strip().replace("\\|", "|") for cell in cells])
    return rows


def _bare(cell):
    return cell.strip("`")


def _anchors(path):
    """Return the anchors that a page's headings get."""
    headings = re.findall(r"^#{1,6} (.+)$", _prose(path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# ---- Commands --------------------------------------------------------------------------------------------------------


def _commands(text):
    """Return every line that calls ``cdv``, in blocks and between ticks, without what surrounds it."""
    blocks = "\n".join(_fences(text, "bash", "text", "ini", "")).replace("\\\n", " ")
    quoted = "\n".join(re.findall(r"`([^`\n]+)`", _prose(text)))
    match = re.findall(r"(?:^|[\s(/=])cdv ([^\n#&|;)]*)", blocks + "\n" + quoted, re.MULTILINE)
    return [line.split() for line in match]


@functools.cache
def _all_commands():
    return typer.main.get_command(command_line)


def _options(command):
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}


@each_page
def test_every_command_in_the_docs_exists_with_its_options(page):
    wrong = []
    for words in _commands(page.read_text(encoding="utf-8")):
        command, rest = _all_commands(), list(words)
        while getattr(command, "commands", None) and rest and rest[0] in command.commands:
            command = command.commands[rest.pop(0)]
        unknown = [word for word in rest if word.startswith("-") and word.split("=")[0] not in _options(command)]
        group = bool(getattr(command, "commands", None))
        if unknown or (group and rest and not rest[0].startswith("-")):
            wrong.append(" ".join(words))
    assert not wrong


def test_the_docs_name_commands_at_all():
    assert len([words for page in PAGES for words in _commands(page.read_text(encoding="utf-8"))]) > 40


def test_the_readme_has_the_two_commands_word_for_word():
    blocks = _fences((ROOT / "README.md").read_text(encoding="utf-8"), "bash")
    assert [block.strip() for block in blocks][:2] == list(TWO_COMMANDS)
    assert (ROOT / "requirements.lock").is_file(), "both commands install by it"


# ---- Settings, metrics, logs -----------------------------------------------------------------------------------------


def _default(field):
    value = field.default
    return "none" if value == () else str(value)


def test_operating_lists_every_setting_with_its_default_and_no_other():
    listed = {_bare(cells[0]): _bare(cells[1]) for cells in _rows(_sections(_read("operating.md"))["Settings"])}
    assert listed.keys() == {f"CDV_{name.upper()}" for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        if field.is_required() or field.default == "":
            continue  # their defaults are told in words
        assert listed[f"CDV_{name.upper()}"] == _default(field), name


@each_page
def test_every_variable_that_the_docs_name_is_a_setting(page):
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"\bCDV_[A-Z_]*[A-Z]\b", text))
    assert named <= {f"CDV_{name.upper()}" for name in Settings.model_fields} | NOT_SETTINGS


def test_operating_explains_every_key_of_an_issuer():
    text = _read("operating.md")
    section = _sections(text)["People who sign in: OIDC"]
    assert {_bare(cells[0]) for cells in _rows(section)} == set(Oidc.model_fields)
    (example,) = [block for block in _fences(text, "toml") if "[[oidc]]" in block]
    (issuer,) = tomllib.loads(example)["oidc"]
    Oidc(**issuer)


def test_operating_lists_every_metric_with_its_labels():
    created = {
        item._name + ("_total" if isinstance(item, prometheus.Counter) else ""): set(item._labelnames)
        for item in metrics._ALL
    }
    created |= {family.name: set(family._labelnames) for family in metrics.Sizes({}, dict).collect()}
    rows = _rows(_sections(_read("operating.md"))["Metrics"])
    assert {_bare(cells[0]): set(re.findall(r"`(\w+)`", cells[2])) for cells in rows} == created


def test_operating_lists_every_key_of_a_log_line():
    rows = _rows(_sections(_read("operating.md"))["Logs"])
    assert {name for cells in rows for name in re.findall(r"`(\w+)`", cells[0])} == {*logs.ALLOWED, "dropped"}


# ---- The API ---------------------------------------------------------------------------------------------------------


async def test_the_api_page_has_every_route_and_no_other(tmp_path):
    await init_vault(tmp_path / "vault")
    async with open_vault(tmp_path / "vault") as vault:
        document = bare_app(vault).openapi()
    routes = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert {
        heading for heading in _sections(_read("api.md")) if re.match(r"(GET|POST|PATCH|PUT|DELETE) /", heading)
    } == (routes)


def test_the_api_page_explains_every_problem_code_in_the_same_words():
    section = _sections(_read("api.md"))["Codes"]
    printed = {_bare(cells[0]): cells[1] for cells in _rows(section.partition("Codes in `errors`")[0])}
    assert printed == EXPLAINED


@each_page
def test_examples_in_json_are_json(page):
    for example in _fences(page.read_text(encoding="utf-8"), "json"):
        json.loads(example)


@each_page
def test_examples_in_toml_are_toml(page):
    for example in _fences(page.read_text(encoding="utf-8"), "toml"):
        tomllib.loads(example)


# ---- Policies and formats --------------------------------------------------------------------------------------------


def test_the_table_of_views_is_what_the_code_describes():
    printed = set()
    for kind, view, shows in _rows(_sections(_read("policies.md"))["Views"]):
        kinds = TYPES if kind == EVERY_TYPE else [_bare(kind)]
        printed |= {(item, _bare(view), shows) for item in kinds}
    assert printed == {
        (kind.name, name, view.description) for kind in TYPES.values() for name, view in kind.views.items()
    }


def test_the_tables_of_types_are_what_the_code_has():
    types, options = [], []
    for cells in _rows(_sections(_read("policies.md"))["Types"]):
        (types if len(cells) == 4 else options).append([_bare(cell) for cell in cells])
    assert [(name, title) for name, title, *_ in types] == [(type_.name, type_.title) for type_ in TYPES.values()]
    for name, _title, indexes, settings in types:
        assert set(re.findall(r"\w+", indexes)) - {"none"} == TYPES[name].indexes
        assert set(re.findall(r"\w+", settings)) - {"none"} == TYPES[name].options.keys()
    assert [(kind, name) for kind, name, _title in options] == [
        (type_.name, name) for type_ in TYPES.values() for name in type_.options
    ]


def test_the_policies_page_names_every_purpose_and_role_that_ships():
    shipped = PolicySet.from_folder(ROOT / "policies")
    rows = _rows(_sections(_read("policies.md"))["The set that ships"])
    named = [{*re.findall(r"`([a-z-]+)`", cells[0])} for cells in rows]
    purposes = set().union(*(names for names, cells in zip(named, rows, strict=True) if len(cells) == 3))
    roles = set().union(*(names for names, cells in zip(named, rows, strict=True) if len(cells) == 2))
    assert purposes == shipped.purposes.keys()
    assert roles == shipped.rules.roles


def test_purposes_that_are_said_to_be_denied_rest_on_consent():
    shipped = PolicySet.from_folder(ROOT / "policies").purposes
    for cells in _rows(_sections(_read("policies.md"))["The set that ships"]):
        if len(cells) == 3:
            denied = {shipped[name].legal_basis == "consent" for name in re.findall(r"`([a-z-]+)`", cells[0])}
            assert denied == {cells[2] != "yes"}


def test_the_format_page_lists_every_key_and_action_of_an_audit_entry():
    text = _sections(_read("format.md"))["Audit entry"]
    keys = [cells for cells in _rows(text) if len(cells) == 3]
    assert {name for cells in keys for name in re.findall(r"`(\w+)`", cells[0])} == set(Entry.__struct_fields__)
    actions = re.search(r"^Actions: (.+?)\.$", text, re.DOTALL | re.MULTILINE)
    assert re.findall(r"`([a-z-]+)`", actions[1]) == list(get_args(Action))


# ---- Links and the rest ----------------------------------------------------------------------------------------------


@each_page
def test_every_relative_link_leads_somewhere(page):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page.read_text(encoding="utf-8"))):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        to = page if not path else (page.parent / path).resolve()
        if not to.exists() or (anchor and anchor not in _anchors(to)):
            broken.append(target)
    assert not broken


def test_the_index_of_decisions_quotes_every_decision():
    pages = sorted(path for path in (DOCS / "decisions").glob("*.md") if path.name != "README.md")
    assert [path.name[:4] for path in pages] == [f"{number:04}" for number in range(1, len(pages) + 1)]
    index = {re.findall(r"\((.+)\)", cells[0])[0]: cells[1] for cells in _rows(_read("decisions/README.md"))}
    quoted = {}
    for path in pages:
        lines = path.read_text(encoding="utf-8").splitlines()
        quoted[path.name] = " ".join(line[2:] for line in lines if line.startswith("> "))
        assert lines[0].startswith(f"# {path.name[:4]}. ")
    assert index == quoted


@each_page
def test_no_path_of_a_developers_machine_is_in_the_docs(page):
    assert not re.search(r"/(?:home|root|work|tmp|Users)/", page.read_text(encoding="utf-8"))


def test_the_picture_is_whole_and_legible_on_dark_and_light():
    from xml.etree import ElementTree as ET

    picture = (DOCS / "read-path.svg").read_text(encoding="utf-8")
    root = ET.fromstring(picture)  # noqa: S314 - our own file
    words = " ".join(root.itertext())
    assert all(re.search(rf"\b{step}\b", words) for step in range(1, 10))
    assert "prefers-color-scheme: dark" in picture


def test_the_picture_of_consent_is_whole_and_legible_on_dark_and_light():
    from xml.etree import ElementTree as ET

    picture = (DOCS / "consent.svg").read_text(encoding="utf-8")
    words = " ".join(ET.fromstring(picture).itertext())  # noqa: S314 - our own file
    assert all(word in words for word in ("Ledger", "One transaction", "The person's row", "Every read, on every node"))
    assert "prefers-color-scheme: dark" in picture


def test_concepts_explain_every_finding_of_the_record_of_processing():
    source = (ROOT / "vault" / "governance" / "record_facts.py").read_text(encoding="utf-8")
    codes = set(re.findall(r'Finding\(\s*(?:code=)?"([a-z-]+)"', source))
    assert len(codes) == 5
    assert {_bare(cells[0]) for cells in _rows(_sections(_read("concepts.md"))["The record of processing"])} == codes


# ---- The first steps, for real ---------------------------------------------------------------------------------------


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _follow(page, folder):
    """Run the shell blocks of a page from ``cdv init`` on, in one shell, as a newcomer pastes them."""
    blocks = _fences(page.read_text(encoding="utf-8"), "bash")
    start = next(number for number, block in enumerate(blocks) if "cdv init" in block)
    port = _free_port()
    script = "set -e\ntrap 'cdv stop 2>/dev/null || true' EXIT\n" + "\n".join(blocks[start:]).replace("8300", str(port))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CDV_")}
    here = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env={**kept, "CDV_PORT": str(port), "PATH": here},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def _answers(output):
    """Pick the JSON objects out of what commands printed."""
    result, decoder, rest = [], json.JSONDecoder(), output
    while "{" in rest:
        rest = rest[rest.index("{") :]
        try:
            answer, end = decoder.raw_decode(rest)
        except ValueError:
            end, answer = 1, None
        rest = rest[end:]
        result += [answer] if isinstance(answer, dict) else []
    return result


needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="the docs use curl")


@needs_curl
def test_the_readme_leads_a_newcomer_to_a_field(tmp_path):
    done = _follow(ROOT / "README.md", tmp_path)
    assert done.returncode == 0, done.stderr
    (read,) = [answer for answer in _answers(done.stdout) if "fields" in answer]
    (shown,) = [json.loads(block) for block in _fences((ROOT / "README.md").read_text(encoding="utf-8"), "json")]
    assert read["fields"] == shown["fields"]
    assert read["denied"].keys() == shown["denied"].keys()
    assert read["denied"]["birth_date"]["code"] == shown["denied"]["birth_date"]["code"]
    assert "web-shop" in done.stdout
    assert done.stdout.count("good: unchanged, and signed by a key that you named") == 2  # package and certificate


@needs_curl
def test_the_quickstart_works_as_it_is_written(tmp_path):
    page = DOCS / "quickstart.md"
    done = _follow(page, tmp_path)
    assert done.returncode == 0, done.stderr
    reads = [answer for answer in _answers(done.stdout) if "fields" in answer]
    (shown,) = [json.loads(block) for block in _fences(page.read_text(encoding="utf-8"), "json")]
    assert any(answer["fields"] == shown["fields"] and answer["denied"] == shown["denied"] for answer in reads)
    (match,) = [answer for answer in _answers(done.stdout) if "more" in answer]
    assert match["results"][0]["fields"] == {"name": "Ada Lovelace", "phone.last_4": "5678"}


def test_this_page_of_tests_reads_every_document():
    assert {page.name for page in PAGES} >= {
        "README.md", "quickstart.md", "concepts.md", "policies.md", "api.md", "operating.md", "threat-model.md",
        "changelog.md", "format.md", "import.md",
    }  # fmt: skip
