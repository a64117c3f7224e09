"""Reading controller.toml."""

from __future__ import annotations

import pytest

from tests.policy.folders import at, changed, only, shipped
from vault.catalogue.company import Contact
from vault.policy.policy_set import PolicySet

FILE = "controller.toml"


def test_a_controller_is_read_as_declared():
    text = shipped()[FILE] + '\n[representative]\nname = "R"\nemail = "r@example.org"\naddress = "Berlin"\n'
    controller = PolicySet.load(shipped() | {FILE: text}).controller

    assert controller.stated
    assert (controller.name, controller.country) == ("Example Retail Ltd", "IE")
    assert controller.privacy_policy == "https://retail.example/privacy"
    assert controller.dpo == Contact("Data Protection Officer", "dpo@retail.example")
    assert controller.representative == Contact("R", "r@example.org", "Berlin")


def test_a_folder_without_the_file_states_no_controller():
    files = shipped()
    del files[FILE]
    controller = PolicySet.load(files).controller

    assert not controller.stated
    assert (controller.name, controller.dpo) == ("", None)


@pytest.mark.parametrize(
    ("old", "new", "passage", "code"),
    [
        ('name = "Example Retail Ltd"\n', "", "# Who", "missing-key"),
        ('country = "IE"', 'country = "Ireland"', "country", "wrong-value"),
        ('country = "IE"', 'country = "UK"', "country", "wrong-value"),
        ('email = "privacy@retail.example"', 'email = "privacy"', "email", "wrong-value"),
        ('email = "dpo@retail.example"', 'email = "dpo@"', 'email = "dpo@"', "wrong-value"),
        ('email = "dpo@retail.example"\n', "", "[dpo]", "missing-key"),
        ('url = "https://retail.example"', 'url = "retail.example"', "url", "wrong-value"),
        ('privacy_policy = "https', 'privacy_policy = "ftp', "privacy_policy", "wrong-value"),
        ("phone =", "telephone =", "telephone", "unknown-key"),
        ("[dpo]", "[dpo]\nfax = '1'", "fax", "unknown-key"),
    ],
)
def test_a_mistake_is_refused_on_its_line(old, new, passage, code):
    files = changed(FILE, old, new)

    assert only(files) == (at(files, FILE, passage), code)
