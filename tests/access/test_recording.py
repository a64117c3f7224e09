"""Every call that reaches an operation leaves exactly one audit entry, whatever its outcome."""

from __future__ import annotations

import json
import re
from uuid import UUID, uuid4

import pytest

from tests.export.made_up import with_package
from tests.recipients.telling import one_notice
from tests.vaults import ADA
from vault.audit.entry import encode
from vault.contacts.shared import ClaimedContact, note_shared
from vault.identity.sessions import add_session
from vault.requests.decide import start_request
from vault.retention.reviews import NewReview, open_reviews, reviews_in

NEW = {"profile": {"name": "New"}, "external_ids": {"shop": "new"}, "purpose": "order-fulfilment"}
TAKEN = {"profile": {"name": "New"}, "external_ids": {"shop": "4711"}, "purpose": "order-fulfilment"}
ONE, UPSERT, SEARCH, EXPLAIN = "/v1/subjects", "/v1/subjects:upsert", "/v1/subjects:search", "/v1/decisions:explain"
READ = "/v1/read"
FIND = {"match": {"email": "ada@example.org"}, "fields": ["name"], "purpose": "customer-support"}
SALE = {"fields": {"amount": "1.00"}, "purpose": "order-fulfilment"}
LIST = {"fields": ["amount"], "purpose": "order-fulfilment"}
MERGE = {"survivor": "{id}", "duplicate": "{nobody}", "evidence": "ticket 4711"}
NO = {"subject": "{id}", "purpose": "direct-marketing", "decision": "refused", "occurred_at": "2020-01-01T00:00:00Z"}
PROFILE, STATE = "/v1/subjects/{id}/profile", "/v1/subjects/{id}"
PURCHASE, PURCHASES = "/v1/subjects/{id}/records/purchase", "/v1/subjects/{id}/records/purchase:read"
BUY = "?purpose=order-fulfilment"
RECEIPT = "/v1/subjects/{id}/consents/{event}/receipt"
CONSENTS, SIGNAL, CHECK = "/v1/subjects/{id}/consents", "/v1/subjects/{id}/consents:signal", "/v1/consents:check"
GIVEN = {"purpose": "direct-marketing", "decision": "given", "notice": "marketing@3", "method": "checkbox"}
MAY = {"subjects": ["{id}"], "purposes": ["order-fulfilment", "direct-marketing"]}
OBJECT, OBJECTION = "/v1/subjects/{id}/objections", {"purpose": "fraud-prevention", "reason": "a false alarm"}
DECIDE, OVER = "/v1/subjects/{id}/objections/{objection}:decide", {"decision": "overruled", "reason": "an open case"}
RESTRICT, LIFT = "/v1/subjects/{id}/restriction", "/v1/subjects/{id}/restriction:lift"
ANNOUNCE, BY_POST = "/v1/subjects/{id}/restriction:announce", {"told": "by post"}
DISPUTES, WRONG = "/v1/subjects/{id}/disputes", {"fields": ["address"], "statement": "never lived there"}
RESOLVE, RIGHT = "/v1/subjects/{id}/disputes/{dispute}:resolve", {"decision": "refused", "reason": "see the contract"}
CHECKED, SEEN = "/v1/subjects/{id}/fields:verify", {"fields": ["email"], "purpose": "subject-rights"}
CORRECTED = "/v1/subjects/{id}/rectifications"
CLAIMS = {"ground": "claims", "reason": "a dispute"}
CONFIRM, RECORD = "/v1/consents:confirm", "/v1/processing-record"
GPC = {"Sec-GPC": "1"}
VERIFY, ME = "/v1/requests/{asked}:verify", "/v1/me"
SIGNED_IN = {"Authorization": "Bearer {me}"}
HOOK, ROTATE, TRY = "/v1/webhook", "/v1/webhook:rotate-secret", "/v1/webhook:test"
HERE, HERS = {"url": "https://localhost:1/hook"}, "?app=support"
MINE, SENT = "/v1/notices:mine", "/v1/notices:sent"
EVENTS, ENDED = "/v1/subjects/{id}/retention-events", {"event": "contract-ended", "on": "2020-01-01"}
STANDS = "/v1/subjects/{id}/relationship"
REVIEWS, GOES = "/v1/retention/reviews", {"decision": "erase"}
HOLDS, HOLD = "/v1/holds", "/v1/holds/{hold}"
HELD = {"matter": "M-1", "owner": "legal", "review_on": "2030-01-01", "subjects": ["{id}"]}
DONE, CHASE = "/v1/notices/{notice}:acknowledge", "/v1/notices/{notice}:chase"

ASKS, ACCESS = "/v1/requests", {"kind": "access", "subject": "{id}"}
ASKED, CHECKED_IN, REVIEWED = "/v1/requests/{waiting}", "/v1/requests/{checked}", "/v1/requests/{reviewed}"
NO_REQUEST = "/v1/requests/{nobody}"
PREVIEW, KEPT = "/v1/subjects/{id}/erasure:preview", {"names": ["phone"], "until": "2030-12-31", "reason": "claim 12"}
PACKAGE, SECRET = "/v1/requests/{package}/package", {"passphrase": "correct horse battery staple"}


def ask(**more):
    return {"subject": "{id}", "fields": ["name"], "purpose": "customer-support", **more}


def but(body, **more):
    return {**body, **more}


# What, (role, method, path, body, headers), status, (action, decision, code of the entry)
# Only the page of a confirmation leaves none: nobody signs in there, nothing happens and nobody's data is shown, while
# mail scanners open every link. What counts is the token that is sent, and each of those leaves its entry.
CALLS = [
    ("create", ("sales", "POST", ONE, NEW), 201, ("create", "allowed", None)),
    ("create, no right", ("finance", "POST", ONE, NEW), 403, ("create", "denied", "not-granted")),
    ("create, field not granted", ("sales", "POST", ONE, but(NEW, profile={"iban": "x"})), 403, ("create", "denied", None)),
    ("create, unknown purpose", ("sales", "POST", ONE, but(NEW, purpose="fun")), 422, ("create", "failed", "unknown-purpose")),
    ("create, unknown field", ("sales", "POST", ONE, but(NEW, profile={"shoe": "x"})), 422, ("create", "failed", "unknown-field")),
    ("create, no field", ("sales", "POST", ONE, but(NEW, profile={})), 422, ("create", "failed", "no-fields")),
    ("create, bad value", ("sales", "POST", ONE, but(NEW, profile={"email": "x"})), 422, ("create", "failed", "invalid-value")),
    ("create, bad source", ("sales", "POST", ONE, but(NEW, source="\u00e9")), 422, ("create", "failed", "invalid-source")),
    ("create, bad external id", ("sales", "POST", ONE, but(NEW, external_ids={"shop": ""})), 422, ("create", "failed", "invalid-external-id")),
    ("create, external id taken", ("sales", "POST", ONE, TAKEN), 409, ("create", "failed", "external-id-taken")),
    ("upsert, new", ("sales", "POST", UPSERT, NEW), 201, ("create", "allowed", None)),
    ("upsert, there", ("sales", "POST", UPSERT, TAKEN), 200, ("update", "allowed", None)),
    ("upsert, no external id", ("sales", "POST", UPSERT, but(NEW, external_ids={})), 422, ("create", "failed", "no-external-id")),
    ("upsert, no right", ("finance", "POST", UPSERT, NEW), 403, ("create", "denied", "not-granted")),
    ("upsert, two people", ("sales", "POST", UPSERT, but(NEW, external_ids={"shop": "4711", "erp": "2"})), 409, ("create", "failed", "two-people-match")),
    ("upsert, other id", ("sales", "POST", UPSERT, but(NEW, external_ids={"erp": "2", "shop": "9"})), 200, ("update", "allowed", None)),
    ("patch", ("fulfilment", "PATCH", PROFILE + BUY, {"name": "X"}, {"If-Match": '"1"'}), 200, ("update", "allowed", None)),
    ("patch, no revision", ("fulfilment", "PATCH", PROFILE + BUY, {"name": "X"}), 428, ("update", "failed", "revision-required")),
    ("patch, stale", ("fulfilment", "PATCH", PROFILE + BUY, {"name": "X"}, {"If-Match": '"7"'}), 412, ("update", "failed", "stale-revision")),
    ("patch, foreign tag", ("fulfilment", "PATCH", PROFILE + BUY, {"name": "X"}, {"If-Match": '"abc"'}), 412, ("update", "failed", "stale-revision")),
    ("patch, weak tag", ("fulfilment", "PATCH", PROFILE + BUY, {"name": "X"}, {"If-Match": 'W/"1"'}), 412, ("update", "failed", "stale-revision")),
    ("patch, nobody", ("fulfilment", "PATCH", "/v1/subjects/{nobody}/profile" + BUY, {"name": "X"}, {"If-Match": '"1"'}), 404, ("update", "failed", "subject-not-found")),
    ("patch, denied", ("fulfilment", "PATCH", PROFILE + BUY, {"iban": "X"}, {"If-Match": '"1"'}), 403, ("update", "denied", None)),
    ("patch, bad value", ("fulfilment", "PATCH", PROFILE + BUY, {"email": "X"}, {"If-Match": '"1"'}), 422, ("update", "failed", "invalid-value")),
    ("patch, unknown field", ("fulfilment", "PATCH", PROFILE + BUY, {"shoe": "X"}, {"If-Match": '"1"'}), 422, ("update", "failed", "unknown-field")),
    ("patch, system field", ("fulfilment", "PATCH", PROFILE + BUY, {"external_ids": {}}, {"If-Match": '"1"'}), 422, ("update", "failed", "unknown-field")),
    ("patch, unknown purpose", ("fulfilment", "PATCH", PROFILE + "?purpose=fun", {"name": "X"}, {"If-Match": '"1"'}), 422, ("update", "failed", "unknown-purpose")),
    ("append", ("fulfilment", "POST", PURCHASE, SALE), 201, ("append", "allowed", None)),
    ("append, nobody", ("fulfilment", "POST", "/v1/subjects/{nobody}/records/purchase", SALE), 404, ("append", "failed", "subject-not-found")),
    ("append, unknown collection", ("fulfilment", "POST", "/v1/subjects/{id}/records/shoe", SALE), 422, ("append", "failed", "unknown-collection")),
    ("append, profile", ("fulfilment", "POST", "/v1/subjects/{id}/records/profile", SALE), 422, ("append", "failed", "unknown-collection")),
    ("append, denied", ("finance", "POST", "/v1/subjects/{id}/records/interaction", but(SALE, fields={"body": "x"})), 403, ("append", "denied", None)),
    ("append, bad value", ("fulfilment", "POST", PURCHASE, but(SALE, fields={"amount": "x"})), 422, ("append", "failed", "invalid-value")),
    ("append, bad external id", ("fulfilment", "POST", PURCHASE, but(SALE, external_id="")), 422, ("append", "failed", "invalid-external-id")),
    ("append, external id taken", ("fulfilment", "POST", PURCHASE, but(SALE, external_id="there")), 409, ("append", "failed", "external-id-taken")),
    ("list", ("fulfilment", "POST", PURCHASES, LIST), 200, ("list", "allowed", None)),
    ("list, partly", ("support", "POST", "/v1/subjects/{id}/records/interaction:read", {"fields": ["body", "channel"], "purpose": "service-analytics"}), 403, ("list", "denied", None)),
    ("list, nobody", ("fulfilment", "POST", "/v1/subjects/{nobody}/records/purchase:read", LIST), 404, ("list", "denied", None)),
    ("list, denied", ("operator", "POST", PURCHASES, LIST), 403, ("list", "denied", None)),
    ("list, no field", ("fulfilment", "POST", PURCHASES, but(LIST, fields=[])), 422, ("list", "failed", "invalid-page")),
    ("list, one field twice", ("fulfilment", "POST", PURCHASES, but(LIST, fields=["amount", "purchase.amount"])), 422, ("list", "failed", "invalid-page")),
    ("list, unknown field", ("fulfilment", "POST", PURCHASES, but(LIST, fields=["email"])), 422, ("list", "failed", "unknown-field")),
    ("list, unknown purpose", ("fulfilment", "POST", PURCHASES, but(LIST, purpose="fun")), 422, ("list", "failed", "unknown-purpose")),
    ("list, unknown collection", ("fulfilment", "POST", "/v1/subjects/{id}/records/shoe:read", LIST), 422, ("list", "failed", "unknown-collection")),
    ("read", ("support", "POST", READ, ask()), 200, ("read", "allowed", None)),
    ("read, partly", ("support", "POST", READ, ask(fields=["name", "email"])), 200, ("read", "partly", None)),
    ("read, denied", ("support", "POST", READ, ask(fields=["email"])), 403, ("read", "denied", None)),
    ("read, no consent", ("marketing", "POST", READ, ask(purpose="direct-marketing")), 403, ("read", "denied", None)),
    ("read, nobody", ("support", "POST", READ, ask(subject="{nobody}")), 404, ("read", "denied", None)),
    ("read, unknown purpose", ("support", "POST", READ, ask(purpose="fun")), 422, ("read", "failed", "unknown-purpose")),
    ("read, unknown field", ("support", "POST", READ, ask(fields=["shoe"])), 422, ("read", "failed", "unknown-field")),
    ("read, one field twice", ("support", "POST", READ, ask(fields=["name", "name"])), 422, ("read", "failed", "invalid-fields")),
    ("read, no field", ("support", "POST", READ, ask(fields=[])), 422, ("read", "failed", "invalid-fields")),
    ("read, long reason", ("support", "POST", READ, ask(reason="x" * 501)), 422, ("read", "failed", "invalid-reason")),
    ("read, nobody named", ("support", "POST", READ, {"subjects": [], "fields": ["name"], "purpose": "customer-support"}), 422, ("read", "failed", "too-many-subjects")),
    ("read, several", ("support", "POST", READ, {"subjects": ["{id}", "{nobody}"], "fields": ["name"], "purpose": "customer-support"}), 200, ("read", "partly", None)),
    ("read, no value", ("support", "POST", READ, ask(fields=["notes"])), 200, ("read", "denied", None)),
    ("search", ("support", "POST", SEARCH, FIND), 200, ("search", "allowed", None)),
    ("search, nobody there", ("support", "POST", SEARCH, but(FIND, match={"email": "x@example.org"})), 200, ("search", "allowed", None)),
    ("search, only part may be shown", ("support", "POST", SEARCH, but(FIND, fields=["name", "email"])), 200, ("search", "partly", None)),
    ("search, nothing may be shown", ("support", "POST", SEARCH, but(FIND, fields=["email"])), 403, ("search", "denied", None)),
    ("search, may not be searched", ("analytics", "POST", SEARCH, but(FIND, purpose="service-analytics")), 403, ("search", "denied", None)),
    ("search, no such index", ("dpo", "POST", SEARCH, but(FIND, match={"gender": "male"}, purpose="subject-rights")), 422, ("search", "failed", "not-searchable")),
    ("search, bad value", ("support", "POST", SEARCH, but(FIND, match={"email": "x"})), 422, ("search", "failed", "invalid-value")),
    ("search, unknown field", ("support", "POST", SEARCH, but(FIND, match={"shoe": "x"})), 422, ("search", "failed", "unknown-field")),
    ("search, unknown purpose", ("support", "POST", SEARCH, but(FIND, purpose="fun")), 422, ("search", "failed", "unknown-purpose")),
    ("search, one field twice", ("support", "POST", SEARCH, but(FIND, fields=["name", "name"])), 422, ("search", "failed", "invalid-search")),
    ("explain", ("support", "POST", EXPLAIN, ask()), 200, ("explain", "allowed", None)),
    ("explain for others", ("dpo", "POST", EXPLAIN, ask(roles=["support"])), 200, ("explain", "allowed", None)),
    ("explain for others, no right", ("stranger", "POST", EXPLAIN, ask(roles=["marketing"])), 403, ("explain", "denied", "not-granted")),
    ("explain, unknown field", ("support", "POST", EXPLAIN, ask(fields=["shoe"])), 422, ("explain", "failed", "unknown-field")),
    ("state", ("support", "GET", STATE, None), 200, ("read", "allowed", None)),
    ("state, nobody", ("support", "GET", "/v1/subjects/{nobody}", None), 404, ("read", "denied", "subject-not-found")),
    ("state, no right", ("operator", "GET", STATE, None), 403, ("read", "denied", "not-granted")),
    ("merge", ("dpo", "POST", "/v1/subjects:merge", but(MERGE, duplicate="{other}")), 201, ("merge", "allowed", None)),
    ("merge, nobody", ("dpo", "POST", "/v1/subjects:merge", MERGE), 404, ("merge", "failed", "subject-not-found")),
    ("merge, one and the same", ("dpo", "POST", "/v1/subjects:merge", but(MERGE, duplicate="{id}")), 422, ("merge", "failed", "same-subject")),
    ("merge, no evidence", ("dpo", "POST", "/v1/subjects:merge", but(MERGE, evidence=" ")), 422, ("merge", "failed", "invalid-evidence")),
    ("merge, no right", ("support", "POST", "/v1/subjects:merge", MERGE), 403, ("merge", "denied", "not-granted")),
    ("duplicates", ("dpo", "POST", "/v1/subjects/{id}:duplicates", None), 200, ("find-duplicates", "allowed", None)),
    ("duplicates, nobody", ("dpo", "POST", "/v1/subjects/{nobody}:duplicates", None), 404, ("find-duplicates", "failed", "subject-not-found")),
    ("duplicates, no right", ("sales", "POST", "/v1/subjects/{id}:duplicates", None), 403, ("find-duplicates", "denied", "not-granted")),
    ("shared contacts", ("dpo", "GET", "/v1/shared-contacts", None), 200, ("find-duplicates", "allowed", None)),
    ("shared contacts, no right", ("sales", "GET", "/v1/shared-contacts", None), 403, ("find-duplicates", "denied", "not-granted")),
    ("settle a shared contact", ("dpo", "POST", "/v1/shared-contacts/{contact}:settle", None), 200, ("settle-contact", "allowed", None)),
    ("settle a shared contact, none", ("dpo", "POST", "/v1/shared-contacts/{nobody}:settle", None), 404, ("settle-contact", "failed", "contact-not-found")),
    ("settle a shared contact, no right", ("sales", "POST", "/v1/shared-contacts/{nobody}:settle", None), 403, ("settle-contact", "denied", "not-granted")),
    ("import consents", ("dpo", "POST", "/v1/consents:import?source=crm", [NO]), 200, ("import-consents", "allowed", None)),
    ("import consents, one right", ("dpo", "POST", "/v1/consents:import?source=crm", [but(NO, purpose="fun"), NO]), 200, ("import-consents", "allowed", None)),
    ("import consents, nothing right", ("dpo", "POST", "/v1/consents:import?source=crm", [but(NO, purpose="fun"), but(NO, subject="{nobody}")]), 200, ("import-consents", "failed", "unknown-purpose")),
    ("import consents, nothing read", ("dpo", "POST", "/v1/consents:import?source=crm", ["x", but(NO, subject="{nobody}")]), 200, ("import-consents", "failed", "invalid-body")),
    ("import consents, nobody", ("dpo", "POST", "/v1/consents:import?source=crm", [but(NO, subject="{nobody}")]), 200, ("import-consents", "failed", "subject-not-found")),
    ("import consents, no source", ("dpo", "POST", "/v1/consents:import", [NO]), 422, ("import-consents", "failed", "invalid-source")),
    ("import consents, no right", ("support", "POST", "/v1/consents:import?source=crm", [NO]), 403, ("import-consents", "denied", "not-granted")),
    ("consent", ("support", "POST", CONSENTS, GIVEN), 201, ("record-consent", "allowed", "given")),
    ("consent, asked for", ("support", "POST", CONSENTS, but(GIVEN, method="double-opt-in")), 201, ("record-consent", "allowed", "requested")),
    ("consent, no right", ("marketing", "POST", CONSENTS, GIVEN), 403, ("record-consent", "denied", "not-granted")),
    ("consent, nobody", ("support", "POST", "/v1/subjects/{nobody}/consents", GIVEN), 404, ("record-consent", "failed", "subject-not-found")),
    ("consent, unknown purpose", ("support", "POST", CONSENTS, but(GIVEN, purpose="fun")), 422, ("record-consent", "failed", "unknown-purpose")),
    ("consent, unknown notice", ("support", "POST", CONSENTS, but(GIVEN, notice="fun@1")), 422, ("record-consent", "failed", "unknown-notice")),
    ("consents", ("support", "GET", CONSENTS, None), 200, ("read-consents", "allowed", None)),
    ("consents, no right", ("finance", "GET", CONSENTS, None), 403, ("read-consents", "denied", "not-granted")),
    ("consents, nobody", ("support", "GET", "/v1/subjects/{nobody}/consents", None), 404, ("read-consents", "denied", "subject-not-found")),
    ("signal", ("support", "POST", SIGNAL, None, GPC), 200, ("record-consent", "allowed", "withdrawn")),
    ("signal, no right", ("marketing", "POST", SIGNAL, None, GPC), 403, ("record-consent", "denied", "not-granted")),
    ("signal, nobody", ("support", "POST", "/v1/subjects/{nobody}/consents:signal", None, GPC), 404, ("record-consent", "failed", "subject-not-found")),
    ("check", ("marketing", "POST", CHECK, MAY), 200, ("check-consents", "allowed", None)),
    ("check, nobody", ("marketing", "POST", CHECK, but(MAY, subjects=["{nobody}"])), 200, ("check-consents", "allowed", None)),
    ("check, no right", ("finance", "POST", CHECK, MAY), 403, ("check-consents", "denied", "not-granted")),
    ("check, unknown purpose", ("marketing", "POST", CHECK, but(MAY, purposes=["fun"])), 422, ("check-consents", "failed", "unknown-purpose")),
    ("confirm", (None, "POST", CONFIRM, {"token": "{token}"}), 200, ("confirm-consent", "allowed", "given")),
    ("confirm, wrong token", (None, "POST", CONFIRM, {"token": "cdvc_x"}), 404, ("confirm-consent", "denied", "confirmation-invalid")),
    ("confirmation page", (None, "GET", CONFIRM + "?token={token}", None), 200, None),
    ("confirmation page, wrong token", (None, "GET", CONFIRM + "?token=cdvc_x", None), 404, None),
    ("object", ("support", "POST", OBJECT, OBJECTION), 201, ("object", "allowed", "objected")),
    ("object, no right", ("marketing", "POST", OBJECT, OBJECTION), 403, ("object", "denied", "not-granted")),
    ("object, nobody", ("support", "POST", "/v1/subjects/{nobody}/objections", OBJECTION), 404, ("object", "failed", "subject-not-found")),
    ("object, unknown purpose", ("support", "POST", OBJECT, but(OBJECTION, purpose="fun")), 422, ("object", "failed", "unknown-purpose")),
    ("object, to a contract", ("support", "POST", OBJECT, but(OBJECTION, purpose="accounting")), 422, ("object", "failed", "no-right-to-object")),
    ("decide", ("dpo", "POST", DECIDE, OVER), 201, ("decide-objection", "allowed", "objection-overruled")),
    ("decide, no right", ("support", "POST", DECIDE, OVER), 403, ("decide-objection", "denied", "not-granted")),
    ("decide, nobody", ("dpo", "POST", "/v1/subjects/{nobody}/objections/{event}:decide", OVER), 404, ("decide-objection", "failed", "subject-not-found")),
    ("decide, no such event", ("dpo", "POST", "/v1/subjects/{id}/objections/{event}:decide", OVER), 404, ("decide-objection", "failed", "consent-event-not-found")),
    ("decide, final", ("dpo", "POST", "/v1/subjects/{id}/objections/{final}:decide", OVER), 409, ("decide-objection", "failed", "objection-decided")),
    ("decide, no reason", ("dpo", "POST", DECIDE, but(OVER, reason=" ")), 422, ("decide-objection", "failed", "invalid-reason")),
    ("restrict", ("dpo", "POST", RESTRICT, CLAIMS), 201, ("restrict", "allowed", "restricted")),
    ("restrict, no right", ("support", "POST", RESTRICT, CLAIMS), 403, ("restrict", "denied", "not-granted")),
    ("restrict, nobody", ("dpo", "POST", "/v1/subjects/{nobody}/restriction", CLAIMS), 404, ("restrict", "failed", "subject-not-found")),
    ("restrict, no reason", ("dpo", "POST", RESTRICT, but(CLAIMS, reason=" ")), 422, ("restrict", "failed", "invalid-reason")),
    ("announce", ("dpo", "POST", "/v1/subjects/{restricted}/restriction:announce", BY_POST), 201, ("lift-restriction", "allowed", "lift-announced")),
    ("announce, no mail is set up", ("dpo", "POST", "/v1/subjects/{restricted}/restriction:announce", {}), 409, ("lift-restriction", "failed", "person-not-told")),
    ("announce, not restricted", ("dpo", "POST", ANNOUNCE, BY_POST), 409, ("lift-restriction", "failed", "not-restricted")),
    ("announce, no right", ("support", "POST", ANNOUNCE, BY_POST), 403, ("lift-restriction", "denied", "not-granted")),
    ("announce, nobody", ("dpo", "POST", "/v1/subjects/{nobody}/restriction:announce", BY_POST), 404, ("lift-restriction", "failed", "subject-not-found")),
    ("lift", ("dpo", "POST", "/v1/subjects/{announced}/restriction:lift", {}), 201, ("lift-restriction", "allowed", "restriction-lifted")),
    ("lift, the person was not told", ("dpo", "POST", "/v1/subjects/{restricted}/restriction:lift", {}), 409, ("lift-restriction", "failed", "notice-first")),
    ("lift, not restricted", ("dpo", "POST", LIFT, {}), 409, ("lift-restriction", "failed", "not-restricted")),
    ("lift, no right", ("support", "POST", LIFT, {}), 403, ("lift-restriction", "denied", "not-granted")),
    ("lift, nobody", ("dpo", "POST", "/v1/subjects/{nobody}/restriction:lift", {}), 404, ("lift-restriction", "failed", "subject-not-found")),
    ("dispute", ("dpo", "POST", DISPUTES, WRONG), 201, ("dispute", "allowed", None)),
    ("dispute, no right", ("support", "POST", DISPUTES, WRONG), 403, ("dispute", "denied", "not-granted")),
    ("dispute, nobody", ("dpo", "POST", "/v1/subjects/{nobody}/disputes", WRONG), 404, ("dispute", "failed", "subject-not-found")),
    ("dispute, unknown field", ("dpo", "POST", DISPUTES, but(WRONG, fields=["shoe"])), 422, ("dispute", "failed", "unknown-field")),
    ("dispute, no words", ("dpo", "POST", DISPUTES, but(WRONG, statement=" ")), 422, ("dispute", "failed", "invalid-words")),
    ("resolve", ("dpo", "POST", RESOLVE, RIGHT), 201, ("dispute", "allowed", "refused")),
    ("resolve, no right", ("support", "POST", RESOLVE, RIGHT), 403, ("dispute", "denied", "not-granted")),
    ("resolve, no such dispute", ("dpo", "POST", "/v1/subjects/{id}/disputes/{event}:resolve", RIGHT), 404, ("dispute", "failed", "dispute-not-found")),
    ("resolve, nobody", ("dpo", "POST", "/v1/subjects/{nobody}/disputes/{event}:resolve", RIGHT), 404, ("dispute", "failed", "subject-not-found")),
    ("verify a value", ("dpo", "POST", CHECKED, SEEN), 200, ("verify-value", "allowed", None)),
    ("verify a value, denied", ("fulfilment", "POST", CHECKED, but(SEEN, fields=["iban"], purpose="order-fulfilment")), 403, ("verify-value", "denied", None)),
    ("verify a value, nobody", ("dpo", "POST", "/v1/subjects/{nobody}/fields:verify", SEEN), 404, ("verify-value", "failed", "subject-not-found")),
    ("verify a value, unknown field", ("dpo", "POST", CHECKED, but(SEEN, fields=["shoe"])), 422, ("verify-value", "failed", "unknown-field")),
    ("verify a value, unknown purpose", ("dpo", "POST", CHECKED, but(SEEN, purpose="fun")), 422, ("verify-value", "failed", "unknown-purpose")),
    ("rectifications", ("support", "GET", CORRECTED, None), 200, ("read-requests", "allowed", None)),
    ("rectifications, no right", ("finance", "GET", CORRECTED, None), 403, ("read-requests", "denied", "not-granted")),
    ("rectifications, nobody", ("support", "GET", "/v1/subjects/{nobody}/rectifications", None), 404, ("read-requests", "denied", "subject-not-found")),
    ("receipt", ("support", "GET", "/v1/subjects/{id}/consents/{objection}/receipt", None), 200, ("read-receipt", "allowed", None)),
    ("receipt, no such event", ("support", "GET", RECEIPT, None), 404, ("read-receipt", "failed", "consent-event-not-found")),
    ("receipt, nobody", ("support", "GET", "/v1/subjects/{nobody}/consents/{event}/receipt", None), 404, ("read-receipt", "failed", "subject-not-found")),
    ("receipt, no right", ("finance", "GET", RECEIPT, None), 403, ("read-receipt", "denied", "not-granted")),
    ("signing keys", ("stranger", "GET", "/v1/signing-keys", None), 200, ("read-policies", "allowed", None)),
    ("audit", ("dpo", "GET", "/v1/audit/entries", None), 200, ("read-audit", "allowed", None)),
    ("jobs", ("dpo", "GET", "/v1/jobs", None), 200, ("read-jobs", "allowed", None)),
    ("jobs, no right", ("sales", "GET", "/v1/jobs", None), 403, ("read-jobs", "denied", "not-granted")),
    ("audit, no right", ("sales", "GET", "/v1/audit/entries", None), 403, ("read-audit", "denied", "not-granted")),
    ("catalogue", ("stranger", "GET", "/v1/catalogue", None), 200, ("read-policies", "allowed", None)),
    ("purposes", ("stranger", "GET", "/v1/purposes", None), 200, ("read-policies", "allowed", None)),
    ("notices", ("stranger", "GET", "/v1/notices", None), 200, ("read-policies", "allowed", None)),
    ("notice", ("stranger", "GET", "/v1/notices/{digest}", None), 200, ("read-policies", "allowed", None)),
    ("notice, there already", ("stranger", "GET", "/v1/notices/{digest}", None, {"If-None-Match": "*"}), 304, ("read-policies", "allowed", None)),
    ("notice, no such text", ("stranger", "GET", "/v1/notices/sha256:0", None), 404, ("read-policies", "failed", "notice-not-found")),
    ("processing record", ("dpo", "GET", RECORD, None), 200, ("read-processing", "allowed", None)),
    ("processing record, no right", ("sales", "GET", RECORD, None), 403, ("read-processing", "denied", "not-granted")),
    ("processing record, of the future", ("dpo", "GET", RECORD + "?since=2999-01-01T00:00:00Z", None), 422, ("read-processing", "failed", "invalid-since")),
    ("webhook", ("support", "PUT", HOOK, HERE), 200, ("set-webhook", "allowed", "webhook-set")),
    ("webhook, of another app", ("operator", "PUT", HOOK + HERS, HERE), 200, ("set-webhook", "allowed", "webhook-set")),
    ("webhook, of another app, no right", ("sales", "PUT", HOOK + HERS, HERE), 403, ("set-webhook", "denied", "not-granted")),
    ("webhook, of no app", ("operator", "PUT", HOOK + "?app=nobody", HERE), 404, ("set-webhook", "failed", "not-found")),
    ("webhook, no address", ("support", "PUT", HOOK, {"url": "http://"}), 422, ("set-webhook", "failed", "invalid-url")),
    ("webhook, shown", ("support", "GET", HOOK, None), 200, ("read-notices", "allowed", None)),
    ("webhook, shown, there is none", ("sales", "GET", HOOK, None), 404, ("read-notices", "failed", "no-webhook")),
    ("webhook, new secret", ("support", "POST", ROTATE, None), 200, ("set-webhook", "allowed", "secret-rotated")),
    ("webhook, new secret, there is none", ("sales", "POST", ROTATE, None), 404, ("set-webhook", "failed", "no-webhook")),
    ("webhook, tried", ("support", "POST", TRY, None), 200, ("send-notice", "failed", "address-refused")),
    ("webhook, tried, there is none", ("sales", "POST", TRY, None), 404, ("send-notice", "failed", "no-webhook")),
    ("webhooks", ("operator", "GET", "/v1/webhooks", None), 200, ("read-notices", "allowed", None)),
    ("webhooks, no right", ("support", "GET", "/v1/webhooks", None), 403, ("read-notices", "denied", "not-granted")),
    ("notices, mine", ("support", "GET", MINE, None), 200, ("read-notices", "allowed", None)),
    ("notices, sent", ("dpo", "GET", SENT + "?subject={id}", None), 200, ("read-notices", "allowed", None)),
    ("notices, sent, no right", ("sales", "GET", SENT, None), 403, ("read-notices", "denied", "not-granted")),
    ("notices, sent, no such app", ("dpo", "GET", SENT + "?app=nobody", None), 404, ("read-notices", "failed", "not-found")),
    ("acknowledge", ("support", "POST", DONE, None), 200, ("acknowledge-notice", "allowed", None)),
    ("acknowledge, in an app's stead", ("dpo", "POST", DONE, None), 200, ("acknowledge-notice", "allowed", "on-behalf")),
    ("acknowledge, another's", ("sales", "POST", DONE, None), 404, ("acknowledge-notice", "failed", "recipient-notice-not-found")),
    ("chase", ("dpo", "POST", CHASE, None), 202, ("send-notice", "allowed", "chased")),
    ("chase, no right", ("support", "POST", CHASE, None), 403, ("send-notice", "denied", "not-granted")),
    ("chase, no such notice", ("dpo", "POST", "/v1/notices/{event}:chase", None), 404, ("send-notice", "failed", "recipient-notice-not-found")),
    ("webhook, removed", ("support", "DELETE", HOOK, None), 204, ("set-webhook", "allowed", "webhook-removed")),
    ("webhook, removed already", ("support", "DELETE", HOOK, None), 404, ("set-webhook", "failed", "no-webhook")),
    ("chase, nowhere to send it", ("dpo", "POST", CHASE, None), 409, ("send-notice", "failed", "no-webhook")),
    ("request", ("support", "POST", ASKS, ACCESS), 201, ("submit-request", "allowed", "receive")),
    ("request, no right", ("finance", "POST", ASKS, ACCESS), 403, ("submit-request", "denied", "not-granted")),
    ("request, nobody", ("support", "POST", ASKS, but(ACCESS, subject="{nobody}")), 404, ("submit-request", "failed", "subject-not-found")),
    ("request, who knows", ("support", "POST", ASKS, {"kind": "access", "identity": {"email": "no@example.org"}}), 201, ("submit-request", "allowed", "receive")),
    ("request, whose", ("support", "POST", ASKS, {"kind": "access"}), 422, ("submit-request", "failed", "invalid-identity")),
    ("request, unknown purpose", ("support", "POST", ASKS, but(ACCESS, scope={"purposes": ["fun"]})), 422, ("submit-request", "failed", "unknown-purpose")),
    ("request, nothing said", ("support", "POST", ASKS, but(ACCESS, kind="rectification")), 422, ("submit-request", "failed", "invalid-details")),
    ("requests", ("dpo", "GET", ASKS, None), 200, ("read-requests", "allowed", None)),
    ("requests, no right", ("finance", "GET", ASKS, None), 403, ("read-requests", "denied", "not-granted")),
    ("requests, one", ("dpo", "GET", ASKED, None), 200, ("read-requests", "allowed", None)),
    ("requests, none", ("dpo", "GET", NO_REQUEST, None), 404, ("read-requests", "failed", "request-not-found")),
    ("approve", ("dpo", "POST", CHECKED_IN + ":approve", {}), 200, ("move-request", "allowed", "approve")),
    ("approve, not verified", ("dpo", "POST", ASKED + ":approve", {}), 409, ("move-request", "failed", "wrong-state")),
    ("approve, no right", ("support", "POST", CHECKED_IN + ":approve", {}), 403, ("move-request", "denied", "not-granted")),
    ("approve, none", ("dpo", "POST", NO_REQUEST + ":approve", {}), 404, ("move-request", "failed", "request-not-found")),
    ("reject", ("dpo", "POST", ASKED + ":reject", {"ground": "excessive"}), 200, ("move-request", "allowed", "reject")),
    ("reject, no ground", ("dpo", "POST", ASKED + ":reject", {"ground": "no"}), 422, ("move-request", "failed", "unknown-ground")),
    ("extend", ("dpo", "POST", ASKED + ":extend", {"reason": "number"}), 200, ("move-request", "allowed", "extend")),
    ("extend, bad note", ("dpo", "POST", ASKED + ":extend", {"reason": "number", "note": ""}), 422, ("move-request", "failed", "invalid-note")),
    ("ask who it is", ("dpo", "POST", ASKED + ":ask-identity", {}), 200, ("move-request", "allowed", "ask-identity")),
    ("cancel", ("support", "POST", ASKED + ":cancel", {}), 200, ("move-request", "allowed", "cancel")),
    ("cancel, no right", ("finance", "POST", ASKED + ":cancel", {}), 403, ("move-request", "denied", "not-granted")),
    ("reopen, open", ("dpo", "POST", ASKED + ":reopen", {}), 409, ("move-request", "failed", "wrong-state")),
    ("complete", ("dpo", "POST", REVIEWED + ":complete", {"outcome": "changed"}), 200, ("move-request", "allowed", "complete")),
    ("complete, not begun", ("dpo", "POST", ASKED + ":complete", {"outcome": "changed"}), 409, ("move-request", "failed", "wrong-state")),
    ("preview", ("dpo", "GET", PREVIEW, None), 200, ("preview-erasure", "allowed", None)),
    ("preview, no right", ("finance", "GET", PREVIEW, None), 403, ("preview-erasure", "denied", "not-granted")),
    ("preview, nobody", ("dpo", "GET", "/v1/subjects/{nobody}/erasure:preview", None), 404, ("preview-erasure", "failed", "subject-not-found")),
    ("why", ("dpo", "GET", "/v1/subjects/{id}/retention?field=email", None), 200, ("read-retention", "allowed", None)),
    ("due", ("dpo", "GET", "/v1/retention/due", None), 200, ("read-retention", "allowed", None)),
    ("due, unknown field", ("dpo", "GET", "/v1/retention/due?field=shoe", None), 422, ("read-retention", "failed", "invalid-preview")),
    ("due, no right", ("sales", "GET", "/v1/retention/due", None), 403, ("read-retention", "denied", "not-granted")),
    ("sweeps", ("operator", "GET", "/v1/retention/sweeps", None), 200, ("read-retention", "allowed", None)),
    ("sweeps, no right", ("sales", "GET", "/v1/retention/sweeps", None), 403, ("read-retention", "denied", "not-granted")),
    ("sweep", ("operator", "POST", "/v1/retention/sweeps", None), 202, ("sweep", "allowed", "started")),
    ("sweep, no right", ("support", "POST", "/v1/retention/sweeps", None), 403, ("sweep", "denied", "not-granted")),
    ("why, unknown field", ("dpo", "GET", "/v1/subjects/{id}/retention?field=shoe", None), 422, ("read-retention", "failed", "unknown-field")),
    ("why, nobody", ("dpo", "GET", "/v1/subjects/{nobody}/retention?field=email", None), 404, ("read-retention", "denied", "subject-not-found")),
    ("why, no right", ("sales", "GET", "/v1/subjects/{id}/retention?field=email", None), 403, ("read-retention", "denied", "not-granted")),
    ("preview, a part", ("dpo", "POST", PREVIEW, {"fields": ["phone"]}), 200, ("preview-erasure", "allowed", None)),
    ("preview, unknown", ("dpo", "POST", PREVIEW, {"fields": ["shoe_size"]}), 422, ("preview-erasure", "failed", "unknown-scope")),
    ("grounds", ("dpo", "POST", "/v1/requests/{asked}/grounds", KEPT), 201, ("move-request", "allowed", "keep")),
    ("grounds, no right", ("support", "POST", "/v1/requests/{asked}/grounds", KEPT), 403, ("move-request", "denied", "not-granted")),
    ("grounds, over", ("dpo", "POST", "/v1/requests/{asked}/grounds", but(KEPT, until="2020-01-01")), 422, ("move-request", "failed", "invalid-grounds")),
    ("grounds, no such request", ("dpo", "POST", NO_REQUEST + "/grounds", KEPT), 404, ("move-request", "failed", "request-not-found")),
    ("grounds, another kind", ("dpo", "POST", ASKED + "/grounds", KEPT), 409, ("move-request", "failed", "wrong-state")),
    ("certificate, not yet", ("dpo", "GET", "/v1/requests/{asked}/certificate", None), 409, ("read-requests", "failed", "certificate-not-ready")),
    ("certificate, no right", ("finance", "GET", "/v1/requests/{asked}/certificate", None), 403, ("read-requests", "denied", "not-granted")),
    ("certificate, no erasure", ("dpo", "GET", ASKED + "/certificate", None), 404, ("read-requests", "failed", "request-not-found")),
    ("erasures", ("dpo", "GET", "/v1/erasures", None), 200, ("read-requests", "allowed", None)),
    ("erasures, no right", ("finance", "GET", "/v1/erasures", None), 403, ("read-requests", "denied", "not-granted")),
    ("hold", ("dpo", "POST", HOLDS, HELD), 201, ("place-hold", "allowed", None)),
    ("hold, nobody", ("dpo", "POST", HOLDS, but(HELD, subjects=["{nobody}"])), 404, ("place-hold", "failed", "subject-not-found")),
    ("hold, no right", ("support", "POST", HOLDS, HELD), 403, ("place-hold", "denied", "not-granted")),
    ("hold, not described", ("dpo", "POST", HOLDS, but(HELD, matter="\u00e9")), 422, ("place-hold", "failed", "invalid-hold")),
    ("holds", ("dpo", "GET", HOLDS, None), 200, ("read-holds", "allowed", None)),
    ("holds, no right", ("support", "GET", HOLDS, None), 403, ("read-holds", "denied", "not-granted")),
    ("hold, shown", ("dpo", "GET", HOLD, None), 200, ("read-holds", "allowed", None)),
    ("hold, not there", ("dpo", "GET", HOLDS + "/{nobody}", None), 404, ("read-holds", "failed", "hold-not-found")),
    ("change hold", ("dpo", "PATCH", HOLD, {"add_subjects": ["{id}"]}), 200, ("change-hold", "allowed", None)),
    ("lift hold", ("dpo", "POST", HOLD + ":lift", {"reason": "settled"}), 200, ("lift-hold", "allowed", None)),
    ("lift hold, no reference", ("dpo", "POST", HOLD + ":lift", {"reason": " "}), 422, ("lift-hold", "failed", "invalid-hold")),
    ("delete hold", ("dpo", "DELETE", HOLD, None), 200, ("lift-hold", "allowed", None)),
    ("change hold, not there", ("dpo", "PATCH", HOLDS + "/{nobody}", {"owner": "x"}), 404, ("change-hold", "failed", "hold-not-found")),
    ("lift hold, not there", ("dpo", "POST", HOLDS + "/{nobody}:lift", {"reason": "x"}), 404, ("lift-hold", "failed", "hold-not-found")),
    ("delete hold, no right", ("support", "DELETE", HOLDS + "/{nobody}", None), 403, ("lift-hold", "denied", "not-granted")),
    ("package", ("dpo", "GET", PACKAGE, None), 200, ("download-package", "allowed", None)),
    ("package, encrypted", ("dpo", "POST", PACKAGE + ":download", SECRET), 200, ("download-package", "allowed", None)),
    ("package, a short passphrase", ("dpo", "POST", PACKAGE + ":download", but(SECRET, passphrase="x")), 422, ("download-package", "failed", "invalid-passphrase")),
    ("package, no right", ("support", "GET", PACKAGE, None), 403, ("download-package", "denied", "not-granted")),
    ("package, no such request", ("dpo", "GET", "/v1/requests/{nobody}/package", None), 404, ("download-package", "failed", "request-not-found")),
    ("package, sent", ("dpo", "POST", PACKAGE + ":send", HERE), 409, ("send-package", "failed", "not-portable")),
    ("package, sent, no right", ("support", "POST", PACKAGE + ":send", HERE), 403, ("send-package", "denied", "not-granted")),
    ("package, sent, no address", ("dpo", "POST", PACKAGE + ":send", {"url": "http://"}), 422, ("send-package", "failed", "invalid-url")),
    ("event", ("dpo", "POST", EVENTS, ENDED), 201, ("record-event", "allowed", "contract-ended")),
    ("event, no right", ("support", "POST", EVENTS, ENDED), 403, ("record-event", "denied", "not-granted")),
    ("event, nobody", ("dpo", "POST", "/v1/subjects/{nobody}/retention-events", ENDED), 404, ("record-event", "failed", "subject-not-found")),
    ("event, of the future", ("dpo", "POST", EVENTS, but(ENDED, on="2199-01-01")), 422, ("record-event", "failed", "event-in-future")),
    ("relationship", ("dpo", "GET", STANDS, None), 200, ("read-retention", "allowed", None)),
    ("relationship, no right", ("support", "GET", STANDS, None), 403, ("read-retention", "denied", "not-granted")),
    ("relationship, nobody", ("dpo", "GET", "/v1/subjects/{nobody}/relationship", None), 404, ("read-retention", "denied", "subject-not-found")),
    ("reviews", ("dpo", "GET", REVIEWS, None), 200, ("read-retention", "allowed", None)),
    ("reviews, no right", ("support", "GET", REVIEWS, None), 403, ("read-retention", "denied", "not-granted")),
    ("review, decided", ("dpo", "POST", REVIEWS + "/{review}:decide", GOES), 200, ("decide-review", "allowed", "erase")),
    ("review, no right", ("operator", "POST", REVIEWS + "/{nobody}:decide", GOES), 403, ("decide-review", "denied", "not-granted")),
    ("review, no such one", ("dpo", "POST", REVIEWS + "/{nobody}:decide", GOES), 404, ("decide-review", "failed", "review-not-found")),
    ("review, kept for ever", ("dpo", "POST", REVIEWS + "/{nobody}:decide", {"decision": "keep"}), 422, ("decide-review", "failed", "invalid-decision")),
    ("verify, no mail is set up", ("dpo", "POST", VERIFY, {"send_code": True}), 409, ("send-code", "failed", "mail-not-configured")),
    ("verify, a code for a request that is not there", ("dpo", "POST", "/v1/requests/{nobody}:verify", {"send_code": True}), 404, ("send-code", "failed", "request-not-found")),
    ("verify, a code, no right", ("finance", "POST", VERIFY, {"send_code": True}), 403, ("send-code", "denied", "not-granted")),
    ("verify, wrong code", ("dpo", "POST", VERIFY, {"code_id": "{event}", "code": "1234 5678"}), 404, ("verify-identity", "failed", "code-invalid")),
    ("verify, by staff", ("dpo", "POST", VERIFY, {"evidence": "passport seen"}), 200, ("verify-identity", "allowed", "verify")),
    ("verify, by staff, no words", ("dpo", "POST", VERIFY, {"evidence": " "}), 422, ("verify-identity", "failed", "invalid-evidence")),
    ("verify, by staff, no right", ("support", "POST", VERIFY, {"evidence": "passport seen"}), 403, ("verify-identity", "denied", "not-granted")),
    ("verify, vouched for, no right", ("support", "POST", VERIFY, {"vouch": {"level": "fresh"}}), 403, ("verify-identity", "denied", "not-granted")),
    ("sign in, no mail is set up", (None, "POST", ME + "/sessions", {"identity": {"email": "ada@example.org"}}), 409, ("send-code", "denied", "mail-not-configured")),
    ("sign in, wrong code", (None, "POST", ME + "/sessions:verify", {"session": "{event}", "code": "1"}), 404, ("open-session", "denied", "code-invalid")),
    ("mine, wrong bearer", (None, "GET", ME + "/requests", None), 401, ("sign-in", "denied", "not-authenticated")),
    ("mine", (None, "GET", ME + "/requests", None, SIGNED_IN), 200, ("read-requests", "allowed", None)),
    ("mine, one", (None, "GET", ME + "/requests/{asked}", None, SIGNED_IN), 200, ("read-requests", "allowed", None)),
    ("mine, none of mine", (None, "GET", ME + "/requests/{nobody}", None, SIGNED_IN), 404, ("read-requests", "failed", "request-not-found")),
    ("mine, made", (None, "POST", ME + "/requests", {"kind": "erasure"}, SIGNED_IN), 201, [("submit-request", "allowed", "receive"), ("submit-request", "allowed", "verify")]),
    ("mine, verified", (None, "POST", ME + "/requests/{asked}:verify", None, SIGNED_IN), 200, ("verify-identity", "allowed", "verify")),
    ("mine, cancelled", (None, "POST", ME + "/requests/{asked}:cancel", None, SIGNED_IN), 200, ("move-request", "allowed", "cancel")),
    ("mine, fetched", (None, "GET", ME + "/requests/{package}/package", None, SIGNED_IN), 200, ("download-package", "allowed", None)),
    ("mine, fetched encrypted", (None, "POST", ME + "/requests/{package}/package:download", SECRET, SIGNED_IN), 200, ("download-package", "allowed", None)),
    ("sign out", (None, "DELETE", ME + "/session", None, SIGNED_IN), 204, ("end-session", "allowed", None)),
    ("no bearer", (None, "POST", READ, ask()), 401, ("sign-in", "denied", "not-authenticated")),
    ("idempotent", ("sales", "POST", ONE, NEW, {"Idempotency-Key": "fresh"}), 201, ("create", "allowed", None)),
    ("idempotent, other call", ("sales", "POST", ONE, NEW, {"Idempotency-Key": "used"}), 422, ("create", "failed", "idempotency-key-reused")),
    ("idempotent append, other call", ("sales", "POST", PURCHASE, SALE, {"Idempotency-Key": "used"}), 422, ("append", "failed", "idempotency-key-reused")),
]  # fmt: skip


CORRELATION = "0190a3c2-7f55-7c1e-8d6f-1f2e3d4c5b6a"
PERSON = "Zebulon-Quixotrix-1985-12-10-447700900123"
TALKATIVE = dict.fromkeys(
    ("X-Request-Id", "traceparent", "tracestate", "User-Agent", "Cookie", "Referer", "X-Forwarded-For"), PERSON
)
"""Headers in which an app might name a person."""


def _leaves(thing):
    """Every string in a JSON value, the keys of its objects among them."""
    if isinstance(thing, dict):
        return {leaf for pair in thing.items() for part in pair for leaf in _leaves(part)}
    if isinstance(thing, list | tuple):
        return {leaf for part in thing for leaf in _leaves(part)}
    return {thing} if isinstance(thing, str) else set()


def _words(document):
    """Every word of the API's own: the names of its keys, and the values of its enumerations."""
    if isinstance(document, list):
        return {word for part in document for word in _words(part)}
    if not isinstance(document, dict):
        return set()
    own = _leaves([document.get("enum", []), document.get("const", ""), list(document.get("properties", {}))])
    return own.union(*(_words(part) for part in document.values()))


async def _not_of_a_person(node):
    """What a request and its entry may have in common: names in the policies, of apps and tenants, words of the API."""
    policy_set = node.services.policies.active("default").policy_set
    names = {view.name for view in policy_set.catalogue.views()}
    events = {str(rule.since) for rule in policy_set.retention.values()}
    document = (await node.http.get("/openapi.json")).json()
    return names | set(policy_set.purposes) | events | {"default"} | _words(document)


def filled(thing, names):
    if isinstance(thing, str):
        return (
            names.get(thing, thing) if thing.startswith("{") else thing.format(**{k[1:-1]: v for k, v in names.items()})
        )
    if isinstance(thing, list):
        return [filled(item, names) for item in thing]
    if isinstance(thing, dict):
        return {key: filled(item, names) for key, item in thing.items()}
    return thing


async def _said(node, subject, path, **body):
    answer = await node.post("dpo", f"/v1/subjects/{subject}/{path}", body)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def with_review(node, subject):
    """Open a review of the subject's name; returns its id."""
    place = (UUID(subject), "profile", UUID(subject))
    async with node.services.data.transaction() as connection:
        ended = NewReview(place, "name", "review", node.services.clock.now().date())
        await open_reviews(connection, "default", [ended], node.services.clock.now())
        return (await reviews_in(connection, "default", [UUID(subject)]))[place]["name"].id


async def prepared(node, wanted):
    """Make fresh subjects and the preconditions of a call, so that calls do not affect each other."""
    await node.sql("DELETE FROM external_ref")
    await node.sql("DELETE FROM blind_index")
    subject = await node.create(dict(ADA), external_ids={"shop": "4711"})
    notices = node.services.policies.active("default").policy_set.notices
    names = {"{id}": subject, "{nobody}": str(uuid4()), "{event}": str(uuid4())}
    if "{other}" in wanted or "erp" in wanted:
        names["{other}"] = await node.create({"name": "Two"}, external_ids={"erp": "2"})
    if "purchase" in wanted:
        await node.append(
            "fulfilment", subject, "purchase", {"amount": "9.00"}, "order-fulfilment", external_id="there"
        )
    names["{digest}"] = notices["marketing@3"].digest
    if "{token}" in wanted:
        asked = await _said(node, subject, "consents", **but(GIVEN, method="double-opt-in"))
        names["{token}"] = asked["confirmation"]["token"]
    if "{objection}" in wanted:
        names["{objection}"] = (await _said(node, subject, "objections", **OBJECTION))["id"]
    if "{final}" in wanted:
        names["{final}"] = (await _said(node, subject, "objections", purpose="direct-marketing"))["id"]
    if any(item in wanted for item in ("{waiting}", "{checked}", "{reviewed}")):
        review = (await node.post("support", ASKS, {"kind": "review", "subject": subject})).json()["id"]
        names |= dict.fromkeys(("{waiting}", "{checked}", "{reviewed}"), review)
        if "{waiting}" not in wanted:
            await node.post("dpo", f"/v1/requests/{review}:verify", {"evidence": "seen"})
        if "{reviewed}" in wanted:
            await node.post("dpo", f"/v1/requests/{review}:approve", {})
            await start_request(node.services, "default", UUID(review))
    if "{hold}" in wanted:
        held = await node.create({"name": "Held"})
        names["{hold}"] = (await node.post("dpo", HOLDS, but(HELD, subjects=[held]))).json()["id"]
    if "{package}" in wanted:
        names["{package}"] = str(await with_package(node, subject))
    if "{contact}" in wanted:
        names["{contact}"] = await _shared_contact(node, subject)
    if "{notice}" in wanted:
        names["{notice}"] = str((await one_notice(node))[1].id)
    if "{restricted}" in wanted or "{announced}" in wanted:
        await _said(node, subject, "restriction", **CLAIMS)
        names["{restricted}"] = names["{announced}"] = subject
    if "{announced}" in wanted:
        await _said(node, subject, "restriction:announce", **BY_POST)
        node.services.clock.advance(days=3)
    if "'used'" in wanted:
        used = {"profile": {"name": "Other"}, "purpose": "order-fulfilment"}
        await node.post("sales", ONE, used, headers={"Idempotency-Key": "used"})
    if "{asked}" in wanted:
        asked = await node.post("dpo", "/v1/requests", {"kind": "erasure", "subject": subject})
        assert asked.status_code == 201, asked.text
        names["{asked}"] = asked.json()["id"]
    if "{me}" in wanted:
        async with node.services.data.transaction() as connection:
            _, opened = await add_session(node.services, connection, "default", UUID(subject))
        names["{me}"] = opened.token
    if "{review}" in wanted:
        names["{review}"] = str(await with_review(node, subject))
    if "{dispute}" in wanted:
        names["{dispute}"] = (await _said(node, subject, "disputes", **WRONG))["disputes"]["address"]
    return names


async def _shared_contact(node, subject):
    twin = await node.create({"name": "Twin"})
    keys = await node.services.keyring.row_keys("default")
    claimed = uuid4()
    people = {UUID(person): "email" for person in (subject, twin)}
    async with node.services.data.transaction() as connection:
        noted = ClaimedContact("default", claimed.bytes * 2, people, node.services.clock.now())
        await note_shared(connection, keys, noted)
    return str(claimed)


async def test_every_call_leaves_exactly_one_entry(node):
    wrong = []
    harmless = await _not_of_a_person(node)
    for what, (role, method, path, body, *rest), status, expected in CALLS:
        wanted = path + str(body) + str(rest)
        names = await prepared(node, wanted)
        async with node.new_entries() as new_entries:
            answer = await node.call(
                role,
                method,
                filled(path, names),
                filled(body, names),
                headers=TALKATIVE | (filled(rest[0], names) if rest else {}),
            )
        sent = _leaves([filled(body, names), TALKATIVE, filled(rest, names)])
        sent -= harmless | {name for key, name in names.items() if key not in {"{me}", "{token}", "{digest}"}}
        if result := sent & _leaves([json.loads(encode(item)) for item in new_entries]):
            wrong.append((what, "the log repeats what the request says", result))
        seen = [(item.action, item.decision, item.code) for item in new_entries]
        # What makes several moves of one request at once leaves an entry for each.
        response = expected if isinstance(expected, list) else [] if expected is None else [expected]
        if answer.status_code != status or seen != response:
            wrong.append((what, answer.status_code, seen, answer.text))
        elif answer.status_code >= 400 and role is not None and answer.json().get("audit") != str(new_entries[0].id):
            wrong.append((what, "the problem does not name its entry", answer.text))
        elif (
            "nobody" not in path
            and any(item in wanted for item in ("{id}", "{token}", "{restricted}"))
            and new_entries
            and new_entries[0].decision in {"allowed", "partly"}
            and await node.pseudonym(names["{id}"]) not in new_entries[0].subjects
        ):
            wrong.append((what, "the entry does not say whom", new_entries))
    assert not wrong, "\n".join(map(str, wrong))


async def test_every_route_of_the_api_is_in_the_table(sqlite_node):
    document = (await sqlite_node.http.get("/openapi.json")).json()
    known = {
        (method, re.sub(r"/requests/\{(?!request\b)\w+\}", "/requests/{request}", path.partition("?")[0]))
        for _what, (_role, method, path, *_rest), _status, _entry in CALLS
    }
    for path, operations in document["paths"].items():
        if not path.startswith("/v1"):
            continue
        for method in operations:
            named = path.replace("{subject}", "{id}").replace("{collection}", "purchase")
            assert (method.upper(), named) in known, (method, path)


async def test_invalid_http_requests_have_no_audit_entry(node):
    """A malformed body names no field and no subject: it is in the request log, but not in the audit log."""
    async with node.new_entries() as new_entries:
        for body in (b"{", b'{"fields": 1}', b"[]", b"\xff"):
            for path in (READ, ONE, SEARCH):
                headers = {"content-type": "application/json"}
                answer = await node.post("support", path, headers=headers, content=body)
                assert answer.status_code == 422, answer.text
    assert new_entries == []


@pytest.mark.parametrize("tenant", ["default", "acme"])
async def test_an_entry_belongs_to_the_tenant_of_the_caller(node, tenant):
    subject = await node.create(tenant=tenant)
    async with node.new_entries() as new_entries:
        await node.read("support", subject, ["name"], "customer-support", tenant=tenant)
    assert [item.tenant for item in new_entries] == [tenant]


async def test_an_entry_carries_the_request_id_and_the_policy_version(node):
    subject = await node.create()
    async with node.new_entries() as new_entries:
        await node.read("support", subject, ["name"], "customer-support", headers={"X-Request-Id": CORRELATION})
    (entry,) = new_entries
    assert entry.request == CORRELATION
    assert entry.policy.startswith("sha256:")
    assert entry.purpose == "customer-support"
    assert entry.principal_name == "support"
