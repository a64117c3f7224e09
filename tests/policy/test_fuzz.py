"""Any policy file loads or is refused with findings; there is no other error."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.policy.folders import shipped
from vault.errors import PolicyInvalid
from vault.policy.policy_set import PolicySet

FILES = shipped()
PIECES = [
    "[",
    "]",
    "{",
    "}",
    "=",
    '"',
    "'",
    '"""',
    "\n",
    ",",
    ".",
    "#",
    "p",
    "g",
    "*",
    "+++",
    "\\",
    "-",
    "1",
    "true",
    " ",
    "@",
]


def load(name, text):
    findings = []
    try:
        PolicySet.load(FILES | {name: text})
    except PolicyInvalid as error:
        findings = error.findings or pytest.fail("refused without a finding")
    for finding in findings:
        assert finding.line >= 1
        assert finding.remedy
        assert len(str(finding)) < 4000


@pytest.mark.parametrize("name", sorted(FILES))
@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_spoilt_file_is_refused_and_nothing_else_happens(name, data):
    text = FILES[name]
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 40)))
        text = text[:start] + data.draw(st.one_of(st.text(max_size=5), st.sampled_from(PIECES))) + text[end:]
    load(name, text)


@pytest.mark.parametrize("name", sorted(FILES))
@settings(max_examples=15, deadline=None)
@given(st.one_of(st.text(max_size=200), st.lists(st.sampled_from(PIECES), max_size=60).map("".join)))
@example("")
@example("\ufeff")
@example("[a]\nb = 1\n")
@example("[field]\nprofile = 3\n[collection]\nprofile = []\n")
@example("[field.profile.email]\nviews = [1, [2], {}]\nsearch_bits = 3\noptions = []\n")
@example("needs = 3")
@example("[x]\nneeds = [[]]\nlegal_basis = []\nvalid_from = 12:00:00\n")
def test_any_text_is_refused_or_loads_and_nothing_else_happens(name, text):
    load(name, text)


def test_an_empty_folder_is_refused():
    with pytest.raises(PolicyInvalid):
        PolicySet.load({})
