"""Checking signed files: without a vault, by the keys that somebody names, and safe by default."""

from __future__ import annotations

import json

import pytest

from tests.consent.receipts.samples import FORMS, KEY, event, facts
from vault.consent.receipts.issue import signed_receipt
from vault.crypto.signing import LARGEST, PublicKey, SigningKey, as_jwk

OTHER = SigningKey(bytes(32))


@pytest.fixture
def write(tmp_path):
    def to(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return path

    return to


@pytest.fixture
def receipt(write):
    return write("receipt.json", signed_receipt(KEY, facts(), "dpv"))


def jwk_of(key):
    return as_jwk(PublicKey(key.key_id, key.public, current=True))


@pytest.mark.parametrize("form", FORMS)
def test_receipt_is_good_by_a_trusted_key(cdv, write, form):
    path = write("receipt.json", signed_receipt(KEY, facts(), form))
    said = cdv.ok("verify", path, "--key-id", KEY.key_id)
    for word in (
        "good: unchanged",
        "The person consented",
        "Send offers",
        "Example Shop Ltd",
        "marketing@3",
        KEY.key_id,
    ):
        assert word in said


@pytest.mark.parametrize("of", [lambda key: key, lambda key: {"keys": [jwk_of(OTHER), key]}], ids=["one", "set"])
def test_trusted_keys_from_a_file(cdv, receipt, write, of):
    cdv.ok("verify", receipt, "--key", write("keys.json", of(jwk_of(KEY))))


def test_valid_signature_of_an_unknown_key_is_not_good(cdv, receipt):
    result = cdv("verify", receipt)
    assert result.exit_code == 1
    assert "error:" in result.stderr
    assert "the signature is valid, but no trusted keys were named" in result.stderr
    assert "hint: get the vault's keys" in result.stderr
    assert "good:" not in result.stdout


@pytest.mark.parametrize("by", ["--key", "--key-id"])
def test_untrusted_key_is_not_good(cdv, receipt, write, by):
    result = cdv("verify", receipt, by, OTHER.key_id if by == "--key-id" else write("keys.json", jwk_of(OTHER)))
    assert result.exit_code == 1
    assert "signed by an untrusted key" in result.stderr
    assert "good:" not in result.stdout


def test_key_id_in_a_key_file_is_recomputed(cdv, receipt, write):
    false = {**jwk_of(OTHER), "kid": KEY.key_id}
    assert cdv("verify", receipt, "--key", write("keys.json", {"keys": [false]})).exit_code == 1


def test_changed_receipt_shows_no_statements(cdv, receipt):
    receipt.write_text(receipt.read_text().replace("direct-marketing", "direct-marketinG"))
    result = cdv("verify", receipt, "--key-id", KEY.key_id)
    assert result.exit_code == 1
    assert "the signature is invalid" in result.stderr
    assert "The person consented" not in result.stdout


def test_one_bad_file_among_good_ones(cdv, receipt, write):
    bad = write("bad.json", {})
    result = cdv("verify", receipt, bad, "--key-id", KEY.key_id)
    assert result.exit_code == 1
    assert "good:" in result.stdout
    assert f"error: {bad}: unknown kind of file" in result.stderr


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00\xff", b"[]", b'{"receipt": 1}', b'{"receipt": {}, "signature": {}}', b'{"receipt":{},"receipt":{}}', b" " * (LARGEST + 2)],
    ids=["empty", "binary", "a list", "no signature", "an empty one", "a key twice", "too large"],
)  # fmt: skip
def test_unsigned_file_is_reported_without_a_traceback(cdv, write, content):
    result = cdv("verify", write("odd.json", content), "--key-id", KEY.key_id)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert "hint: " in result.stderr
    assert "Traceback" not in result.stderr


def test_missing_signed_file(cdv):
    result = cdv("verify", "nowhere.json")
    assert result.exit_code == 1
    assert "cannot be read" in result.stderr


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"keys": []}', b'{"keys": [{"kty": "RSA"}]}', b'{"keys": 3}', b'{"kty":"OKP","crv":"Ed25519","x":"AA"}'],
)  # fmt: skip
def test_key_file_without_keys(cdv, receipt, write, content):
    result = cdv("verify", receipt, "--key", write("keys.json", content))
    assert result.exit_code == 1
    assert "holds no public keys" in result.stderr
    assert "hint: `cdv keys signing --json`" in result.stderr


def test_verify_prints_a_line_of_json_per_file(cdv, receipt, write):
    bad = write("bad.json", b"{}")
    result = cdv("verify", receipt, bad, "--key-id", KEY.key_id, "--json")
    assert result.exit_code == 1
    good, other = [json.loads(line) for line in result.stdout.splitlines()]
    assert (good["kind"], good["good"], good["sound"], good["trusted"]) == ("receipt", True, True, True)
    assert good["key"] == KEY.key_id
    assert good["signed_at"] == "2026-11-22T09:30:00.000000Z"
    assert good["says"]["said"] == "The person consented"
    assert (other["good"], other["sound"], other["problem"]) == (
        False,
        False,
        "unknown kind of file",
    )
    assert result.stderr == ""


def test_untrusted_file_as_json(cdv, receipt):
    result = cdv("verify", receipt, "--json")
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert (answer["good"], answer["sound"], answer["trusted"]) == (False, True, False)


def test_control_characters_are_replaced(cdv, write):
    evil = facts(event(purpose="x"), purpose=facts().purpose.unknown("x\x1b[2J\x1b[1;31m good: unchanged\n  good"))
    path = write("receipt.json", signed_receipt(OTHER, evil, "dpv"))
    result = cdv("verify", path)
    assert result.exit_code == 1
    assert "\x1b" not in result.output
    assert not any(line.strip().startswith("good") for line in result.stdout.splitlines())


def test_vault_trusts_its_own_keys(in_vault, receipt, write):
    assert in_vault("verify", receipt).exit_code == 1
    from tests.cli.test_consent import record_and_print

    path = write("own.json", record_and_print(in_vault))
    assert "signed by this vault, for its tenant default" in in_vault.ok("verify", path)
    in_vault.ok("keys", "signing", "--new")
    assert "good:" in in_vault.ok("verify", path)
    in_vault.ok("tenants", "add", "acme")
    assert in_vault("verify", path, "--tenant", "acme").exit_code == 1
    assert in_vault("verify", path, "--tenant", "nobody").exit_code == 1


def test_named_keys_replace_the_vaults_own(in_vault, write):
    from tests.cli.test_consent import record_and_print

    path = write("own.json", record_and_print(in_vault))
    assert in_vault("verify", path, "--key-id", KEY.key_id).exit_code == 1


def test_verify_needs_no_vault_and_no_network(cdv, receipt, monkeypatch):
    monkeypatch.setattr("socket.socket", None)
    monkeypatch.setattr("vault.bootstrap.open_vault", None)
    cdv.ok("verify", receipt, "--key-id", KEY.key_id)
