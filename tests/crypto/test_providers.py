"""Providers of root keys: chosen by scheme, created once, refused if they are unsafe."""

from __future__ import annotations

import base64
import os
import re
import stat

import pytest

from vault.crypto import providers
from vault.crypto.providers import EnvironmentRootKey, FileRootKey, Scheme, create_root_key, provider_of, register
from vault.errors import CannotOpen, Misconfigured

VARIABLE = "CDV_TEST_ROOT_KEY"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "root.key"


def write(path, content, mode=0o600):
    path.write_bytes(content)
    path.chmod(mode)
    return path


def line(root=bytes(range(32))):
    return b"cdv-root-1 " + base64.b64encode(root) + b"\n"


def test_a_new_file_is_for_its_owner_only_and_holds_one_line(path):
    FileRootKey.create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert re.fullmatch(rb"cdv-root-1 [A-Za-z0-9+/]{43}=\n", path.read_bytes())


def test_the_umask_does_not_widen_the_file_mode(path):
    before = os.umask(0)
    try:
        FileRootKey.create(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_file_and_its_folder_are_synced_before_create_returns(path, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr("os.fsync", lambda opened: synced.append(os.fstat(opened).st_ino) or real(opened))
    FileRootKey.create(path)
    assert synced == [path.stat().st_ino, path.parent.stat().st_ino]


def test_a_key_wrapped_by_one_provider_of_the_file_is_unwrapped_by_another(path):
    first, read = FileRootKey.create(path), FileRootKey(path)
    assert read.unwrap(first.wrap(b"k" * 32, b"context"), b"context") == b"k" * 32
    assert first.reference == read.reference


def test_a_key_is_bound_to_its_context_and_its_root(path, tmp_path):
    root, other = FileRootKey.create(path), FileRootKey.create(tmp_path / "other.key")
    wrapped = root.wrap(b"k" * 32, b"context")
    with pytest.raises(CannotOpen):
        root.unwrap(wrapped, b"another")
    with pytest.raises(CannotOpen):
        other.unwrap(wrapped, b"context")
    assert root.reference != other.reference


def test_an_existing_file_is_never_overwritten(path):
    write(path, b"precious")
    with pytest.raises(Misconfigured, match="exists already") as caught:
        FileRootKey.create(path)
    assert caught.value.hint
    assert path.read_bytes() == b"precious"


def test_create_does_not_follow_a_link(path, tmp_path):
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Misconfigured, match="exists already"):
        FileRootKey.create(path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_missing_folder_is_reported(tmp_path):
    with pytest.raises(Misconfigured, match="cannot be created") as caught:
        FileRootKey.create(tmp_path / "none" / "root.key")
    assert caught.value.hint


def test_a_partly_written_key_is_deleted(path, monkeypatch):
    def full(_opened):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Misconfigured, match="No space left"):
        FileRootKey.create(path)
    assert not path.exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o666, 0o700, 0o601, 0o4600, 0o2600])
def test_a_file_with_a_wider_mode_is_refused(path, mode):
    write(path, line(), mode)
    with pytest.raises(Misconfigured, match="open to others") as caught:
        FileRootKey(path)
    assert caught.value.hint == f"chmod 600 {path}"


def test_a_file_with_a_narrower_mode_is_accepted(path):
    before = FileRootKey(write(path, line())).reference
    path.chmod(0o400)
    assert FileRootKey(path).reference == before


def test_a_file_of_another_user_is_refused(path, monkeypatch):
    write(path, line())
    owner = path.stat().st_uid
    monkeypatch.setattr("os.geteuid", lambda: owner + 1)
    with pytest.raises(Misconfigured, match="another user") as caught:
        FileRootKey(path)
    assert "chown" in caught.value.hint


def test_a_missing_file_is_reported(path):
    with pytest.raises(Misconfigured, match="No such file") as caught:
        FileRootKey(path)
    assert "cdv init" in caught.value.hint


@pytest.mark.parametrize("make", [lambda path: path.mkdir(mode=0o600), lambda path: os.mkfifo(path, 0o600)])
def test_a_file_that_is_not_regular_is_refused_without_blocking(path, make):
    make(path)
    with pytest.raises(Misconfigured, match="regular file"):
        FileRootKey(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        bytes(32),
        base64.b64encode(bytes(32)),
        b"cdv-root-2 " + base64.b64encode(bytes(32)),
        b"cdv-root-1 " + base64.b64encode(bytes(31)),
        b"cdv-root-1 " + base64.b64encode(bytes(33)),
        b"cdv-root-1 " + base64.b64encode(bytes(16)),
        line() + line(),
        line()[:-3],
        b"cdv-root-1  " + base64.b64encode(bytes(32)),
        line() + b" " * 200,
        b"x" * 100_000,
    ],
)
def test_a_file_that_holds_no_root_key_is_refused_without_being_quoted(path, content):
    write(path, content)
    with pytest.raises(Misconfigured, match="does not hold a root key") as caught:
        FileRootKey(path)
    assert "AAAA" not in str(caught.value) + caught.value.hint


def test_the_last_newline_may_be_missing(path):
    assert FileRootKey(write(path, line().rstrip())).reference.startswith("root-")


def test_the_environment_holds_the_same_key_by_the_same_reference(path, monkeypatch):
    monkeypatch.setenv(VARIABLE, base64.b64encode(bytes(range(32))).decode() + "\n")
    from_file, from_environment = FileRootKey(write(path, line())), EnvironmentRootKey(VARIABLE)
    assert from_file.reference == from_environment.reference
    assert from_environment.unwrap(from_file.wrap(b"k" * 32, b"c"), b"c") == b"k" * 32


@pytest.mark.parametrize(
    "text", [None, "", "  ", "correct horse", "AAAA", "A" * 43, "A" * 44, "é" * 44, "A" * 42 + "!="]
)
def test_a_variable_without_a_root_key_is_reported_without_being_quoted(text, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    if text is not None:
        monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(Misconfigured, match=VARIABLE) as caught:
        EnvironmentRootKey(VARIABLE)
    assert "openssl rand -base64 32" in caught.value.hint
    if text and text.strip():
        assert text.strip() not in str(caught.value) + caught.value.hint


def test_the_reference_does_not_reveal_the_key(path):
    reference = FileRootKey(write(path, line())).reference
    assert re.fullmatch(r"root-[0-9a-f]{16}", reference)
    assert bytes.fromhex(reference[5:]) not in bytes(range(32))


def test_the_scheme_of_its_url_chooses_the_provider(tmp_path, monkeypatch):
    created = FileRootKey.create(tmp_path / "root.key")
    monkeypatch.setenv(VARIABLE, base64.b64encode(bytes(32)).decode())
    by_file, by_variable = provider_of("file:root.key", tmp_path), provider_of(f"env:{VARIABLE}", tmp_path)
    assert isinstance(by_file, FileRootKey)
    assert by_file.reference == created.reference
    assert isinstance(by_variable, EnvironmentRootKey)
    assert provider_of(f"file:{tmp_path / 'root.key'}", tmp_path / "elsewhere").reference == created.reference


@pytest.mark.parametrize("url", ["kms:c2VjcmV0", "c2VjcmV0", "FILE:root.key", "file:", "env:", ":", ""])
def test_a_url_without_a_known_scheme_is_refused_and_not_repeated(url, tmp_path):
    for use in (provider_of, create_root_key):
        with pytest.raises(Misconfigured, match="root_key names no provider") as caught:
            use(url, tmp_path)
        assert caught.value.hint == "use file:PATH or env:VARIABLE"
        assert "c2VjcmV0" not in str(caught.value)


def test_a_root_key_is_created_where_its_scheme_does_that(tmp_path):
    create_root_key("file:root.key", tmp_path)
    create_root_key(f"env:{VARIABLE}", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["root.key"]
    with pytest.raises(Misconfigured, match="exists already"):
        create_root_key("file:root.key", tmp_path)


def test_another_scheme_is_registered_from_the_outside(tmp_path, monkeypatch):
    class Remote:
        reference = "remote-1"

        def __init__(self, name, folder):
            self.name, self.folder = name, folder

    monkeypatch.setattr(providers, "_schemes", dict(providers._schemes))
    register("remote", Scheme("remote:KEY", Remote))
    provider = provider_of("remote:customers", tmp_path)
    assert (provider.name, provider.folder) == ("customers", tmp_path)
    with pytest.raises(Misconfigured) as caught:
        provider_of("other:customers", tmp_path)
    assert "remote:KEY" in caught.value.hint
