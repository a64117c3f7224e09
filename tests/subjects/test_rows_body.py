"""A record's body: one compact map, every value sealed on its own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from vault.clock import to_microseconds
from vault.crypto.seal import SubjectKeys, record_aad
from vault.errors import CannotOpen
from vault.ids import new_id
from vault.subjects.rows import (
    NotWhole,
    Origin,
    Picker,
    Stored,
    earliest_collected,
    earliest_expiry,
    open_body,
    pack,
    seal_values,
    unpack,
)

NOW = datetime(2026, 3, 5, 12, tzinfo=UTC)
SUBJECT = new_id()
PLACE = record_aad("default", SUBJECT, "profile", SUBJECT)
names = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
moments = st.none() | st.integers(0, 2**52)
stored = st.builds(
    Stored,
    st.binary(min_size=1, max_size=100),
    st.none() | st.text(max_size=20),
    moments,
    moments,
    moments,
    st.none() | names,
)


@pytest.fixture
def keys():
    return SubjectKeys({1: AESGCM(bytes(32))})


@given(st.dictionaries(names, stored, max_size=6))
def test_a_body_reads_back_as_it_was_written(body):
    assert unpack(pack(body, None)) == body


@given(st.dictionaries(names, stored, min_size=1, max_size=6))
def test_a_body_is_the_msgpack_that_its_format_says(body):
    due, values, origins, since = msgspec.msgpack.decode(pack(body, None))
    assert (due, since) == (earliest_expiry(body), earliest_collected(body) or 0)
    assert values == {name: item.sealed for name, item in body.items()}
    answer = {name: origin for *origin, fields in msgspec.msgpack.decode(origins) for name in fields}
    assert answer == {
        name: [item.source, item.collected_at, item.verified_at, item.expires_at, item.purpose]
        for name, item in body.items()
    }


@given(st.dictionaries(names, stored, max_size=6))
def test_a_read_sees_the_same_sealed_values(body):
    opened = open_body(pack(body, None))
    assert opened.values == {name: item.sealed for name, item in body.items()}
    assert opened.due == earliest_expiry(body)


def test_values_of_one_write_share_their_origin(keys):
    values = {f"field_{n}": b"1" for n in range(20)}
    packed = pack(seal_values(keys, PLACE, values, Origin("web-order", NOW, "order-fulfilment")), None)
    assert packed.count(b"web-order") == 1


def test_each_value_is_sealed_separately_for_its_field(keys):
    values = {"email": b'"ada@example.org"', "phone": b'"+442071234567"'}
    origin = Origin("web-order", NOW, "order-fulfilment", NOW + timedelta(days=1))
    body = seal_values(keys, PLACE, values, origin)
    assert {name: keys.open(name, body[name].sealed, PLACE) for name in body} == values
    assert b"ada" not in pack(body, None)
    for name, other in (("email", "phone"), ("phone", "email")):
        with pytest.raises(CannotOpen):
            keys.open(name, body[other].sealed, PLACE)
    with pytest.raises(CannotOpen):
        keys.open("email", body["email"].sealed, record_aad("default", SUBJECT, "profile", new_id()))


def test_the_origin_is_kept_with_each_value(keys):
    origin = Origin("web-order", NOW, "order-fulfilment", NOW + timedelta(microseconds=1))
    body = seal_values(keys, PLACE, {"email": b'"a"', "phone": b'"b"'}, origin)
    for item in body.values():
        assert item.source == "web-order"
        assert item.purpose == "order-fulfilment"
        assert item.collected_at == to_microseconds(NOW)
        assert item.expires_at == item.collected_at + 1
        assert item.verified_at is None
    forever = seal_values(keys, PLACE, {"email": b'"a"'}, origin._replace(expires_at=None))
    assert forever["email"].expires_at is None


def test_equal_values_have_different_ciphertexts(keys):
    origin = Origin("s", NOW, "p")
    body = seal_values(keys, PLACE, {"a": b"true", "b": b"true"}, origin)
    assert body["a"].sealed != body["b"].sealed
    assert len(body["a"].sealed) == len(seal_values(keys, PLACE, {"a": b"false"}, origin)["a"].sealed)


@given(st.dictionaries(names, stored, max_size=6))
def test_a_record_is_due_with_the_first_of_its_fields(body):
    ends = [item.expires_at for item in body.values() if item.expires_at is not None]
    assert earliest_expiry(body) == (min(ends) if ends else None)


def test_a_moment_without_a_zone_is_refused(keys):
    naive = datetime(2026, 3, 5)  # noqa: DTZ001 - on purpose
    for origin in (Origin("s", naive, "p"), Origin("s", NOW, "p", naive)):
        with pytest.raises(ValueError, match="time zone"):
            seal_values(keys, PLACE, {"a": b"1"}, origin)


@pytest.mark.parametrize(
    "body", [b"", b"\xc1", pack({"a": Stored(b"x")}, None)[:-1], msgspec.msgpack.encode({"a": ["x", 1]})]
)
def test_a_corrupt_body_is_refused(body):
    with pytest.raises(CannotOpen):
        unpack(body)
    with pytest.raises(CannotOpen):
        open_body(body[:-1])


@given(st.dictionaries(names, stored, min_size=1, max_size=6), st.data())
def test_values_are_picked_in_the_order_asked_for(body, data):
    fields = data.draw(st.permutations(sorted(body)))[: data.draw(st.integers(1, 6))]
    picked = Picker(fields).pick(pack(body, None))
    assert (picked.due, picked.since) == (earliest_expiry(body), earliest_collected(body) or 0)
    assert msgspec.structs.astuple(picked.values) == tuple(body[name].sealed for name in fields)
    assert all(item.source is None or item.source.encode() in bytes(picked.origins) for item in body.values())


def test_picking_a_missing_value_raises_not_whole():
    body = pack({"email": Stored(b"sealed")}, None)
    for fields, packed in ((["email", "phone"], body), (["email"], b"\x93")):
        with pytest.raises(NotWhole):
            Picker(fields).pick(packed)
