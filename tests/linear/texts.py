"""The entries that take a text or bytes from outside, each as a function of that text.

An entry is a whole door where that is cheap, else the function behind the door that looks at the text.
"""

from __future__ import annotations

import io
import tempfile
from collections import Counter
from contextlib import suppress
from datetime import UTC, date, datetime
from ipaddress import ip_network
from pathlib import Path

import msgspec
from typer import BadParameter

from vault.api.dependencies import cursor_of, revision_of
from vault.backup.manifest import read_manifest
from vault.catalogue.collections import load_catalogue
from vault.catalogue.company import load_consent, load_controller, load_requests
from vault.catalogue.notices import compare, load_notice
from vault.catalogue.periods import read_period
from vault.catalogue.purposes import load_purposes
from vault.catalogue.retention import load_retention
from vault.catalogue.toml_document import Document, Findings
from vault.catalogue.translations import load_words
from vault.catalogue.types import TYPES, ValueProblem, encode
from vault.catalogue.types.base import PARAMETERS
from vault.cli.command import parse_moment, parse_period
from vault.consent.validation import words_fault
from vault.crypto.age import decrypt
from vault.crypto.providers import FileRootKey
from vault.crypto.signing import check, parse
from vault.errors import VaultError
from vault.export.contents import _rows
from vault.export.formulas import escape_formula, unescape_formula
from vault.export.verify import check_archive
from vault.governance.record_formats import plain, safe
from vault.http.addresses import client_of
from vault.ids import is_slug
from vault.imports.consent_files import read_consent_mapping
from vault.imports.damage import is_serial_date, require_undamaged, stands_for_nothing
from vault.imports.lines import LineParser
from vault.imports.mapping import columns_in, parse_mapping
from vault.imports.readers import open_reader
from vault.imports.suggest import suggest_mapping
from vault.messaging.http import checked_url
from vault.messaging.mail import Letter, _message
from vault.moments import read_moment
from vault.names import called
from vault.policy.enforcer import check_model
from vault.policy.policy_set import PolicySet, tidied
from vault.policy.rules import RuleReader
from vault.principals.oidc import _checked_header, unverified_issuer
from vault.principals.principal import checked_name, checked_roles, key_id_of
from vault.records.criteria import parse_criteria
from vault.settings import shipped_policies
from vault.subjects.rows import external_id_fault
from vault.subjects.validation import checked_source

TODAY = date(2027, 3, 5)
NOW = datetime(2027, 3, 5, tzinfo=UTC)
OPTIONS = {
    "text": [{}, {"multiline": True, "max_length": 100_000}],
    "json": [{}, {"max_bytes": 262_144, "max_depth": 32}],
    "enumeration": [{"values": ["a", "b"]}],
    "phone": [{}, {"region": "DE"}, {"region": "US"}],
    "national_id": [{}, {"country": "FR"}],
}
GIVEN = {
    "address": lambda text: [{"street": text, "city": text, "postal_code": text, "country": "DE"}, {text: text}],
    "money": lambda text: [{"amount": text, "currency": "EUR"}, text],
    "json": lambda text: [text, [text], {text: text}],
}
"""Values of a type that are made of a text; by default the text itself."""
SHIPPED = PolicySet.from_folder(shipped_policies())
PEOPLE = 'purpose = "order-fulfilment"\n[external_ids]\nshop = "no"\n[fields]\nname = "name"\nemail = "mail"\n'


def value_of(name):
    """Return the entry of a field type: everything that happens to a value that is written, read or searched."""
    field_type = TYPES[name]

    def take(text):
        for options in OPTIONS.get(name, [{}]):
            for given in GIVEN.get(name, lambda text: [text])(text):
                for read in {field_type.normalise, field_type.read_cell}:
                    with suppress(ValueProblem):
                        _use(field_type, read(given, options), options)
        if field_type.fold is not None:
            with suppress(ValueError):  # too many marks: the search answers so
                field_type.index_text(text)

    return take


def _use(field_type, value, options):
    encode(value)
    with suppress(ValueProblem):
        field_type.check_today(value, options, TODAY)
    field_type.lines(value, str)
    for name, view in field_type.views.items():
        for number in (1, 16) if name in PARAMETERS else (0,):
            view.show(value, TODAY, number)
    if field_type.fold is not None and isinstance(value, str):
        field_type.index_text(value)


def search(text):
    for match in ({"name": text}, {"name": {"prefix": text}}, {"email": {"prefix": text}}, {"phone": {"last_4": text}}):
        with suppress(VaultError):
            parse_criteria(SHIPPED.catalogue, match)


LOADERS = {
    "catalogue.toml": load_catalogue,
    "purposes.toml": lambda document: load_purposes(document, SHIPPED.catalogue),
    "retention.toml": lambda document: load_retention(document, SHIPPED.catalogue, SHIPPED.purposes),
    "consent.toml": lambda document: load_consent(document, SHIPPED.purposes),
    "controller.toml": load_controller,
    "requests.toml": load_requests,
    "words.de.toml": lambda document: load_words(document, SHIPPED.catalogue, SHIPPED.purposes),
}


def policy_file(name):
    """Return the entry of a TOML file of the policy folder."""

    def take(text):
        for written in (text, f"[a]\na = {text}", f"a.{text} = 1"):
            document = Document(name, tidied(name, written, Findings()), Findings())
            if document.sound:
                LOADERS[name](document)
            document.findings.sorted()

    return take


def rules(text):
    for written in (text, f"p, {text}, *, {text}, read, {text}, allow"):
        RuleReader(findings := Findings(), SHIPPED.catalogue, SHIPPED.purposes).read(written)
        findings.sorted()


def model(text):
    check_model(text, Findings())


def notices(text):
    files = [f'+++\nnotice = "a@{n}"\ntitle = "A"\nlanguage = "en"\npurposes = ["a"]\n+++\n{n}{text}' for n in (1, 2)]
    old, new = (load_notice(f"notices/a@{n}.md", file, Findings()).notice for n, file in enumerate(files, 1))
    compare(old, new)
    load_notice("notices/a@1.md", text, Findings())


def import_file(suffix, content):
    """Return the entry of a file of customers; ``content`` makes its text."""

    def take(text):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"people{suffix}"
            path.write_text(content(text), encoding="utf-8", errors="replace")
            with suppress(VaultError):
                suggest_mapping(path, SHIPPED.catalogue, TODAY)
            with suppress(VaultError):
                mapping = parse_mapping(PEOPLE)
                reader = open_reader(mapping, path)
                fields = SHIPPED.catalogue.collections["profile"].fields
                parser, faults = LineParser(mapping, fields, reader), []
                lines = [located.line for located in reader.scan(set())]
                for line in lines:
                    if line.row is not None:
                        with suppress(ValueProblem):
                            parser.ids(line.row)
                list(parser.drafts(lines, (), faults, Counter()))

    return take


def mapping(text):
    for written in (
        text,
        f"a.{text} = 1",
        f"a = {text}",
        PEOPLE + text,
        f"{PEOPLE}language = {{ template = {msgspec.json.encode(text).decode()} }}",
    ):
        with suppress(VaultError):
            parse_mapping(written)
    with suppress(ValueError):
        columns_in(text)
    with tempfile.NamedTemporaryFile("w", suffix=".toml", encoding="utf-8", errors="replace") as file:
        file.write(text)
        file.flush()
        with suppress(VaultError):
            read_consent_mapping(Path(file.name))


def cell(text):
    with suppress(ValueProblem):
        require_undamaged(text)
    is_serial_date(text)
    stands_for_nothing(text)
    external_id_fault(text, at="/", name="an id")


def token(text):
    for bearer in (text, f"cdv_{text}", f"{text}.{text}.{text}"):
        key_id_of(bearer)
        unverified_issuer(bearer)
        with suppress(Exception):
            _checked_header(bearer)


def letter(text):
    for made in (Letter("a@b.org", "a", text), Letter(text, text, "a")):
        with suppress(ValueError):
            _message(made, "privacy@shop.example").as_bytes()


def webhook(text):
    for url in (text, f"https://{text}", f"https://a.org/{text}", f"https://a.org:{text}", f"https://[{text}]"):
        with suppress(VaultError):
            checked_url(url, private=False)


def signed_document(text):
    data = text.encode("utf-8", "replace")
    for content in (data, b'{"receipt":{"a":"' + data + b'"},"signature":{}}', b'{"a":[' + data):
        with suppress(VaultError):
            check(parse(content), "label", "receipt")
    with suppress(VaultError):
        check_archive(io.BytesIO(data))
    with suppress(VaultError):
        list(decrypt(io.BytesIO(b"age-encryption.org/v1\n-> scrypt " + data), "a"))


def backup(text):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "manifest.json").write_text(text, encoding="utf-8", errors="replace")
        with suppress(VaultError):
            read_manifest(Path(folder), FileRootKey.create(Path(folder) / "root.key"))


def moment(text):
    read_moment(text)
    read_period(text)
    for forward in (True, False):
        with suppress(BadParameter):
            parse_moment(text, NOW, forward=forward)
    with suppress(BadParameter):
        parse_period(text)


def names(text):
    called(text, 1, SHIPPED.purposes)
    is_slug(text)
    words_fault(text, at="/reason", code="invalid-reason")
    for check_name in (
        checked_name,
        lambda name: checked_roles([name]),
        lambda name: checked_source(name, fallback="a"),
    ):
        with suppress(VaultError):
            check_name(text)


def header(text):
    for read in (revision_of, cursor_of):
        with suppress(VaultError):
            read(text)
        with suppress(VaultError):
            read(f'"{text}"')
    value = text.encode("latin-1", "replace")
    networks = [ip_network("10.0.0.0/8")]
    client_of({"client": ("10.0.0.1", 1), "headers": [(b"x-forwarded-for", value)]}, networks)


def table(text):
    unescape_formula(escape_formula(text))
    plain(text)
    safe(text)
    _rows([[text]])


def csv_of(row):
    return lambda text: "no,name,mail\n" + row(text)


TEXTS = {
    **{f"type {name}": value_of(name) for name in TYPES},
    **{f"policies {name}": policy_file(name) for name in LOADERS},
    "policies policy.csv": rules,
    "policies model.conf": model,
    "policies notices": notices,
    "search": search,
    "import csv header": import_file(".csv", lambda text: text),
    "import csv cell": import_file(".csv", csv_of(lambda text: f"1,{text},a@b.org\n")),
    "import csv quoted": import_file(".csv", csv_of(lambda text: f'1,"{text}",a@b.org\n')),
    "import jsonl": import_file(".jsonl", lambda text: msgspec.json.encode({"no": 1, "name": text}).decode()),
    "import jsonl raw": import_file(".jsonl", lambda text: '{"no": 1, "name": ' + text),
    "mapping": mapping,
    "cell": cell,
    "token": token,
    "letter": letter,
    "webhook": webhook,
    "signed document": signed_document,
    "backup manifest": backup,
    "moment": moment,
    "names": names,
    "header": header,
    "export table": table,
}
"""Every entry that takes one text, by its name."""

PIECES = [
    "a", "A1", "é", "ß", "\u0301\u0327", "\u200d", "\ufdfa", "👩‍", "🇩🇪", "0", "1 ", "00", "9.", ".", "-", "a-", "a.", "a@", "@",
    " ", "\n", "\r\n", "\n\n", "\t;", ",", '"', "'", '""', "'\n", "=", "+1", "(", "[", "{", "a=", "a=1\n", "[a]\n", "a.b.", "%61",
    "%", "\\", "\\u", "&", "<", "#", "/", ":", "//", "?", "=?", "xn--a.", "{a}", "{", "}", "[[", "0x", "1e", "T0", "P1", "+49", "ext",
    '{"a":', '"a":1,', "[1,", "g, a, b\n", "p, a, *, *, read, *, allow\n", "*", "_", "- ", "a b ", "```", "\u202e",
]  # fmt: skip
"""Pieces of which hostile texts are made."""
