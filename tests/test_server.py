"""The port of a server: no two vaults on one, and several workers of one vault on it."""

from __future__ import annotations

import pickle

import pytest

from vault.errors import Misconfigured
from vault.server import _SharedPort, bound

HOST = "127.0.0.1"


@pytest.mark.parametrize("shared", [False, True])
def test_a_port_on_which_another_vault_listens_is_refused(shared):
    """Else the kernel would deal one vault's requests out to both."""
    with bound(HOST, 0, shared=shared) as first:
        first.listen()
        with pytest.raises(Misconfigured):
            bound(HOST, first.getsockname()[1])


def test_each_worker_gets_a_socket_of_its_own():
    with bound(HOST, 0, shared=True) as held:
        port = held.getsockname()[1]
        workers = [pickle.loads(pickle.dumps(_SharedPort(HOST, port))) for _ in range(2)]  # noqa: S301 - its own bytes
        for worker in workers:
            worker.listen()
            assert worker.getsockname()[1] == port
            worker.close()
