"""A wrapped key opens only under the key that wrapped it, and in its context."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.crypto import second_decoder
from tests.crypto.support import ids, names, subject_keys, versions
from vault.crypto.primitive import WrappingKey, data_key_context, tenant_key_context, tenant_secret_context
from vault.crypto.seal import record_aad
from vault.errors import CannotOpen

KEY = b"\x07" * 32
data_keys = st.builds(data_key_context, names, ids, versions, versions)
tenant_keys = st.builds(tenant_key_context, names, versions)
secrets = st.builds(tenant_secret_context, names, st.sampled_from(["index", "token", "audit", "signing"]), versions)
contexts = data_keys | tenant_keys | secrets


@given(st.binary(min_size=32, max_size=32), contexts)
def test_a_wrapped_key_unwraps_to_the_same_bytes(key, context):
    wrapping = WrappingKey(KEY, 3)
    wrapped = wrapping.wrap(key, context)
    assert wrapping.unwrap(wrapped, context) == key
    assert len(wrapped) == 3 + 12 + 32 + 16
    assert second_decoder.open_sealed(KEY, wrapped, context) == (3, key)


@given(contexts, contexts)
def test_a_wrapped_key_does_not_unwrap_as_another(one, other):
    if one == other:
        return
    wrapping = WrappingKey(KEY, 1)
    with pytest.raises(CannotOpen):
        wrapping.unwrap(wrapping.wrap(b"k" * 32, one), other)


@pytest.mark.parametrize(
    "other",
    [
        data_key_context("other", UUID(int=1), 1, 1),
        data_key_context("default", UUID(int=2), 1, 1),
        data_key_context("default", UUID(int=1), 2, 1),
        data_key_context("default", UUID(int=1), 1, 2),
        tenant_key_context("default", 1),
        tenant_secret_context("default", "index", 1),
    ],
)
def test_a_data_key_is_bound_to_tenant_subject_and_both_versions(other):
    wrapping = WrappingKey(KEY, 1)
    wrapped = wrapping.wrap(b"k" * 32, data_key_context("default", UUID(int=1), 1, 1))
    with pytest.raises(CannotOpen):
        wrapping.unwrap(wrapped, other)


@given(st.integers(0, 63 * 8 - 1))
def test_a_flipped_bit_prevents_unwrapping(bit):
    wrapping = WrappingKey(KEY, 1)
    wrapped = bytearray(wrapping.wrap(b"k" * 32, b"context"))
    wrapped[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CannotOpen):
        wrapping.unwrap(bytes(wrapped), b"context")


@pytest.mark.parametrize("wrapped", [b"", b"\x01", b"\x01\x00\x01", b"\x01\x00\x01" + bytes(12), bytes(63)])
def test_random_bytes_do_not_unwrap(wrapped):
    with pytest.raises(CannotOpen):
        WrappingKey(KEY, 1).unwrap(wrapped, b"context")


def test_another_key_or_another_version_of_it_does_not_unwrap():
    wrapped = WrappingKey(KEY, 1).wrap(b"k" * 32, b"context")
    for other in (WrappingKey(KEY, 2), WrappingKey(b"\x08" * 32, 1)):
        with pytest.raises(CannotOpen):
            other.unwrap(wrapped, b"context")


@given(names, names, names, ids, versions)
def test_record_aad_and_key_contexts_never_coincide(tenant, collection, field, one, version):
    keys = subject_keys(KEY, version=version)
    sealed = keys.seal(field, b"k" * 32, record_aad(tenant, one, collection, one))
    for context in (
        data_key_context(tenant, one, version, version),
        tenant_key_context(tenant, version),
        tenant_secret_context(tenant, field, version),
    ):
        with pytest.raises(CannotOpen):
            WrappingKey(KEY, version).unwrap(sealed, context)
