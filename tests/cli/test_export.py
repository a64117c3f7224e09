"""Packages at the command line: listed, fetched, opened, checked, deleted."""

from __future__ import annotations

import asyncio
import io
import shutil
import stat
import zipfile
from datetime import timedelta

import pytest

from tests.export.made_up import DEFAULT, approved, made_up_entries
from vault.bootstrap import open_vault
from vault.crypto import age
from vault.export import build
from vault.export.build import build_package
from vault.export.store import PACKAGE
from vault.ids import SubjectId, new_id
from vault.subjects.tables import SUBJECT, SUBJECTS

PASSPHRASE = "correct horse battery staple"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(age.begin, "__kwdefaults__", {"work_factor": 10})


class _Node:
    def __init__(self, services):
        self.services = services


async def _built(folder):
    async with open_vault(folder) as vault:
        services = vault.services
        subject = SubjectId(new_id())
        await services.keyring.new_subject_keys(DEFAULT, [subject])
        row = {"tenant_id": DEFAULT, "id": subject, "pseudonym": new_id(), "state": "active", "standing": None}
        row["created_at"] = services.clock.now()
        row_keys = await services.keyring.row_keys(DEFAULT)
        async with services.data.transaction() as connection:
            await connection.execute(SUBJECT.insert(), [SUBJECTS.seal(row_keys, row)])
        request = await approved(_Node(services), subject)
        assert await build_package(services, DEFAULT, request) is None
    return request


async def _a_month_later(folder):
    """Make the packages a month older, for the command line has no clock to be moved."""
    async with open_vault(folder) as vault, vault.services.data.transaction() as connection:
        long_ago = vault.services.clock.now() - timedelta(days=30)
        await connection.execute(PACKAGE.update().values(expires_at=long_ago))


@pytest.fixture(scope="module")
def packaged(made_vault, tmp_path_factory):
    """One vault with one package; tests work on copies. Returns its folder and the request's id."""
    folder = shutil.copytree(made_vault, tmp_path_factory.mktemp("packaged") / "vault")
    real, build.package_entries = build.package_entries, made_up_entries
    try:
        return folder, asyncio.run(_built(folder))
    finally:
        build.package_entries = real


@pytest.fixture
def vault_folder(packaged, tmp_path):
    return shutil.copytree(packaged[0], tmp_path / "vault")


@pytest.fixture
def request_id(packaged):
    return packaged[1]


def test_packages_are_listed(in_vault, request_id):
    (one,) = in_vault.json("packages", "list")
    assert (one["request"], one["kind"], one["state"]) == (str(request_id), "access", "ready")
    assert str(request_id) in in_vault.ok("packages", "list")


def test_downloaded_package_is_private_and_verified(in_vault, request_id, tmp_path):
    in_vault.ok("packages", "download", request_id, "--to", tmp_path / "a.zip")
    path = tmp_path / "a.zip"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    said = in_vault.ok("verify", path)
    for word in ("good: unchanged", "access", str(request_id), "by this vault"):
        assert word in said
    assert not (tmp_path / "a.zip.part").exists()


def test_existing_file_is_not_overwritten(in_vault, request_id, tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(b"mine")
    result = in_vault("packages", "download", request_id, "--to", path)
    assert result.exit_code == 1
    assert "a file with this name, or a part of it, exists" in result.stderr
    assert path.read_bytes() == b"mine"


def test_encrypted_package_is_opened_without_a_vault(in_vault, cdv, request_id, tmp_path):
    in_vault.ok("packages", "download", request_id, "--encrypt", typed=f"{PASSPHRASE}\n{PASSPHRASE}\n")
    file = tmp_path / f"access-{request_id}.zip.age"
    assert file.read_bytes().startswith(b"age-encryption.org/v1\n")
    cdv.ok("packages", "open", file, typed=f"{PASSPHRASE}\n")
    opened = tmp_path / f"access-{request_id}.zip"
    assert zipfile.ZipFile(opened).testzip() is None


def test_passphrase_from_a_file(in_vault, request_id, tmp_path):
    (tmp_path / "secret").write_text(f"{PASSPHRASE}\nmore\n", encoding="utf-8")
    how = ("--to", tmp_path / "a.age", "--passphrase-file", tmp_path / "secret")
    in_vault.ok("packages", "download", request_id, *how)
    assert b"".join(age.decrypt(io.BytesIO((tmp_path / "a.age").read_bytes()), PASSPHRASE)).startswith(b"PK")


def test_failed_decryption_leaves_no_file(in_vault, cdv, request_id, tmp_path):
    in_vault.ok("packages", "download", request_id, "--encrypt", typed=f"{PASSPHRASE}\n{PASSPHRASE}\n")
    file = tmp_path / f"access-{request_id}.zip.age"
    assert "not the one" in cdv("packages", "open", file, typed="another passphrase\n").stderr
    file.write_bytes(file.read_bytes()[:-1])
    assert "cut off" in cdv("packages", "open", file, typed=f"{PASSPHRASE}\n").stderr
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("access")] == [file.name]


def test_missing_encrypted_file(cdv, tmp_path):
    result = cdv("packages", "open", tmp_path / "nothing.age", typed="x\n")
    assert (result.exit_code, "cannot be read" in result.stderr) == (1, True)


def test_changed_package_is_not_good(in_vault, cdv, request_id, tmp_path):
    path = tmp_path / "a.zip"
    in_vault.ok("packages", "download", request_id, "--to", path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    result = cdv("verify", path, "--json")
    assert result.exit_code == 1
    assert '"good": false' in result.stdout
    assert "Traceback" not in result.output


def test_only_expired_packages_are_deleted(in_vault, request_id):
    assert in_vault.json("packages", "expire") == {"expired": 0}
    asyncio.run(_a_month_later(in_vault.folder))
    assert in_vault.json("packages", "expire") == {"expired": 1}
    assert in_vault.json("packages", "list")[0]["state"] == "expired"
    assert "no longer available" in in_vault("packages", "download", request_id).stderr


def test_access_package_cannot_be_sent(in_vault, request_id):
    result = in_vault("packages", "send", request_id, "https://other.example.org/inbox")
    assert result.exit_code == 1
    assert "only a portability package" in result.stderr
