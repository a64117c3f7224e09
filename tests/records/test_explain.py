"""An explanation for other roles says about a person only what the caller may learn by a right of its own."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import combinations
from uuid import uuid4

import pytest

from tests.retention.ended import Desk, policies
from tests.vaults import ROLES, problem, without_ids
from vault.clock import to_microseconds
from vault.consent.model import ConsentState, Held, PurposeState, pack
from vault.governance.tenants import add_app
from vault.ids import DEFAULT_TENANT

EXPLAIN = "/v1/decisions:explain"
FIELDS = ["name", "email"]
CALLS = (
    ("marketing", "direct-marketing"),
    ("support", "customer-support"),
    ("fulfilment", "order-fulfilment"),
    ("finance", "accounting"),
    ("finance", "fraud-prevention"),
    ("dpo", "subject-rights"),
)
"""What is explained: for each role a purpose that its rules grant."""
ABOUT_A_PERSON = {"granted", "subject-not-found", "restricted", "consent-missing", "objected", "held", "retention-over"}
COMBINED = {"checks-and-retention": ("operator", "marketing")}
"""An app with two of the shipped roles, whose rights no single role has together."""

GIVEN = PurposeState("given", since=1, event=b"e" * 16, notice="marketing@3", method="checkbox", by="subject")
WITHDRAWN = PurposeState("withdrawn", since=1, event=b"e" * 16)
OBJECTED = PurposeState(objection="pending", objected_at=1)
HOLD = Held(b"h" * 16, "legal-claims", names=("profile.name",))
RESTRICTED_AT = to_microseconds(datetime(2026, 3, 5, tzinfo=UTC))


@pytest.fixture
async def people(sqlite_node, clock):
    """One person of each kind that a decision tells apart, by the name of the kind."""
    node = sqlite_node
    short = policies(fraud_prevention='keep = "P3M"\nsince = "collected"')
    desk = await Desk.at(node, clock, short)
    result = {"over": await desk.person()}
    clock.advance(days=120)  # of fraud prevention, the first person's values are over
    given, withdrawn = {"direct-marketing": GIVEN}, {"direct-marketing": WITHDRAWN}
    objected = {"fraud-prevention": OBJECTED}
    kept = ConsentState(kept_for=("accounting", "direct-marketing"))
    for kind, state, standing in (
        ("silent", "active", None),
        ("given", "active", ConsentState(given)),
        ("withdrawn", "active", ConsentState(withdrawn)),
        ("given, restricted", "restricted", ConsentState(given, RESTRICTED_AT)),
        ("withdrawn, restricted", "restricted", ConsentState(withdrawn, RESTRICTED_AT)),
        ("objected", "active", ConsentState(objected)),
        ("objected, restricted", "restricted", ConsentState(objected, RESTRICTED_AT)),
        ("given and objected", "active", ConsentState(given | objected)),
        ("held", "active", ConsentState(holds=(HOLD,))),
        ("given, held", "active", ConsentState(given, holds=(HOLD,))),
        ("erased", "erased", None),
        ("retained", "retained", kept),
        ("retained, restricted", "retained", ConsentState(given, RESTRICTED_AT, kept.kept_for)),
        ("retained, given", "retained", ConsentState(given, None, kept.kept_for)),
    ):
        result[kind] = await desk.person()
        await node.set_subject(result[kind], state=state, standing=None if standing is None else pack(standing))
    return {kind: str(subject) for kind, subject in result.items()} | {"nobody": str(uuid4())}


async def _explained(node, caller, subject):
    """Ask for every call what other roles would be answered about a person; returns code and step by call and field."""
    response = {}
    for role, purpose in CALLS:
        ask = {"fields": FIELDS, "purpose": purpose, "roles": [role], "subject": subject}
        answer = await node.post(caller, EXPLAIN, ask)
        assert answer.status_code == 200, answer.text
        for field, decision in answer.json()["fields"].items():
            response[role, purpose, field] = decision["step"], decision["code"], decision["detail"], decision["rule"]
    return response


async def _asked_directly(node, caller, subject):
    """Ask about a person by the caller's own rights; returns the answers without ids."""
    answers = [
        await node.call(caller, "GET", f"/v1/subjects/{subject}"),
        await node.call(caller, "GET", f"/v1/subjects/{subject}/consents"),
        await node.call(caller, "GET", f"/v1/subjects/{subject}/relationship"),
    ]
    answers += [
        await node.call(caller, "GET", f"/v1/subjects/{subject}/retention", params={"field": field}) for field in FIELDS
    ]
    for _role, purpose in CALLS:
        check = {"subjects": [subject], "purposes": [purpose]}
        answers.append(await node.post(caller, "/v1/consents:check", check))
        for field in FIELDS:  # what a read would say, without the read
            own = {"fields": [field], "purpose": purpose, "subject": subject}
            answers.append(await node.post(caller, EXPLAIN, own))
    return [without_ids(answer, subject) for answer in answers]


async def _with_combined_roles(node, name):
    _, issued = await add_app(node.services, DEFAULT_TENANT, name, COMBINED[name])
    node.place.keys["default", name] = issued.key.reveal()


@pytest.mark.parametrize("caller", [*ROLES, *COMBINED])
async def test_people_whom_no_direct_question_tells_apart_are_explained_alike(sqlite_node, people, caller):
    node = sqlite_node
    if caller in COMBINED:
        await _with_combined_roles(node, caller)
    direct = {kind: await _asked_directly(node, caller, subject) for kind, subject in people.items()}
    answer = {kind: await _explained(node, caller, subject) for kind, subject in people.items()}
    alike = [(one, other) for one, other in combinations(people, 2) if direct[one] == direct[other]]
    assert alike or caller == "dpo"
    for one, other in alike:
        assert answer[one] == answer[other], (one, other)


@pytest.mark.parametrize(
    ("caller", "role", "purpose", "codes"),
    [
        ("dpo", "marketing", "direct-marketing", {"granted", "consent-missing", "restricted", "held"}),
        ("dpo", "finance", "fraud-prevention", ABOUT_A_PERSON - {"consent-missing"}),
        ("dpo", "support", "customer-support", {"granted", "subject-not-found", "restricted", "held"}),
        # Reads consents, but not until when values are kept.
        ("support", "marketing", "direct-marketing", {"granted", "consent-missing", "restricted"}),
        ("support", "finance", "fraud-prevention", {"granted", "subject-not-found", "restricted", "objected"}),
        # Checks consents: whether a ground holds, without the reason.
        ("fulfilment", "marketing", "direct-marketing", {"granted", "no-legal-ground"}),
        ("marketing", "finance", "fraud-prevention", {"granted", "no-legal-ground"}),
        ("checks-and-retention", "finance", "fraud-prevention", {"granted", "no-legal-ground", "held", "retention-over"}),
        # Nothing about a person but what its own calls are answered.
        ("finance", "marketing", "direct-marketing", {"consent-missing"}),
        ("finance", "support", "customer-support", {"granted"}),
        ("finance", "finance", "fraud-prevention", ABOUT_A_PERSON - {"consent-missing"}),
        ("analytics", "finance", "fraud-prevention", {"granted"}),
        ("operator", "support", "customer-support", {"granted"}),
    ],
)  # fmt: skip
async def test_a_code_about_a_person_needs_its_right(sqlite_node, people, caller, role, purpose, codes):
    if caller in COMBINED:
        await _with_combined_roles(sqlite_node, caller)
    answers = [await _explained(sqlite_node, caller, subject) for subject in people.values()]
    assert {item[role, purpose, "name"][1] for item in answers} == codes


async def test_the_reason_of_a_missing_ground_needs_the_right_to_read_consents(sqlite_node, people):
    for kind, code in (("objected", "objected"), ("erased", "subject-not-found"), ("nobody", "subject-not-found")):
        answer = await _explained(sqlite_node, "support", people[kind])
        assert answer["finance", "fraud-prevention", "name"][1] == code
        answer = await _explained(sqlite_node, "fulfilment", people[kind])
        assert answer["finance", "fraud-prevention", "name"][:2] == (7, "no-legal-ground")


async def test_a_role_without_the_right_explains_for_nobody_else(sqlite_node, people):
    ask = {"fields": FIELDS, "purpose": "accounting", "roles": ["finance"], "subject": people["given"]}
    problem(await sqlite_node.post("stranger", EXPLAIN, ask), 403, "not-granted")


async def test_a_person_about_whom_nothing_may_be_known_is_not_on_the_log(sqlite_node, people):
    ask = {"fields": FIELDS, "purpose": "direct-marketing", "roles": ["marketing"], "subject": people["given"]}
    for caller, named in (("finance", ()), ("dpo", (await sqlite_node.pseudonym(people["given"]),))):
        async with sqlite_node.new_entries() as new_entries:
            await sqlite_node.post(caller, EXPLAIN, ask)
        (entry,) = new_entries
        assert entry.subjects == named
