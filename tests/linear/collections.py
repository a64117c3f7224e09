"""The entries that take many parts, each as a function of their number: keys, levels, lines, columns, faults."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

import msgspec

from tests.linear.texts import LOADERS, SHIPPED, import_file, mapping, rules, signed_document
from vault.catalogue.toml_document import Document, Findings
from vault.catalogue.types import TYPES, ValueProblem
from vault.errors import VaultError
from vault.http.addresses import client_of
from vault.http.body_faults import faults_of
from vault.http.problems import MOST_FAULTS
from vault.imports.mapping import FileMapping, infer_mapping
from vault.imports.readers import open_reader
from vault.subjects.validation import fields_of, merged


def _names(number, form="n{}"):
    return [form.format(index) for index in range(number)]


def _toml(name, *lines):
    """Return the entry of a TOML file of many lines, each with its number in it."""

    def take(number):
        text = "\n".join(line.format(index) for index in range(number) for line in lines)
        document = Document(name, text, Findings())
        if document.sound:
            LOADERS[name](document)
        document.findings.sorted()

    return take


def _csv(line):
    return lambda number: rules("\n".join(line.format(index, index + 1) for index in range(number)))


def _json(made):
    def take(number):
        for options in ({}, {"max_bytes": 262_144, "max_depth": 32}):
            for text in (made(number), msgspec.json.encode(made(number)).decode()):
                with suppress(ValueProblem):
                    TYPES["json"].read_cell(text, options)

    return take


def _nested(number):
    value = 1
    for _level in range(number // 4):  # msgspec and Python nest less than a thousand levels
        value = {"a": [value]}
    return value


def _file(suffix, content):
    return lambda number: import_file(suffix, lambda _text: content(number))("")


def _parquet(number):
    import pyarrow as pa
    import pyarrow.parquet as pq

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "people.parquet"
        pq.write_table(pa.table({"no": list(map(str, range(number))), "name": ["a"] * number}), path)
        reader = open_reader(FileMapping(), path)
        list(reader.scan({"no", "name"}))


def _columns(number):
    with suppress(VaultError):
        infer_mapping(_names(number), SHIPPED.catalogue)
    infer_mapping([*_names(number, "external_ids.n{}"), "name"], SHIPPED.catalogue)


def _unknown_fields(number):
    with suppress(VaultError):
        fields_of(SHIPPED.catalogue, "profile", dict.fromkeys(_names(number), 1), at="", whole=True)
    merged({}, dict.fromkeys(_names(number), 1))


def _unknown_keys(number):
    body = dict.fromkeys(_names(number), 1)
    details = [{"type": "extra_forbidden", "loc": ("body", name)} for name in body]
    faults_of(details[:MOST_FAULTS], body, None)


def _hops(number):
    from ipaddress import ip_network

    header = (b"x-forwarded-for", b",".join([b"10.0.0.1"] * number))
    client_of({"client": ("10.0.0.1", 1), "headers": [header]}, [ip_network("10.0.0.0/8")])


COLLECTIONS = {
    "catalogue: unknown keys": _toml("catalogue.toml", "n{} = 1"),
    "catalogue: fields": _toml("catalogue.toml", "[field.n{0}]", 'type = "text"', 'category = "user.name"', "x = 1"),
    "catalogue: collections": _toml("catalogue.toml", "[collection.n{0}]", "x = 1"),
    "purposes": _toml("purposes.toml", "[n{0}]", 'title = "a"', 'data = ["x{0}"]', "x = 1"),
    "retention": _toml("retention.toml", "[[rule]]", 'purpose = "n{0}"', "x = 1"),
    "consent": _toml("consent.toml", "[n{0}]", "x = 1"),
    "requests": _toml("requests.toml", "[n{0}]", "x = 1"),
    "controller": _toml("controller.toml", "n{0} = 1"),
    "words": _toml("words.de.toml", "[n{0}]", 'x = "y"'),
    "rules: a chain of roles": _csv("g, n{0}, n{1}"),
    "rules: a circle of roles": lambda number: rules("\n".join(f"g, n{i}, n{(i + 1) % number}" for i in range(number))),
    "rules: bases of one role": _csv("g, n, n{0}"),
    "rules: unknown purposes": _csv("p, n{0}, *, name, read, n{0}, allow"),
    "rules: unknown fields": _csv("p, n, *, n{0}, read, *, allow"),
    "rules: unknown roles": _csv("p, n{0}, *, name, read, *, allow\ng, m{0}, k{0}"),
    "rules: the same": _csv("p, n, *, name, read, *, allow"),
    "json: keys": _json(lambda number: dict.fromkeys(_names(number), 1)),
    "json: items": _json(lambda number: [1] * number),
    "json: levels": _json(_nested),
    "mapping: fields": lambda number: mapping("".join(f"n{i} = 'a'\n" for i in range(number))),
    "mapping: tables": lambda number: mapping("".join(f"[n{i}]\n" for i in range(number))),
    "mapping: values": lambda number: mapping("values = {" + ",".join(f"n{i} = 'a'" for i in range(number)) + "}"),
    "csv: columns": _file(".csv", lambda number: ",".join(_names(number)) + "\n" + ",".join(["1"] * number) + "\n"),
    "csv: the same column": _file(".csv", lambda number: ",".join(["no"] * number) + "\n"),
    "csv: rows": _file(".csv", lambda number: "no,name,mail\n" + "1,a,b@c.org\n" * number),
    "csv: lines of one cell": _file(".csv", lambda number: 'no,name,mail\n1,"' + "a\n" * number + '",b@c.org\n'),
    "jsonl: keys": _file(".jsonl", lambda number: msgspec.json.encode(dict.fromkeys(_names(number), 1)).decode()),
    "jsonl: lines": _file(".jsonl", lambda number: '{"no": 1, "name": "a"}\n' * number),
    "parquet: rows": _parquet,
    "columns without a mapping": _columns,
    "unknown fields of a person": _unknown_fields,
    "unknown keys of a body": _unknown_keys,
    "hops of a request": _hops,
    "signed document: keys": lambda number: signed_document(
        msgspec.json.encode(dict.fromkeys(_names(number), 1)).decode()
    ),
    "signed document: levels": lambda number: signed_document('{"a":' * number),
}
"""Every entry that takes many parts, by its name."""
