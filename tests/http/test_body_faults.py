"""A refused body says which key, which form and which place; and repeats nothing that could be a value."""

from __future__ import annotations

from uuid import UUID

import msgspec
import pytest

from tests.vaults import ADA, problem
from vault.http.body_faults import broken, from_decoder
from vault.names import called, looks_like_name

SUBJECT = "0199aaaa-aaaa-7aaa-8aaa-aaaaaaaaaaaa"
SECRET = "Kanarienvogel"
HOSTILE = [
    "ada@example.org", "+442079460123", "Lovelace", "1985-12-10", "a b", "a" * 41, "ключ", "a\u202eb", "a\nb", "<b>",
    "", "_x", "DE89370400440532013000", "a\x00",
]  # fmt: skip


@pytest.mark.parametrize("key", HOSTILE)
def test_a_key_that_may_be_a_value_is_not_repeated(key):
    assert not looks_like_name(key)
    assert called(key, 3, ["a", "b", key]) == ("Key 3", "")
    assert called(key, None, ["a", "b", key]) == ("A key", "")


def test_a_typo_is_repeated_with_the_nearest_known_name():
    assert called("profil", 1, ["profile", "purpose"]) == ("`profil`", "; did you mean `profile`?")
    assert called("externalIds", 1, ["external_ids"]) == ("`externalIds`", "; did you mean `external_ids`?")
    assert called("kanarienvogel", 1, ["profile"]) == ("Key 1", "")


def faults(answer, code="invalid-body"):
    body = problem(answer, 422, code)
    return {each["at"]: each["detail"] for each in body["errors"]}


async def test_an_unknown_key_is_named_at_every_entry(sqlite_node):
    node = sqlite_node
    create = {"profil": ADA, "purpose": "order-fulfilment"}
    said = faults(await node.post("sales", "/v1/subjects", create))
    assert said[""] == "`profil` is not a key that the API knows here; did you mean `profile`?"
    read = {"subjct": SUBJECT, "fields": ["name"], "purpose": "customer-support"}
    said = faults(await node.post("support", "/v1/read", read))
    assert said[""] == "`subjct` is not a key that the API knows here; did you mean `subject`?"
    nested = {"vouch": {"lvel": "single", "evidence": "x"}}
    said = faults(await node.post("dpo", f"/v1/requests/{SUBJECT}:verify", nested))
    assert said["/vouch"] == "`lvel` is not a key that the API knows here; did you mean `level`?"
    items = [{"subject": SUBJECT, "purpos": "direct-marketing"}]
    answer = await node.post("sales", "/v1/consents:import", items)
    assert SECRET not in answer.text


@pytest.mark.parametrize("key", [SECRET, SECRET.lower(), "ada@example.org", "+442079460123"])
async def test_an_unknown_key_that_may_be_a_value_is_told_by_position(sqlite_node, key):
    answer = await sqlite_node.post("sales", "/v1/subjects", {"profile": ADA, "purpose": "order-fulfilment", key: 1})
    assert faults(answer)[""] == "Key 3 is not a key that the API knows here."
    assert key not in answer.text
    answer = await sqlite_node.post("support", "/v1/read", {key: 1, "fields": ["name"], "purpose": "customer-support"})
    assert faults(answer)[""] == "A key is not a key that the API knows here."
    assert key not in answer.text
    profile = {"name": "Ada", key: "x"}
    answer = await sqlite_node.post("sales", "/v1/subjects", {"profile": profile, "purpose": "order-fulfilment"})
    said = faults(answer, "unknown-field")
    assert said["/profile"] == "Key 2 is not a field of this collection that callers may write"
    assert key not in answer.text


async def test_the_form_of_a_part_is_said(sqlite_node):
    node, subject = sqlite_node, await sqlite_node.create()
    check = {"subjects": ["no uuid"], "purposes": ["direct-marketing"]}
    said = faults(await node.post("marketing", "/v1/consents:check", check))
    assert said["/subjects/0"].startswith("This part has to be a UUID, such as ")
    check["subjects"] = [SUBJECT] * 1_001
    said = faults(await node.post("marketing", "/v1/consents:check", check))
    assert said["/subjects"] == "This part has to be at most 1,000 items."
    order = {"fields": {"order": "A-1"}, "purpose": "order-fulfilment", "occurred_at": "2026-02-01"}
    path = f"/v1/subjects/{subject}/records/purchase"
    said = faults(await node.post("fulfilment", path, order))
    assert (
        said["/occurred_at"] == "This part has to be a date and a time with its offset, such as 2026-11-01T09:00:00Z."
    )
    read = {"subject": "no uuid", "fields": ["name"], "purpose": "customer-support"}
    said = faults(await node.post("support", "/v1/read", read))
    assert said["/subject"].startswith("This part has to be a UUID, such as ")
    said = faults(await node.post("support", "/v1/read", {**read, "subject": subject, "fields": "name"}))
    assert said["/fields"] == "This part has to be a list."
    said = faults(await node.post("support", "/v1/read", {"subject": subject, "fields": ["name"]}))
    assert said == {"/purpose": "This part is missing."}


@pytest.mark.parametrize("path", ["/v1/subjects", "/v1/subjects:search"])
async def test_a_form_instead_of_json_is_told_what_to_send(sqlite_node, path):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await sqlite_node.call("sales", "POST", path, content=f"name={SECRET}".encode(), headers=headers)
    assert faults(answer) == {"": "Send a JSON object, with the header `Content-Type: application/json`."}
    assert SECRET not in answer.text


@pytest.mark.parametrize(
    ("role", "path"), [("sales", "/v1/subjects"), ("support", "/v1/read"), ("sales", "/v1/consents:import")]
)
async def test_broken_json_has_a_position(sqlite_node, role, path):
    content = b'[{"fields": ["' if path.endswith("import") else b' {"fields": ["'
    content += SECRET.encode() + b'"],\n "purpose": x}]'
    answer = await sqlite_node.call(role, "POST", path, content=content, headers={"Content-Type": "application/json"})
    said = faults(answer, "invalid-json")[""]
    assert said.startswith("The body is not valid JSON: look at line ")
    assert "line 2, column 13" in said
    assert SECRET not in answer.text


def test_a_position_is_a_line_and_a_column():
    assert broken("abc", 0) == "The body is not valid JSON: look at line 1, column 1 (character 0)."
    assert broken("a\nbc", 3) == "The body is not valid JSON: look at line 2, column 2 (character 3)."
    assert broken("é\nb", 3, unit="byte") == "The body is not valid JSON: look at line 2, column 1 (byte 3)."
    assert broken("x", None) == "The body is not valid JSON."


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    id: UUID | None = None


@pytest.mark.parametrize(
    "raw", [b'{"name": ', b"{]", b'{"name": "\xff"}', b"[1]", b'{"n\xc3\xa4me": 1}', b'{"name": 1}']
)
def test_every_failure_of_the_decoder_becomes_a_fault(raw):
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)) as failure:
        msgspec.json.decode(raw, type=_Body)
    (fault,) = from_decoder(failure.value, raw, _Body.__struct_fields__).faults
    assert fault.detail.endswith(".")
    assert "ä" not in fault.detail


async def test_unknown_fields_and_invalid_values_are_told_together(sqlite_node):
    profile = {"name": "Ada", "emial": "x", "email": "no address", "birth_date": "yesterday"}
    answer = await sqlite_node.post("sales", "/v1/subjects", {"profile": profile, "purpose": "order-fulfilment"})
    said = faults(answer, "unknown-field")
    assert said.keys() == {"/profile", "/profile/email", "/profile/birth_date"}
    assert said["/profile"].startswith("`emial` is not a field of this collection")
    assert said["/profile"].endswith("; did you mean `email`?")
    assert "no address" not in answer.text


@pytest.mark.parametrize(
    ("field", "value"), [("email", "no address"), ("phone", "0171 2345678"), ("name", ""), ("email", {"exact": 7})]
)
async def test_a_search_and_a_write_say_the_same_of_a_bad_value(sqlite_node, field, value):
    written = value["exact"] if isinstance(value, dict) else value
    body = {"profile": {"given_name": "Ada", field: written}, "purpose": "order-fulfilment"}
    write = problem(await sqlite_node.post("sales", "/v1/subjects", body), 422, "invalid-value")
    search = {"match": {field: value}, "fields": ["name"], "purpose": "customer-support"}
    found = problem(await sqlite_node.post("support", "/v1/subjects:search", search), 422, "invalid-value")
    (ours,), (theirs,) = found["errors"], write["errors"]
    assert (ours["code"], ours["detail"]) == (theirs["code"], theirs["detail"])


REPEATED = {
    "POST /v1/read": '{"subject": "%s", "subject": "%s", "fields": ["name"], "purpose": "order-fulfilment"}',
    "POST /v1/subjects": '{"profile": {"name": "A", "name": "B"}, "purpose": "order-fulfilment"}',
    "POST /v1/subjects/%s/records/purchase": '{"fields": {"order": "1"}, "fields": {"order": "2"}, "purpose": "x"}',
    "POST /v1/subjects:search": '{"match": {"email": "a@b.example"}, "purpose": "x", "\\u0070urpose": "y"}',
}


@pytest.mark.parametrize("route", REPEATED)
async def test_a_name_that_is_given_twice_is_refused_at_every_entry(sqlite_node, route):
    """One of the two values would be lost, and which one depends on the parser."""
    subject = await sqlite_node.create()
    method, path = route.replace("%s", subject).split(" ")
    headers = {"Content-Type": "application/json"}
    body = REPEATED[route].replace("%s", subject)
    answer = await sqlite_node.call("sales", method, path, content=body, headers=headers)
    (detail,) = faults(answer, "invalid-json").values()
    assert detail == "An object in the body gives the same name twice. Give each name once."


async def test_equal_names_in_different_objects_and_quotes_in_texts_are_allowed(sqlite_node):
    subject = await sqlite_node.create({"name": 'Ada "the first" name'})
    body = {"subject": subject, "fields": ["name"], "purpose": "order-fulfilment", "reason": 'he said "name"'}
    assert (await sqlite_node.post("sales", "/v1/read", body)).json()["fields"] == {"name": 'Ada "the first" name'}
