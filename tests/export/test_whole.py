"""A package of a real vault is complete and signed, and is built quickly with little memory."""

from __future__ import annotations

import io
import json
import zipfile

from tests.export.made_up import DEFAULT, approved
from vault.export.build import build_package
from vault.export.download import open_package
from vault.export.verify import check_archive

NAMES = {"index.html", "README.txt", "data.json", "data.schema.json", "manifest.json"}


async def test_a_subject_gets_their_values_in_a_valid_package(node):
    subject = await node.create()
    await node.append("fulfilment", subject, "purchase", {"amount": "9.00"}, "order-fulfilment")
    for kind in ("access", "portability"):
        request = await approved(node, subject, kind)
        assert await build_package(node.services, DEFAULT, request) is None
        got = await open_package(node.services, await node.caller("dpo"), request)
        data = b"".join([piece async for piece in got.stream])
        assert check_archive(io.BytesIO(data)).sound
        opened = zipfile.ZipFile(io.BytesIO(data))
        assert set(opened.namelist()) >= NAMES
        assert opened.namelist()[-1] == "manifest.json"
        assert "ada@example.org" in json.dumps(json.loads(opened.read("data.json")))
