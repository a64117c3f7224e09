"""Whatever a person is called, the package's files have the same names, and open on every system."""

from __future__ import annotations

import re
import shutil
import subprocess
import zipfile

import pytest

from tests.export.made_up import approved
from tests.vaults import ADA
from vault.export.build import build_package
from vault.ids import DEFAULT_TENANT

NAMES = {
    "a device of Windows": "CON",
    "a device with an ending": "nul.txt",
    "a folder": "a/b",
    "folders of Windows": "..\\..\\a:b",
    "a dot at the end": "Ada.",
    "a long name": "N" * 300,
    "letters that fold": "İlker ﬁ Ⅷ",
    "a name like an option": "-rf *",
}
RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³")}
"""Names that Windows keeps for devices, with any ending."""


def _opens_on_windows(name):
    return all(
        re.search(r'[<>:"\\|?*\x00-\x1f]', step) is None
        and step.partition(".")[0].casefold() not in RESERVED
        and step[-1] not in ". "
        and len(step) <= 120
        for step in name.split("/")
    )


async def _package(node, name, tmp_path):
    profile = {**ADA, "name": name}
    subject = await node.create(profile, external_ids={"shop": "".join(filter(str.isalnum, name))[:40]})
    await node.append("sales", subject, "purchase", {"order": "A-1", "amount": "1.00", "currency": "EUR"},
                      "order-fulfilment")  # fmt: skip
    request = await approved(node, subject)
    await build_package(node.services, DEFAULT_TENANT, request)
    answer = await node.call("dpo", "GET", f"/v1/requests/{request}/package")
    assert answer.status_code == 200
    path = tmp_path / "package.zip"
    path.write_bytes(answer.content)
    return path, answer.headers["content-disposition"], str(request)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
async def test_the_names_of_files_do_not_depend_on_the_persons_name(sqlite_node, tmp_path, name):
    path, disposition, request = await _package(sqlite_node, name, tmp_path)
    assert disposition == f'attachment; filename="access-{request}.zip"'
    with zipfile.ZipFile(path) as opened:
        names = opened.namelist()
        assert name.encode() in opened.read("data.json") or "\\" in name, "it is this person's package"
    assert {"index.html", "data.json", "csv/profile.csv", "csv/purchase.csv", "manifest.json"} <= set(names)
    assert [entry for entry in names if not _opens_on_windows(entry)] == []
    assert len({entry.casefold() for entry in names}) == len(names)
    assert max(map(len, names)) <= 120


@pytest.mark.skipif(shutil.which("unzip") is None, reason="unzip is not installed")
async def test_unzip_unpacks_every_file_below_its_folder(sqlite_node, tmp_path):
    path, _disposition, _request = await _package(sqlite_node, NAMES["folders of Windows"], tmp_path)
    folder = tmp_path / "unpacked"
    done = subprocess.run(["unzip", "-q", path, "-d", folder], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    unpacked = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    with zipfile.ZipFile(path) as opened:
        assert unpacked == set(opened.namelist())
        assert all((folder / entry).read_bytes() == opened.read(entry) for entry in unpacked)
