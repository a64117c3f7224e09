"""The public surface changes only when somebody means it to: both documents are committed and compared."""

from __future__ import annotations

import pytest

from tests.golden import documents

AGAIN = "`python -m tests.golden.documents` writes it again; read the difference first"


@pytest.mark.parametrize(
    ("path", "current"),
    [(documents.OPENAPI, documents.openapi), (documents.HELP, documents.command_help)],
    ids=["OpenAPI document", "help of all commands"],
)
def test_the_public_surface_equals_the_committed_document(path, current):
    assert current() == path.read_text(encoding="utf-8"), f"{path.name} differs. {AGAIN}"
