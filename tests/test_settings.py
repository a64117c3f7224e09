"""Settings: environment over file over default, frozen, and without secrets in print."""

from __future__ import annotations

import traceback

import pytest
from pydantic import ValidationError

from vault.errors import Misconfigured
from vault.settings import FILE, Settings, load, unknown_variables

CANARY = "hunter2-canary"


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch):
    import os

    for name in os.environ:
        if name.startswith("CDV_"):
            monkeypatch.delenv(name)


def write(folder, text):
    (folder / FILE).write_text(text, encoding="utf-8")
    return folder


def test_without_a_file_the_defaults_apply(tmp_path):
    settings = load(tmp_path)
    assert settings.port == 8300
    assert settings.host == "127.0.0.1"
    assert settings.data_url == f"sqlite:///{tmp_path / 'data.sqlite'}"
    assert settings.keys_url == f"sqlite:///{tmp_path / 'keys.sqlite'}"
    assert settings.policies == tmp_path / "policies"
    assert settings.oidc == ()


def test_arguments_override_the_environment_which_overrides_the_file(tmp_path, monkeypatch):
    write(tmp_path, 'port = 1001\nhost = "::1"\nlog_level = "debug"\n')
    assert (load(tmp_path).port, load(tmp_path).host) == (1001, "::1")
    monkeypatch.setenv("CDV_PORT", "1002")
    assert (load(tmp_path).port, load(tmp_path).host) == (1002, "::1")
    assert (load(tmp_path, port=1003).port, load(tmp_path, port=1003).log_level) == (1003, "debug")


def test_the_folder_of_another_vault_in_the_environment_is_ignored(tmp_path, monkeypatch):
    monkeypatch.setenv("CDV_VAULT", "/somewhere/else")
    assert load(tmp_path).vault == tmp_path


def test_the_folder_is_absolute(tmp_path, monkeypatch):
    from pathlib import Path

    monkeypatch.chdir(tmp_path)
    assert load(Path()).vault == tmp_path


def test_urls_that_are_given_are_used(tmp_path):
    write(tmp_path, 'database_url = "postgresql://a@h/data"\nkeystore_url = "postgresql://a@h/keys"\n')
    settings = load(tmp_path)
    assert (settings.data_url, settings.keys_url) == ("postgresql://a@h/data", "postgresql://a@h/keys")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (f'databse_url = "postgresql://u:{CANARY}@h/d"\n', "databse_url"),
        (f'port = "{CANARY}"\n', "port"),
        ("port = 70000\n", "port"),
        (f'log_level = "{CANARY}"\n', "log_level"),
        ("audit_deadline = 0\n", "audit_deadline"),
        ("request_deadline = -1\n", "request_deadline"),
        ("database_timeout = nan\n", "database_timeout"),
        ("database_timeout = inf\n", "database_timeout"),
        ("database_connections = 1\n", "database_connections"),
        ("largest_body = 10\n", "largest_body"),
        (f'root_key = "{CANARY}"\n', "root_key"),
        ('root_key = "file:"\n', "root_key"),
        (f'[[oidc]]\nissuer = "x"\naudience = "{CANARY}"\n', "oidc.0.jwks"),
        (f'[[oidc]]\nissuer = "x"\naudience = "x"\njwks = "x"\nroles = {{}}\nsecret = "{CANARY}"\n', "oidc.0.secret"),
        (f'[[oidc]]\nissuer = "x"\naudience = "x"\njwks = "x"\nroles = "{CANARY}"\n', "oidc.0.roles"),
    ],
)
def test_what_is_unknown_or_wrong_is_named_and_not_repeated(tmp_path, text, named):
    write(tmp_path, text)
    with pytest.raises(Misconfigured) as caught:
        load(tmp_path)
    assert named in str(caught.value)
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert caught.value.hint


def test_a_wrong_variable_of_the_environment_is_named_and_not_repeated(tmp_path, monkeypatch):
    monkeypatch.setenv("CDV_PORT", CANARY)
    with pytest.raises(Misconfigured, match="port") as caught:
        load(tmp_path)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_a_root_key_in_place_of_its_url_is_refused_and_not_repeated(tmp_path, monkeypatch):
    monkeypatch.setenv("CDV_ROOT_KEY", CANARY)
    with pytest.raises(Misconfigured, match="root_key") as caught:
        load(tmp_path)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_a_list_from_the_environment_that_is_no_json_is_not_blamed_on_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("CDV_OIDC", f"[{CANARY}")
    with pytest.raises(Misconfigured, match="CDV_") as caught:
        load(tmp_path)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("text", [f"port = {CANARY}", f'database_url = "{CANARY}', "a = 1\na = 2\n", "[oidc\n"])
def test_an_invalid_toml_file_is_reported_without_its_text(tmp_path, text):
    write(tmp_path, text)
    with pytest.raises(Misconfigured, match="TOML") as caught:
        load(tmp_path)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_a_file_in_another_encoding_is_reported(tmp_path):
    (tmp_path / FILE).write_bytes(b'host = "\xff"\n')
    with pytest.raises(Misconfigured):
        load(tmp_path)


def test_settings_are_frozen(tmp_path):
    write(tmp_path, '[[oidc]]\nissuer = "i"\naudience = "a"\njwks = "j"\nroles = { "x" = "dpo" }\n')
    settings = load(tmp_path)
    with pytest.raises(ValidationError):
        settings.port = 1
    with pytest.raises(ValidationError):
        settings.oidc[0].issuer = "other"
    with pytest.raises(ValidationError):
        settings.other = 1


def test_printed_settings_show_no_secrets(tmp_path):
    settings = load(
        tmp_path,
        database_url=f"postgresql://vault:{CANARY}@h/d",
        keystore_url=f"postgresql://vault:{CANARY}@h/k",
        root_key=f"env:{CANARY}",
    )
    assert CANARY in settings.data_url
    assert CANARY not in f"{settings!r}{settings}{[settings]}"


def test_an_error_of_the_class_itself_shows_no_input_either(tmp_path):
    with pytest.raises(ValidationError) as caught:
        Settings(vault=tmp_path, port=CANARY, database_url=["x", CANARY])
    assert CANARY not in str(caught.value)


def test_an_issuer_for_people_is_read_whole(tmp_path, monkeypatch):
    write(
        tmp_path,
        '[[oidc]]\nissuer = "https://i"\naudience = "cdv"\njwks = "https://i/keys"\nroles_claim = "groups"\n'
        'tenant = "other"\nroles = { "Privacy Office" = "dpo" }\n',
    )
    (issuer,) = load(tmp_path).oidc
    assert (issuer.issuer, issuer.audience, issuer.jwks) == ("https://i", "cdv", "https://i/keys")
    assert (issuer.roles_claim, issuer.roles, issuer.tenant) == ("groups", {"Privacy Office": "dpo"}, "other")


def test_every_setting_has_a_description():
    """Those whose name says it all are few, and listed."""
    import inspect
    import re

    source = inspect.getsource(Settings)
    plain = {"host", "port", "database_connections", "log_level", "oidc"}
    described = set(re.findall(r'^    (\w+): [^\n]+\n    """', source, re.MULTILINE))
    assert set(Settings.model_fields) == described | plain


def test_trusted_proxies_are_networks(tmp_path):
    assert load(tmp_path, trusted_proxies="10.0.0.0/8, fd00::/8").proxies == ("10.0.0.0/8", "fd00::/8")
    for wrong in ("10.0.0.0/99", "proxy.example.org", "10.0.0.1/8"):
        with pytest.raises(Misconfigured, match="trusted_proxies"):
            load(tmp_path, trusted_proxies=wrong)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('\nlog_level = "loud"\n', "log_level (cdv.toml, line 2): one of 'debug', 'info', 'warning' or 'error'"),
        ("port = 70000\n", "port (cdv.toml, line 1): at most 65535"),
        ('workers = "many"\n', "workers (cdv.toml, line 1): a whole number"),
        ("prot = 1\n", "prot (cdv.toml, line 1) is no setting; did you mean port?"),
        (
            "port = 70000\nworkers = 0\n",
            "port (cdv.toml, line 1): at most 65535; workers (cdv.toml, line 2): at least 1",
        ),
    ],
)
def test_error_names_the_place_and_what_is_allowed(tmp_path, text, said):
    write(tmp_path, text)
    with pytest.raises(Misconfigured) as caught:
        load(tmp_path)
    assert said in str(caught.value)


def test_error_of_a_variable_names_the_variable(tmp_path, monkeypatch):
    write(tmp_path, "workers = 2\n")
    monkeypatch.setenv("CDV_WORKERS", CANARY)
    with pytest.raises(Misconfigured, match=r"workers \(CDV_WORKERS\): a whole number") as caught:
        load(tmp_path)
    assert CANARY not in str(caught.value)


def test_unknown_variables_are_named_with_the_nearest_setting(monkeypatch):
    monkeypatch.setenv("CDV_PROT", CANARY)
    monkeypatch.setenv("CDV_WORKERS", "2")
    monkeypatch.setenv("CDV_DEBUG", "1")
    assert unknown_variables() == ["CDV_PROT is no setting, and is ignored; did you mean CDV_PORT?"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("CDV_REPO", None), ("CDV_HOME", None), ("CDV_USER", None), ("CDV_URL", None), ("CDV_TOKEN", None),
        ("CDV_DIR", None), ("CDV_ROLE", None), ("CDV_DATABSE_URL", "CDV_DATABASE_URL"), ("CDV_WORKER", "CDV_WORKERS"),
        ("CDV_LOGLEVEL", "CDV_LOG_LEVEL"), ("CDV_HOTS", "CDV_HOST"),
    ],
)  # fmt: skip
def test_a_variable_is_like_a_setting_by_more_than_the_prefix_of_all(monkeypatch, name, meant):
    monkeypatch.setenv(name, CANARY)
    question = "" if meant is None else f"; did you mean {meant}?"
    assert unknown_variables() == [f"{name} is no setting, and is ignored{question}"]
