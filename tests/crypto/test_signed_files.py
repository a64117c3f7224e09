"""Signed documents: valid and invalid signatures, and files of another form."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vault.crypto.signing import LARGEST, BadDocument, Signed, SigningKey, check, key_id, parse, sign, to_text

KEY = SigningKey(bytes(range(32)))
LABEL = "cdv-test-v1"
AT = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
documents = st.dictionaries(st.text(max_size=8), values, max_size=4)


def signed(document, label=LABEL, kind="note", at=AT):
    return sign(KEY, label, kind, document, at)


def sound(file):
    return check(file, LABEL, "note").sound


@given(documents)
def test_a_signature_is_valid_for_any_layout_of_the_file(document):
    file = signed(document)
    for text in (json.dumps(file), json.dumps(file, indent=4, sort_keys=True, ensure_ascii=False)):
        read = check(parse(text.encode()), LABEL, "note")
        assert read == Signed(document, KEY.key_id, KEY.public, AT, sound=True)


@settings(max_examples=400)
@given(document=documents, place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_a_change_of_any_byte_is_detected(document, place, byte):
    """The file has no white space, so every byte is significant except the case of a hex digit."""
    data = bytearray(json.dumps(signed(document), ensure_ascii=False, separators=(",", ":")).encode())
    position = int(place * len(data))
    before, data[position] = data[position], byte
    try:
        file = parse(bytes(data))
        holds = sound(file)
    except BadDocument:
        return
    assert not holds or byte == before or file == signed(document)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("signed_at", "2025-11-22T08:30:00.000000Z"),
        ("key", key_id(bytes(32))),
        ("public_key", to_text(SigningKey(bytes(32)).public)),
        ("value", to_text(bytes(64))),
    ],
)
def test_a_change_of_any_part_of_the_signature_is_detected(name, value):
    file = signed({"a": 1})
    file["signature"][name] = value
    assert not sound(file)


def test_a_signature_is_not_valid_for_another_kind_of_file():
    file = signed({"a": 1})
    assert not check(file, "cdv-other-v1", "note").sound
    assert not check({"letter": file["note"], "signature": file["signature"]}, LABEL, "letter").sound
    assert not sound(sign(KEY, "cdv-test-v", "note", {"a": 1}, AT))


def test_a_key_id_that_does_not_match_the_key_is_invalid():
    other = SigningKey(bytes(32))
    other.key_id = KEY.key_id
    assert not check(sign(other, LABEL, "note", {}, AT), LABEL, "note").sound


def test_the_message_is_what_the_format_page_says():
    file = signed({"b": "é", "a": 1})
    head = (
        '{"note":{"a":1,"b":"é"},"signature":{"algorithm":"Ed25519","key":"'
        + KEY.key_id
        + '","public_key":"'
        + to_text(KEY.public)
        + '","signed_at":"2026-11-22T08:30:00.000000Z"}}'
    )
    assert file["signature"]["value"] == to_text(KEY.sign(b"cdv-test-v1\x00" + head.encode()))


def test_only_one_encoding_of_a_signature_is_valid():
    file = signed({})
    value = file["signature"]["value"]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = alphabet[alphabet.index(value[-1]) ^ 1]  # differs in bits that no byte takes
    file["signature"]["value"] = value[:-1] + twin
    with pytest.raises(BadDocument):
        sound(file)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"\xff{}",
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":1}}',
        b'{"a":1.5}',
        b'{"a":1.0}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b"{" * 100_000,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        b" " * (LARGEST + 1),
    ],
    ids=range(12),
)
def test_ambiguous_json_is_refused(data):
    with pytest.raises(BadDocument):
        parse(data)


def broken(change):
    file = json.loads(json.dumps(signed({"a": 1})))
    change(file)
    return file


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.pop("note"),
        lambda file: file.update(more=1),
        lambda file: file.update(note=[]),
        lambda file: file.update(signature="x"),
        lambda file: file["signature"].pop("signed_at"),
        lambda file: file["signature"].update(more="x"),
        lambda file: file["signature"].update(algorithm="none"),
        lambda file: file["signature"].update(algorithm=["Ed25519"]),
        lambda file: file["signature"].update(key=1),
        lambda file: file["signature"].update(signed_at="2026-11-22"),
        lambda file: file["signature"].update(signed_at="2026-13-22T08:30:00.000000Z"),
        lambda file: file["signature"].update(public_key=to_text(bytes(31))),
        lambda file: file["signature"].update(value="é"),
        lambda file: file["note"].update(a=2**53),
        lambda file: file["note"].update(a="\ud800"),
    ],
    ids=range(15),
)
def test_a_malformed_file_is_refused(change):
    with pytest.raises(BadDocument) as caught:
        sound(broken(change))
    assert caught.value.code == "not-signed"
