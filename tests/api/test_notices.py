"""Notices are readable for every caller of the tenant, and each stays at the address of its hash."""

from __future__ import annotations

import hashlib

from tests.policy.folders import SHIPPED, shipped
from tests.vaults import problem
from vault.governance.tenants import apply_policies
from vault.ids import DEFAULT_TENANT
from vault.policy.policy_set import PolicySet

MARKETING = shipped()["notices/marketing@3.md"]
NEWER = MARKETING.replace("marketing@3", "marketing@4").replace("once", "twice")


def digest(text):
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


async def apply(node, **notices):
    files = shipped() | {f"notices/{name}.md": text for name, text in notices.items()}
    await apply_policies(node.services, DEFAULT_TENANT, PolicySet.load(files))


async def listed(node, role="support", **how):
    answer = await node.call(role, "GET", "/v1/notices", **how)
    assert answer.status_code == 200
    return answer.json()["notices"]


async def test_notices_are_listed_with_versions_languages_and_hashes(sqlite_node):
    answer = await sqlite_node.call("support", "GET", "/v1/notices")
    body = answer.json()

    assert body["policy_version"] == PolicySet.from_folder(SHIPPED).version
    assert body["notices"]["marketing@3"] == {
        "title": "News and offers by e-mail",
        "purposes": ["direct-marketing"],
        "material": True,
        "valid_from": "2026-01-01",
        "in_force": True,
        "current": True,
        "good_for": ["direct-marketing"],
        "language": "en",
        "languages": {
            "en": {"title": "News and offers by e-mail", "digest": digest(MARKETING)},
            "de": {
                "title": "Neuigkeiten und Angebote per E-Mail",
                "digest": digest(shipped()["notices/marketing@3.de.md"]),
            },
        },
    }


async def test_a_newer_version_replaces_the_older_on_its_day(sqlite_node, clock):
    later = NEWER.replace("2026-01-01", f"{clock.now().date().replace(year=2031)}")
    await apply(sqlite_node, **{"marketing@4": later})
    before = await listed(sqlite_node)
    clock.advance(days=366 * 6)
    after = await listed(sqlite_node)

    def current_and_good_for(found):
        return [(found[f"marketing@{n}"]["current"], found[f"marketing@{n}"]["good_for"]) for n in (3, 4)]

    assert current_and_good_for(before) == [(True, ["direct-marketing"]), (False, [])]
    assert current_and_good_for(after) == [(False, []), (True, ["direct-marketing"])]
    assert before["marketing@4"]["in_force"] is False


async def test_a_text_is_served_unchanged_at_its_hash(node):
    for file in ("marketing@3", "marketing@3.de"):
        text = shipped()[f"notices/{file}.md"]
        answer = await node.call("support", "GET", f"/v1/notices/{digest(text)}")

        assert answer.status_code == 200
        assert answer.content == text.encode()
        assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
        assert answer.headers["etag"] == f'"{digest(text)}"'
        assert answer.headers["content-language"] == ("de" if file.endswith(".de") else "en")
        assert answer.headers.get_list("cache-control") == ["private, max-age=31536000, immutable"]
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_text_removed_from_the_policies_is_still_served(node):
    await apply(node, **{"marketing@4": NEWER})
    await apply(node)
    assert "marketing@4" not in await listed(node)

    answer = await node.call("analytics", "GET", f"/v1/notices/{digest(NEWER)}")
    assert answer.content == NEWER.encode()


async def test_a_matching_etag_gets_304(sqlite_node):
    path, tag = f"/v1/notices/{digest(MARKETING)}", f'"{digest(MARKETING)}"'
    for stated in (tag, f'"x", W/{tag}', "*"):
        answer = await sqlite_node.call("support", "GET", path, headers={"If-None-Match": stated})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
    answer = await sqlite_node.call("support", "GET", path, headers={"If-None-Match": '"x"'})
    assert answer.status_code == 200


async def test_every_principal_of_the_tenant_and_no_one_else_may_read_notices(sqlite_node):
    path = f"/v1/notices/{digest(MARKETING)}"
    assert (await sqlite_node.call("stranger", "GET", path)).status_code == 200
    assert await listed(sqlite_node, "stranger")
    problem(await sqlite_node.call(None, "GET", "/v1/notices"), 401, "not-authenticated")
    problem(await sqlite_node.call(None, "GET", path), 401, "not-authenticated")


async def test_texts_of_another_tenant_are_not_found(sqlite_node):
    await apply(sqlite_node, **{"marketing@4": NEWER})
    path = f"/v1/notices/{digest(NEWER)}"

    assert (await sqlite_node.call("support", "GET", path)).status_code == 200
    problem(await sqlite_node.call("support", "GET", path, tenant="acme"), 404, "notice-not-found")


async def test_an_unknown_hash_is_not_found(sqlite_node):
    for wrong in ("sha256:" + "0" * 64, "marketing@3", "x" * 500):
        answer = await sqlite_node.call("support", "GET", f"/v1/notices/{wrong}")
        problem(answer, 404, "notice-not-found")
        assert wrong not in answer.text


async def test_notices_count_against_the_rate_of_reads(sqlite_place, clock):
    async with sqlite_place.node(clock, reads_per_minute=2) as node:
        await listed(node)
        assert (await node.call("support", "GET", f"/v1/notices/{digest(MARKETING)}")).status_code == 200
        problem(await node.call("support", "GET", "/v1/notices"), 429, "rate-limited")
