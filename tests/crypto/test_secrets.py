"""Objects that hold keys do not show them or leave the process, and no caller chooses a nonce."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
import pkgutil

import pytest

import vault.crypto
from tests.crypto.support import subject_keys
from vault.crypto.derive import IndexKeys, TokenKey
from vault.crypto.key_store import Tenants
from vault.crypto.keyring import Keyring
from vault.crypto.primitive import Secret, WrappingKey
from vault.crypto.providers import EnvironmentRootKey, FileRootKey
from vault.crypto.signing import SigningKey
from vault.crypto.tenant_keys import KINDS, TenantKeys

KEY = b"A canary that sings if shown: 32"
MODULES = [
    importlib.import_module(f"vault.crypto.{module.name}") for module in pkgutil.iter_modules(vault.crypto.__path__)
]


@pytest.fixture(
    params=["subject", "index", "token", "signing", "wrapping", "file", "environment", "tenant", "tenants", "keyring"]
)
def secret(request, tmp_path, monkeypatch, clock):
    import base64

    encoded = base64.b64encode(KEY).decode()
    path = tmp_path / "root.key"
    path.touch(mode=0o600)
    path.write_text(f"cdv-root-1 {encoded}")
    monkeypatch.setenv("CDV_TEST_ROOT_KEY", encoded)
    created = {
        "subject": lambda: subject_keys(KEY),
        "index": lambda: IndexKeys(KEY),
        "token": lambda: TokenKey(KEY),
        "signing": lambda: SigningKey(KEY),
        "wrapping": lambda: WrappingKey(KEY, 1),
        "file": lambda: FileRootKey(path),
        "environment": lambda: EnvironmentRootKey("CDV_TEST_ROOT_KEY"),
        "tenant": lambda: TenantKeys("default", {1: WrappingKey(KEY, 1)}, dict.fromkeys(KINDS, (1, KEY)), {1: KEY}),
        "tenants": lambda: Tenants(None, FileRootKey(path), clock, max_age=1.0, monotonic=lambda: 0.0),
        "keyring": lambda: Keyring(None, FileRootKey(path), clock),
    }
    return created[request.param]()


def test_repr_shows_only_the_type(secret):
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret!r}", repr([secret]), f"{secret}"):
        assert shown.strip("[]") == f"<{type(secret).__name__}>"


def test_secrets_cannot_be_pickled_or_copied(secret):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError):
            pickle.dumps(secret, protocol)
    for copying in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            copying(secret)


def test_secrets_have_no_instance_dict(secret):
    assert isinstance(secret, Secret)
    assert not hasattr(secret, "__dict__")


def test_no_function_takes_a_nonce_an_iv_or_randomness_from_its_caller():
    forbidden = {"nonce", "iv", "key", "random", "rng", "seed", "counter"}
    seen = 0
    for module in MODULES:
        for name, function in _functions(module):
            seen += 1
            taken = set(inspect.signature(function).parameters)
            assert not taken & forbidden, name
    assert seen > 40


def _functions(module):
    for name, thing in vars(module).items():
        if getattr(thing, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(thing):
            yield f"{module.__name__}.{name}", thing
        elif inspect.isclass(thing):
            for inner, member in list(vars(thing).items()):  # a table's class is completed when it is looked at
                function = getattr(member, "__func__", member)
                if inspect.isfunction(function):
                    yield f"{module.__name__}.{name}.{inner}", function
