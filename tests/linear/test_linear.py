"""Twice the input is at most about twice the work, at every entry: the worst texts that are known, by counted work."""

from __future__ import annotations

import re

import pytest

from tests.linear.collections import COLLECTIONS
from tests.linear.matcher import Matcher, TooManySteps, steps_of
from tests.linear.texts import PIECES, TEXTS
from tests.linear.work import counted, modules_of
from vault.catalogue.toml_document import Form
from vault.catalogue.types import TYPES
from vault.policy.policy_set import FILES, OPTIONAL

pytestmark = pytest.mark.xdist_group("linear")
MODULES = (
    "vault", "tomllib", "idna", "email_validator", "json", "csv", "difflib", "urllib.parse", "email", "re", "string",
    "html", "stdnum", "casbin.config", "rfc8785",
)  # fmt: skip
NOT_COUNTED = ("vault.storage.migrations", "vault.__main__", "vault.cli.demo", "email.mime", "stdnum.")
SIZES = (24, 400, 800)
LARGER = {"policies notices": (24, 3_000, 6_000), "letter": (24, 200, 400)}
FEWER = {
    "type text": PIECES[::6],
    "policies notices": PIECES[::12],
    "letter": PIECES[::4],
    **{name: PIECES[::2] for name in TEXTS if name.startswith(("import", "backup", "mapping", "type n", "type iban"))},
}
"""Sizes and pieces for slow entries. Notices are compared all with all up to a limit, which is below their sizes."""
MOST = 2.5
SMALL = 4_000
"""Work that any input may cost: what an entry does before it looks at the length."""


@pytest.fixture(scope="module")
def work():
    """Count the work of the vault and of the libraries in Python through which texts go."""
    with counted(modules_of(*MODULES, but=NOT_COUNTED)) as count:
        assert count.functions > 3_000
        yield count


def work_of(work, take, text):
    before = work.work
    take(text)
    return work.work - before


def texts_of(piece, size):
    """Return hostile texts of about some characters."""
    run = piece * max(1, size // len(piece))
    return (run, f"a{run}b", f"1{run}!", f"a@{run}.org")


def too_much(work, take, pieces=PIECES, sizes=SIZES):
    """Return the texts for which twice the length is more than 2.5 times the work."""
    found = {}
    for piece in pieces:
        for form, (_warm, once, twice) in enumerate(zip(*(texts_of(piece, size) for size in sizes), strict=True)):
            work_of(work, take, _warm)
            costs = [work_of(work, take, text) for text in (once, twice)]
            if costs[1] > MOST * costs[0] + SMALL:
                found[piece, form] = costs
    return found


@pytest.mark.parametrize("entry", TEXTS)
def test_the_work_for_a_text_grows_with_its_length_only(work, entry):
    pieces, sizes = FEWER.get(entry, PIECES), LARGER.get(entry, SIZES)
    assert too_much(work, TEXTS[entry], pieces, sizes) == {}


@pytest.mark.parametrize("entry", COLLECTIONS)
def test_the_work_for_many_parts_grows_with_their_number_only(work, entry):
    take = COLLECTIONS[entry]
    work_of(work, take, 10)
    once, twice = (work_of(work, take, number) for number in (500, 1_000))

    assert once > 500  # it looks at each part, or at the length, which is a part of the text
    assert twice <= MOST * once + SMALL


def patterns():
    """Return the regular expressions of all modules by their source."""
    values = [value for module in modules_of("vault", but=NOT_COUNTED) for value in vars(module).values()]
    values += [value.fits.__self__ for value in values if isinstance(value, Form) and hasattr(value.fits, "__self__")]
    return {str(value.pattern): value for value in values if isinstance(value, re.Pattern)}


def alphabet(pattern):
    """Return characters of each kind that an expression names."""
    source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    letters = dict.fromkeys([*"a0 .-A\n", *(letter for letter in source if not letter.isalnum())])
    return list(letters)[:18]


def test_every_regular_expression_takes_linear_steps():
    found, slow = patterns(), []
    for source, pattern in found.items():
        letters = alphabet(pattern)
        pieces = letters + [one + other for one in letters[:6] for other in letters[:6] if one != other]
        for piece in pieces:
            for form in ("{0}", "{0}\x00", "a{0}!", '"{0}'):
                subjects = [form.format(piece * (size // len(piece))) for size in (100, 200)]
                if isinstance(pattern.pattern, bytes):
                    subjects = [text.encode("latin-1", "replace") for text in subjects]
                once, twice = (steps_of(pattern, "fullmatch", subject) for subject in subjects)
                if twice > MOST * once + 100:
                    slow.append((source[:60], piece, form, once, twice))
    assert len(found) > 60
    assert slow == []


def test_the_matcher_agrees_with_re():
    for pattern in patterns().values():
        letters = alphabet(pattern)
        for text in [
            "",
            *letters,
            "".join(letters),
            "2026-03-05",
            "P1Y",
            "a@b.org",
            "a.b",
            "-1.5",
            "cdv_",
            *(a + b for a in letters for b in letters),
        ]:
            subject = text.encode("latin-1", "replace") if isinstance(pattern.pattern, bytes) else text
            matched, end = pattern.match(subject), Matcher(pattern, subject).at(0)
            assert end == (None if matched is None else matched.end()), (pattern, text)
            assert (Matcher(pattern, subject).at(0, whole=True) is None) is (pattern.fullmatch(subject) is None)


def test_a_backtracking_expression_is_found_out():
    evil, quadratic = re.compile("(a+)+b"), re.compile("a*a*b")
    once, twice = (steps_of(quadratic, "fullmatch", "a" * size) for size in (100, 200))

    assert twice > 3.5 * once
    with pytest.raises(TooManySteps):
        steps_of(evil, "fullmatch", "a" * 40)


def test_every_field_type_and_policy_file_is_an_entry():
    assert {f"type {name}" for name in TYPES} <= TEXTS.keys()
    files = {name for name in (*FILES, *OPTIONAL) if name != "policy.csv"} | {"policy.csv", "words.de.toml", "notices"}
    assert {f"policies {name}" for name in files} == {name for name in TEXTS if name.startswith("policies ")}
