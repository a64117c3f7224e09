"""A refusal does not reveal whether a subject or a value exists: the answers are equal byte for byte."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.vaults import ROLES, without_ids

PURPOSES = ("order-fulfilment", "customer-support", "accounting", "service-analytics", "direct-marketing", "profiling",
            "health-advice", "subject-rights")  # fmt: skip
FIELDS = ["name", "email", "iban", "health_notes"]


async def _refused_alike(node, ask, *subjects):
    """Send the same request about each subject, check that the answers are equal, and return the answer."""
    answers = []
    for subject in subjects:
        answer = await ask(subject)
        answers.append((answer.headers["content-type"], *without_ids(answer, subject)))
    assert len(set(answers)) == 1, answers
    return answers[0]


async def test_a_refused_read_does_not_reveal_whether_the_subject_exists(node):
    """For every shipped role and purpose, one field at a time."""
    there = await node.create()
    restricted, erased = await node.create(), await node.create()
    await node.set_state(restricted, "restricted")
    await node.set_state(erased, "erased")
    refused = 0
    for role in (*ROLES, "stranger"):
        for purpose in PURPOSES:
            for field in FIELDS:
                ask = {"fields": [field], "purpose": purpose, "roles": [role]}
                answer = (await node.post("dpo", "/v1/decisions:explain", ask)).json()["fields"][field]
                if answer["allowed"]:
                    continue
                refused += 1
                _kind, status, _body = await _refused_alike(
                    node,
                    lambda subject, role=role, field=field, purpose=purpose: node.read(role, subject, [field], purpose),
                    there, uuid4(), restricted, erased,
                )  # fmt: skip
                assert status == 403
    assert refused > 200


async def test_a_refused_batch_does_not_reveal_whether_a_subject_exists(sqlite_node):
    node = sqlite_node
    there = await node.create()
    for role, purpose in (("marketing", "direct-marketing"), ("marketing", "profiling"), ("operator", "accounting")):

        async def ask(subject, role=role, purpose=purpose):
            body = {"subjects": [str(subject)], "fields": ["email"], "purpose": purpose}
            return await node.post(role, "/v1/read", body)

        await _refused_alike(node, ask, there, uuid4())


async def test_a_stated_reason_does_not_change_a_refusal(sqlite_node):
    there = await sqlite_node.create()
    await _refused_alike(
        sqlite_node,
        lambda subject: sqlite_node.read("operator", subject, ["name"], "order-fulfilment", reason="because"),
        there,
        uuid4(),
    )


@pytest.mark.parametrize(
    ("role", "purpose", "fields"),
    [
        ("operator", "order-fulfilment", ["amount"]),
        ("marketing", "profiling", ["amount"]),
        ("analytics", "service-analytics", ["order"]),
        ("stranger", "customer-support", ["amount", "order"]),
    ],
)
async def test_a_refused_list_does_not_reveal_whether_the_subject_exists(sqlite_node, role, purpose, fields):
    node = sqlite_node
    there, bare = await node.create(), await node.create()
    await node.append("fulfilment", there, "purchase", {"amount": "1", "order": "A"}, "order-fulfilment")
    restricted, erased = await node.create(), await node.create()
    await node.set_state(restricted, "restricted")
    await node.set_state(erased, "erased")

    async def ask(subject):
        body = {"fields": fields, "purpose": purpose}
        return await node.post(role, f"/v1/subjects/{subject}/records/purchase:read", body)

    _kind, status, _body = await _refused_alike(node, ask, there, bare, uuid4(), restricted, erased)
    assert status == 403


@pytest.mark.parametrize("role", ["operator", "analytics", "sales", "marketing", "stranger"])
async def test_refused_writes_do_not_reveal_whether_the_subject_exists(sqlite_node, role):
    node = sqlite_node
    there = await node.create()
    restricted = await node.create()
    await node.set_state(restricted, "restricted")
    for if_match in ('"1"', '"9"', None):
        _kind, status, _body = await _refused_alike(
            node,
            lambda subject, tag=if_match: node.patch(role, subject, {"iban": "DE89370400440532013000"}, "accounting", tag),
            there, uuid4(), restricted,
        )  # fmt: skip
        assert status == 403
    _kind, status, _body = await _refused_alike(
        node,
        lambda subject: node.append(role, subject, "health_note", {"body": "x"}, "health-advice", external_id="1"),
        there, uuid4(), restricted,
    )  # fmt: skip
    assert status == 403


@pytest.mark.parametrize("role", ["operator", "analytics", "stranger"])
async def test_a_refused_state_does_not_reveal_whether_the_subject_exists(sqlite_node, role):
    node = sqlite_node
    there, erased = await node.create(), await node.create()
    await node.set_state(erased, "erased")
    _kind, status, _body = await _refused_alike(
        node, lambda subject: node.call(role, "GET", f"/v1/subjects/{subject}"), there, uuid4(), erased
    )
    assert status == 403


@pytest.mark.parametrize(
    ("role", "purpose", "match"),
    [
        ("analytics", "service-analytics", {"email": "%s@example.org"}),
        ("support", "customer-support", {"iban": "%s"}),
        ("marketing", "direct-marketing", {"email": "%s@example.org"}),
        ("support", "customer-support", {"birth_date": "1985-12-10"}),
        ("operator", "order-fulfilment", {"name": {"prefix": "%s"}}),
        ("fulfilment", "order-fulfilment", {"name": {"prefix": "%s"}, "family_name": "%s"}),
    ],
)
async def test_a_refused_search_field_does_not_reveal_matches(sqlite_node, role, purpose, match):
    node = sqlite_node
    await node.create()

    def filled(word):
        return {
            name: value.replace("%s", word)
            if isinstance(value, str)
            else {k: v.replace("%s", word) for k, v in value.items()}
            for name, value in match.items()
        }

    async def ask(word):
        body = {"match": filled(word), "fields": [], "purpose": purpose}
        return await node.post(role, "/v1/subjects:search", body)

    _kind, status, _body = await _refused_alike(node, ask, "ada", "nobody", "%")
    assert status == 403


async def test_a_search_without_permitted_fields_does_not_reveal_matches(sqlite_node):
    node = sqlite_node
    await node.create()

    async def ask(word):
        body = {"match": {"email": f"{word}@example.org"}, "fields": ["email"], "purpose": "customer-support"}
        return await node.post("support", "/v1/subjects:search", body)

    _kind, status, _body = await _refused_alike(node, ask, "ada", "nobody")
    assert status == 403


async def test_an_explanation_reveals_no_more_than_a_read(sqlite_node):
    node = sqlite_node
    there, restricted = await node.create(), await node.create()
    await node.set_state(restricted, "restricted")
    for role, purpose in (
        ("marketing", "direct-marketing"),
        ("operator", "order-fulfilment"),
        ("stranger", "accounting"),
    ):

        async def ask(subject, role=role, purpose=purpose):
            body = {"fields": ["name", "email"], "purpose": purpose, "subject": str(subject)}
            return await node.post(role, "/v1/decisions:explain", body)

        await _refused_alike(node, ask, there, uuid4(), restricted)


async def test_explaining_for_another_role_reveals_a_subject_only_to_permitted_roles(node):
    """The operator may explain decisions for support, but may not learn who is a customer."""
    there, restricted = await node.create(), await node.create()
    await node.set_state(restricted, "restricted")

    async def ask(subject, role="operator"):
        body = {"fields": ["name"], "purpose": "customer-support", "subject": str(subject), "roles": ["support"]}
        return await node.post(role, "/v1/decisions:explain", body)

    await _refused_alike(node, ask, there, uuid4(), restricted)
    # The data protection officer sees subjects, and so is told.
    answer = (await ask(restricted, "dpo")).json()["fields"]["name"]
    assert (answer["step"], answer["code"]) == (6, "restricted")
    answer = (await ask(uuid4(), "dpo")).json()["fields"]["name"]
    assert (answer["step"], answer["code"]) == (6, "subject-not-found")


async def test_a_missing_value_differs_from_a_refused_value_only_for_permitted_callers(sqlite_node):
    node = sqlite_node
    with_email, without = await node.create(), await node.create({"name": "Ada Lovelace"})
    _kind, status, _body = await _refused_alike(
        node, lambda subject: node.read("support", subject, ["email", "iban"], "customer-support"), with_email, without
    )
    assert status == 403


async def test_refused_views_do_not_reveal_the_field(sqlite_node):
    node = sqlite_node
    with_email, without = await node.create(), await node.create({"name": "Ada Lovelace"})
    await _refused_alike(
        node, lambda subject: node.read("support", subject, ["email.present"], "customer-support"), with_email, without
    )
