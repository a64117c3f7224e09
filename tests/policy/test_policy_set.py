"""A policy folder: read as a whole, named by its hash, refused as a whole."""

from __future__ import annotations

import shutil

import casbin
import pytest

from tests.policy.folders import SHIPPED, changed, findings_of, only, shipped
from vault.errors import PolicyInvalid
from vault.policy.policy_set import MOST_BYTES, PolicySet


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(SHIPPED, tmp_path / "policies")


def findings_in(folder):
    with pytest.raises(PolicyInvalid) as caught:
        PolicySet.from_folder(folder)
    return [(f"{finding.file}:{finding.line}", finding.code) for finding in caught.value.findings]


def test_the_shipped_folder_loads_without_a_finding():
    policy_set = PolicySet.from_folder(SHIPPED)

    assert policy_set.version == PolicySet.load(shipped()).version


def test_the_version_is_a_hash_of_every_text_and_nothing_else(folder):
    before = PolicySet.from_folder(folder).version
    (folder / "README.md").write_text("how we review")
    (folder / ".hidden.toml").write_text("x = 1")
    (folder / "policy.csv~").write_text("p, x")
    (folder / "notices" / ".draft.md").write_text("draft")

    assert before.startswith("sha256:")
    assert len(before) == 71
    assert PolicySet.from_folder(folder).version == before
    for name in sorted(shipped()):
        mark = "\n<!-- -->" if name.endswith(".md") else "\n# reviewed\n"
        assert PolicySet.load(shipped() | {name: shipped()[name] + mark}).version != before, name


def test_windows_line_ends_do_not_change_the_version():
    files = {name: text.replace("\n", "\r\n") for name, text in shipped().items()}

    assert PolicySet.load(files).version == PolicySet.load(shipped()).version


def test_folders_whose_texts_join_to_the_same_bytes_have_different_versions():
    files = shipped()
    first = PolicySet.load(files | {"model.conf": files["model.conf"] + "#x\n", "policy.csv": files["policy.csv"]})
    second = PolicySet.load(files | {"model.conf": files["model.conf"], "policy.csv": "#x\n" + files["policy.csv"]})

    assert first.version != second.version


@pytest.mark.parametrize("name", ["catalogue.toml", "purposes.toml", "retention.toml", "model.conf", "policy.csv"])
def test_a_missing_file_is_refused(folder, name):
    (folder / name).unlink()

    assert findings_in(folder) == [(f"{name}:1", "missing-file")]


@pytest.mark.parametrize("name", ["consent.toml", "controller.toml"])
def test_a_file_with_defaults_may_be_missing(folder, name):
    before = PolicySet.from_folder(folder)
    (folder / name).unlink()
    after = PolicySet.from_folder(folder)

    assert name in before.files
    assert name not in after.files
    assert after.version != before.version


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    assert (":1", "missing-folder") in findings_in(tmp_path / "none")


def test_a_link_out_of_the_folder_is_refused(folder, tmp_path):
    outside = tmp_path / "secret.csv"
    outside.write_text((folder / "policy.csv").read_text())
    (folder / "policy.csv").unlink()
    (folder / "policy.csv").symlink_to(outside)

    assert findings_in(folder) == [("policy.csv:1", "link-outside")]


def test_a_notices_folder_that_is_a_link_out_is_refused(folder, tmp_path):
    (folder / "notices").rename(tmp_path / "elsewhere")
    (folder / "notices").symlink_to(tmp_path / "elsewhere")

    assert ("notices/marketing@3.md:1", "link-outside") in findings_in(folder)


def test_a_link_inside_the_folder_is_followed(folder):
    (folder / "policy.csv").rename(folder / "rules-2026.csv")
    (folder / "policy.csv").symlink_to("rules-2026.csv")

    assert PolicySet.from_folder(folder).version == PolicySet.from_folder(SHIPPED).version


def test_a_dangling_link_is_a_missing_file(folder):
    (folder / "policy.csv").unlink()
    (folder / "policy.csv").symlink_to("gone.csv")

    assert findings_in(folder) == [("policy.csv:1", "missing-file")]


def test_a_file_that_is_not_utf_8_is_refused_on_its_line(folder):
    content = (folder / "purposes.toml").read_bytes()
    (folder / "purposes.toml").write_bytes(content + b"\n# Gesch\xe4ft\n")

    line = content.count(b"\n") + 2
    assert findings_in(folder) == [(f"purposes.toml:{line}", "not-utf-8")]


def test_a_file_too_large_is_refused(folder):
    with (folder / "policy.csv").open("ab") as file:
        file.truncate(MOST_BYTES + 1)

    assert findings_in(folder) == [("policy.csv:1", "too-large")]


def test_a_nul_is_refused_on_its_line():
    files = shipped()
    files["policy.csv"] = files["policy.csv"] + "\n# a\x00b"

    assert only(files) == (f"policy.csv:{files['policy.csv'].count(chr(10)) + 1}", "not-text")


def test_a_lone_surrogate_is_refused():
    assert ("notices/loyalty@1.md:1", "not-utf-8") in [
        (f"{finding.file}:{finding.line}", finding.code)
        for finding in findings_of(shipped() | {"notices/loyalty@1.md": "+++\nnotice = '\ud800'\n+++\nx"})
    ]


@pytest.mark.parametrize(
    ("old", "new", "passage"),
    [
        ("!some(where (p.eft == deny))", "some(where (p.eft == deny))", "e ="),
        ("some(where (p.eft == allow)) && !some(where (p.eft == deny))", "some(where (p.eft == allow))", "e ="),
        ("some(where (p.eft == allow)) && !some(where (p.eft == deny))", "!some(where (p.eft == deny))", "e ="),
        ("r = sub, dom, obj, act, purpose", "r = sub, obj, act", "r ="),
        ("p = sub, dom, obj, act, purpose, eft", "p = sub, dom, obj, act, purpose", "p ="),
        ("g = _, _", "g = _, _, _", "g ="),
        ("g(r.sub, p.sub)", "h(r.sub, p.sub)", "m ="),
        ("g(r.sub, p.sub)", "g(r.sub", "m ="),
        ("p.act &&", "p.verb &&", "m ="),
        ("r.act == p.act", 'regexMatch("a"*40+"!", "^(a+)+$") && r.act == p.act', "m ="),
        ("r.act == p.act", "keyMatch(r.act, p.act)", "m ="),
        ("r.act == p.act && ", "", "m ="),
        ("r.act == p.act", "p.act == r.act", "m ="),
        ('p.purpose == "*"', 'p.purpose == " * "', "m ="),
        ("covers(r.obj, p.obj)", "covers(r.obj, p.obj) || True", "m ="),
        ("[matchers]", "[matchers]\nm2 = True", "m2 ="),
        ("[policy_effect]", "[policy_effect]\ne2 = some(where (p.eft == allow))", "e2 ="),
        ("[role_definition]", "[role_definition]\ng2 = _, _", "g2 ="),
        ("[matchers]", "[something]\nx = 1\n[matchers]", "x ="),
    ],
)
def test_a_model_other_than_the_shipped_one_is_refused_on_its_line(old, new, passage):
    files = changed("model.conf", old, new)
    rows = files["model.conf"].split("\n")
    line = next(i for i, row in enumerate(rows, start=1) if row.startswith(passage))

    assert (f"model.conf:{line}", "wrong-model") in [
        (f"{finding.file}:{finding.line}", finding.code) for finding in findings_of(files)
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("r = sub, dom,", "r=sub,dom ,"),
        (" && !some", "  &&  !some"),
        ("r.act == p.act &&", "r.act==p.act  &&"),
        ("r.act == p.act &&", "r.act == p.act \\\n  &&"),
        ("[matchers]", "# ours\n[matchers]"),
        ("p.obj)\n", "p.obj)  # as shipped\n"),
    ],
)
def test_a_model_with_other_white_space_and_comments_is_the_shipped_one(old, new):
    assert PolicySet.load(changed("model.conf", old, new)).rules


def test_no_text_of_a_model_is_run(monkeypatch):
    ran = []
    monkeypatch.setattr(casbin.Enforcer, "enforce", lambda *asked: ran.append(asked))
    monkeypatch.setattr(casbin.Enforcer, "enforce_ex", lambda *asked: ran.append(asked))

    PolicySet.load(shipped())
    findings_of(changed("model.conf", "r.act == p.act", 'regexMatch("a", "^(a+)+$") && r.act == p.act'))

    assert not ran


@pytest.mark.parametrize("text", ["", "nonsense", "[request_definition]\nr = \n", "\x01", "[matchers]\nm = 1 =="])
def test_a_model_that_casbin_cannot_read_is_refused(text):
    assert {finding.code for finding in findings_of(shipped() | {"model.conf": text})} == {"wrong-model"}


def test_the_error_counts_the_mistakes_and_names_the_command():
    with pytest.raises(PolicyInvalid) as caught:
        PolicySet.load(shipped() | {"model.conf": "nonsense"})

    assert str(caught.value) == "the policies have 1 mistake"
    assert "cdv policy check" in caught.value.hint
