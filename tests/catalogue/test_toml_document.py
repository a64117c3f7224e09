"""Every key of a TOML text is found on its line."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from vault.catalogue.toml_document import Lines, did_you_mean, load_toml

TEXT = '''\
# a comment with [brackets] and "quotes
top = 1

[a]
plain = "x" # [not.a.header]
"quoted key" = 'y'
dotted.deep = true
many = [
  "one", # first

  "two",
  [3, 4],
]

[a.inline]
table = { x = 1, y = { z = [
  5,
] } }

[b."dotted.name"]
long = """
[not.a.header]
fake = 1
"quoted" \\""" still
"""
after = 2
literal = \'\'\'
[nor.this]\'\'\'
day = 2026-03-05

[[list]]
name = "first"

[[list]]
name = "second"
[list.sub]
k = 1
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ((), 1),
        (("top",), 2),
        (("a",), 4),
        (("a", "plain"), 5),
        (("a", "quoted key"), 6),
        (("a", "dotted"), 7),
        (("a", "dotted", "deep"), 7),
        (("a", "many"), 8),
        (("a", "many", 0), 9),
        (("a", "many", 1), 11),
        (("a", "many", 2, 1), 12),
        (("a", "inline"), 15),
        (("a", "inline", "table", "x"), 16),
        (("a", "inline", "table", "y", "z", 0), 17),
        (("b", "dotted.name"), 20),
        (("b", "dotted.name", "long"), 21),
        (("b", "dotted.name", "after"), 26),
        (("b", "dotted.name", "literal"), 27),
        (("b", "dotted.name", "day"), 29),
        (("list", 0), 31),
        (("list", 0, "name"), 32),
        (("list", 1), 34),
        (("list", 1, "name"), 35),
        (("list", 1, "sub"), 36),
        (("list", 1, "sub", "k"), 37),
    ],
)
def test_a_path_is_found_on_its_line(path, line):
    tomllib.loads(TEXT)

    assert Lines(TEXT).of(path) == line


def test_a_missing_path_has_the_line_of_the_table_around_it():
    assert Lines(TEXT).of(("a", "missing")) == 4
    assert Lines(TEXT).of(("nowhere", "at", "all")) == 1


def test_an_empty_text_has_a_first_line():
    assert Lines("").of(("x",)) == 1


@pytest.mark.parametrize("name", ["catalogue.toml", "purposes.toml", "retention.toml"])
def test_every_key_of_the_shipped_files_is_found_where_it_is_written(name):
    text = (Path(__file__).parents[2] / "policies" / name).read_text()
    rows = text.split("\n")
    lines = Lines(text)

    def check(path, value):
        assert str(path[-1]).split(".")[0] in rows[lines.of(path) - 1], path
        if isinstance(value, dict):
            for key, inner in value.items():
                check((*path, key), inner)
        elif isinstance(value, list):
            for i, element in enumerate(value):
                assert str(element) in rows[lines.of((*path, i)) - 1]

    for key, value in tomllib.loads(text).items():
        check((key,), value)


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 5_000,
        ".".join("a" * 33) + " = 1",
        "[" + ".".join("a" * 33) + "]",
        "x = {" + '"a" . ' * 33 + "a = 1}",
    ],
)
def test_toml_that_costs_more_than_its_length_is_refused(text):
    with pytest.raises(tomllib.TOMLDecodeError):
        load_toml(text)


def test_a_key_of_many_parts_is_read():
    text = ".".join("a" * 32) + ' = "' + ".".join("b" * 100) + '"'
    assert load_toml(text) == tomllib.loads(text)


def test_no_near_name_is_looked_for_among_very_many():
    assert "did you mean" in did_you_mean("names", ["name", *map(str, range(299))], "write it")
    assert did_you_mean("names", ["name", *map(str, range(300))], "write it") == "write it"
