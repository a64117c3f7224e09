"""A sensitive value is shown only by ``reveal()``."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import logging
import pickle
import traceback

import msgspec
import pytest
from pydantic_core import to_json

from vault.sensitive import REDACTED, Sensitive

CANARY = "canary-4711"


@pytest.fixture
def secret():
    return Sensitive(CANARY)


def test_reveal_returns_the_value(secret):
    assert secret.reveal() == CANARY


def test_it_is_redacted_in_every_form(secret):
    printed = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>40}",
        f"{secret!s}",
        f"{secret:>60}",
        f"{secret!a}",
        "{}".format(secret),  # noqa: UP032 - one more form
        "%s %r" % (secret, secret),  # noqa: UP031 - one more form
        str([secret]),
        str({"key": secret}),
        repr((secret,)),
    ]
    assert all(CANARY not in text for text in printed)
    assert all(REDACTED in text for text in printed)


def test_it_is_neither_pickled_nor_copied(secret):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError) as caught:
            pickle.dumps(secret, protocol)
        assert CANARY not in str(caught.value)
    for way in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            way(secret)


@pytest.mark.parametrize("encode", [json.dumps, msgspec.json.encode, msgspec.msgpack.encode, to_json])
def test_no_encoder_accepts_it(secret, encode):
    for value in (secret, [secret], {"key": secret}):
        with pytest.raises(Exception, match="ensitive") as caught:
            encode(value)
        assert CANARY not in str(caught.value)


def test_json_with_str_gives_the_redaction(secret):
    assert json.loads(json.dumps({"key": secret}, default=str)) == {"key": REDACTED}


def test_it_has_no_dict(secret):
    with pytest.raises(TypeError):
        vars(secret)
    with pytest.raises(AttributeError):
        secret.other = 1


def test_a_dataclass_that_holds_it_does_not_show_it(secret):
    @dataclasses.dataclass
    class Holder:
        key: Sensitive[str]

    assert CANARY not in repr(Holder(secret))
    with pytest.raises(TypeError):
        dataclasses.asdict(Holder(secret))


def test_it_is_not_compared_by_value(secret):
    assert secret != Sensitive(CANARY)
    assert secret != CANARY
    assert secret == secret
    assert len({secret, Sensitive(CANARY)}) == 2


def test_a_log_line_and_a_traceback_do_not_show_it(secret):
    stream = io.StringIO()
    logger = logging.Logger("alone")  # noqa: LOG001 - not part of the tree
    logger.addHandler(logging.StreamHandler(stream))
    logger.warning("it is %s", secret)
    try:
        raise ValueError(secret)
    except ValueError as error:
        answer = "".join(traceback.format_exception(error))
    assert CANARY not in stream.getvalue() + answer


@pytest.mark.parametrize("value", ["", b"", 0, None, [], {"a": CANARY}])
def test_it_holds_anything(value):
    assert Sensitive(value).reveal() is value
    assert str(Sensitive(value)) == REDACTED
