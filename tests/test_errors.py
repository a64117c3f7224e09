"""The errors: stable codes, one root, nothing said that was not said on purpose."""

from __future__ import annotations

import inspect
import re
from uuid import UUID

import pytest

from vault import errors
from vault.errors import (
    CannotOpen,
    Denied,
    Fault,
    InvalidInput,
    NotFound,
    PolicyInvalid,
    Refusal,
    RowTampered,
    SubjectMerged,
    TooMany,
    VaultError,
)

FAMILY = [var for var in vars(errors).values() if inspect.isclass(var) and issubclass(var, Exception)]

CODES = {
    "VaultError": "vault-error",
    "InvalidInput": "invalid-input",
    "TooLarge": "body-too-large",
    "PolicyInvalid": "policy-invalid",
    "NotAuthenticated": "not-authenticated",
    "Denied": "denied",
    "NotFound": "not-found",
    "SubjectMerged": "subject-merged",
    "Gone": "gone",
    "Conflict": "conflict",
    "StaleRevision": "stale-revision",
    "RevisionRequired": "revision-required",
    "TooMany": "rate-limited",
    "Unavailable": "unavailable",
    "CannotOpen": "cannot-open",
    "RowTampered": "row-tampered",
    "Misconfigured": "misconfigured",
}


def test_every_error_has_the_one_root():
    assert all(issubclass(member, VaultError) for member in FAMILY)


def test_codes_are_stable_since_callers_build_on_them():
    assert {member.__name__: member.code for member in FAMILY} == CODES
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in CODES.values())


def make(kind, **options):
    if kind is CannotOpen:
        return kind()
    if kind is RowTampered:
        return kind(**options)
    if kind is SubjectMerged:
        return kind(UUID(int=1), **options)
    if kind is TooMany:
        options["retry_after"] = 3
    return kind("what is wrong", **options)


@pytest.mark.parametrize("kind", FAMILY)
def test_an_error_says_its_detail_and_carries_its_hint(kind):
    error = make(kind) if kind is CannotOpen else make(kind, hint="what to do")
    assert str(error) == error.detail
    assert error.hint == (None if kind is CannotOpen else "what to do")


@pytest.mark.parametrize("kind", [member for member in FAMILY if "code" in inspect.signature(member).parameters])
def test_a_finer_code_belongs_to_the_one_error_and_not_to_its_class(kind):
    assert make(kind, code="finer").code == "finer"
    assert make(kind).code == CODES[kind.__name__]
    assert kind.code == CODES[kind.__name__]


def test_there_is_one_error_for_every_failure_to_open():
    assert str(CannotOpen()) == str(CannotOpen())
    with pytest.raises(TypeError):
        CannotOpen("because of this")


def test_what_an_error_carries_cannot_be_changed_from_afar():
    faults, denied = [Fault("/profile", "invalid-value", "x")], {"email": Refusal("not-granted", "x", "y")}
    invalid, refused = InvalidInput("x", faults=faults), Denied("x", denied=denied, audit="0199")
    faults.clear()
    denied.clear()
    assert len(invalid.faults) == 1
    assert list(refused.denied) == ["email"]
    assert refused.audit == "0199"
    assert NotFound("x", audit="0199").audit == "0199"
    assert PolicyInvalid("x", findings=["one"]).findings == ("one",)
    assert TooMany("x", retry_after=3).retry_after == 3


@pytest.mark.parametrize("kind", [Fault, Refusal])
def test_faults_and_refusals_are_frozen(kind):
    one = kind("a", "b", "c")
    with pytest.raises(AttributeError):
        one.code = "other"
