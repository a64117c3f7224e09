"""What routes read from headers."""

from __future__ import annotations

import pytest

from vault.api.dependencies import NO_REVISION, revision_of
from vault.errors import InvalidInput


@pytest.mark.parametrize(
    ("header", "revision"),
    [
        (None, None),
        ("*", None),
        ('"1"', 1),
        (' "12" ', 12),
        ('"01"', NO_REVISION),
        ('"0"', NO_REVISION),
        ('"+1"', NO_REVISION),
        ('"1_0"', NO_REVISION),
        ('"\u0661"', NO_REVISION),
        ('W/"1"', NO_REVISION),
        ('"1", "2"', NO_REVISION),
        ('"1234567890"', NO_REVISION),
    ],
)
def test_a_revision_has_one_entity_tag(header, revision):
    assert revision_of(header) == revision


def test_what_is_no_entity_tag_is_refused():
    with pytest.raises(InvalidInput):
        revision_of("1")
