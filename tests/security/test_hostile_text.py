"""Text that is slow to normalise is refused at every entry of the API, and no error repeats it."""

from __future__ import annotations

import pytest

from tests.vaults import ADA
from vault import unicode as unicode_module
from vault.unicode import LONGEST_RUN

MARKS = "a" + "\u0301\u0327" * 2_000
PURPOSE = "order-fulfilment"


@pytest.fixture
def normalised(monkeypatch):
    """Collect the runs of marks that are normalised: none may be long."""
    texts = []
    real = unicode_module.unicodedata.normalize

    class Watched:
        combining = staticmethod(unicode_module.unicodedata.combining)
        category = staticmethod(unicode_module.unicodedata.category)

        @staticmethod
        def normalize(form, text):
            texts.append(text)
            return real(form, text)

    monkeypatch.setattr(unicode_module, "unicodedata", Watched)
    return texts


async def entries(node, subject):
    """Yield the name of each entry of text, and the answer to a request with hostile text there."""
    me = f"/v1/subjects/{subject}"
    yield "create", await node.post("sales", "/v1/subjects", {"profile": {**ADA, "name": MARKS}, "purpose": PURPOSE})
    yield (
        "external id",
        await node.post(
            "sales", "/v1/subjects", {"profile": {"name": "Bo"}, "external_ids": {"shop": MARKS}, "purpose": PURPOSE}
        ),
    )
    yield (
        "patch",
        await node.call(
            "sales", "PATCH", f"{me}/profile?purpose={PURPOSE}", {"name": MARKS}, headers={"If-Match": '"1"'}
        ),
    )
    for match in ({"name": MARKS}, {"name": {"prefix": MARKS}}, {"email": {"prefix": MARKS}}, {"phone": MARKS}):
        body = {"match": match, "fields": ["name"], "purpose": PURPOSE}
        yield f"search {match.keys()}", await node.post("fulfilment", "/v1/subjects:search", body)
    body = {"data": {"channel": "web", "body": MARKS}, "purpose": "customer-support"}
    yield "record", await node.post("support", f"{me}/records/interaction", body)
    details = {"kind": "rectification", "subject": subject, "details": {"changes": {"name": MARKS}}}
    yield "request", await node.post("dpo", "/v1/requests", details)


async def test_a_long_run_of_marks_is_refused_at_every_entry(sqlite_node, normalised):
    subject = await sqlite_node.create()
    answers = {name: answer async for name, answer in entries(sqlite_node, subject)}

    assert {name: answer.status_code for name, answer in answers.items() if answer.status_code not in {400, 422}} == {}
    assert not any(MARKS[:100] in answer.text for answer in answers.values())
    assert not any(MARKS[1 : 2 * LONGEST_RUN] in text for text in normalised)
