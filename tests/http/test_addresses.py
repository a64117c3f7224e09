"""Whose call it is: the address of the connection, or what a trusted proxy says of it."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from vault.errors import TooMany
from vault.http import addresses
from vault.http.addresses import Addresses, client_of

PROXIES = ("10.0.0.0/8", "fd00::/8")


def scope(client, *forwarded):
    return {
        "client": None if client is None else (client, 1),
        "headers": [(b"x-forwarded-for", value.encode()) for value in forwarded],
    }


@pytest.mark.parametrize(
    ("client", "forwarded", "expected"),
    [
        ("203.0.113.9", (), "203.0.113.9"),
        ("203.0.113.9", ("198.51.100.7",), "203.0.113.9"),  # not from a proxy
        ("10.0.0.1", (), "10.0.0.1"),
        ("10.0.0.1", ("198.51.100.7",), "198.51.100.7"),
        ("10.0.0.1", ("192.0.2.1, 198.51.100.7",), "198.51.100.7"),  # the client's own claim is on the left
        ("10.0.0.1", ("192.0.2.1, 198.51.100.7, 10.2.2.2",), "198.51.100.7"),
        ("10.0.0.1", ("192.0.2.1", "198.51.100.7"), "198.51.100.7"),
        ("10.0.0.1", ("10.3.3.3",), "10.3.3.3"),
        ("10.0.0.1", ("198.51.100.7, unknown",), "10.0.0.1"),
        ("fd00::1", ("2001:db8:1:2:3:4:5:6",), "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.1", ("198.51.100.7",), "198.51.100.7"),
        (None, ("198.51.100.7",), ""),
        ("testclient", (), ""),
    ],
)
def test_the_address_is_the_last_one_that_no_trusted_proxy_has(client, forwarded, expected):
    assert client_of(scope(client, *forwarded), [ip_network(proxy) for proxy in PROXIES]) == expected


def test_nothing_is_believed_without_trusted_proxies():
    assert client_of(scope("10.0.0.1", "198.51.100.7"), []) == "10.0.0.1"


def count(counted, client):
    try:
        counted.count(scope(client))
    except TooMany:
        return False
    return True


def test_each_address_has_its_own_limit_in_each_minute(clock):
    counted = Addresses(clock, most=2)
    assert [count(counted, "203.0.113.9") for _ in range(4)] == [True, True, False, False]
    assert count(counted, "198.51.100.7")
    assert [count(counted, f"2001:db8::{n}") for n in range(1, 4)] == [True, True, False]
    clock.advance(minutes=1)
    assert count(counted, "203.0.113.9")


def test_addresses_without_end_take_no_memory_without_end(clock, monkeypatch):
    monkeypatch.setattr(addresses, "MOST_ADDRESSES", 3)
    counted = Addresses(clock, most=2)
    assert [count(counted, f"203.0.113.{n}") for n in range(7)] == [True] * 5 + [False] * 2
    assert count(counted, "203.0.113.0")
    assert len(counted._calls) == 4
