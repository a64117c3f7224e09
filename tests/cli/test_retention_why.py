"""``cdv retention why``: the grounds of a field as a table and a picture, and as JSON for scripts."""

from __future__ import annotations

from datetime import date
from uuid import UUID

import pytest

from tests.cli.conftest import cdv, in_vault, made_vault, vault_folder
from tests.cli.people import person_in
from vault.cli.retention import WHY_WIDTH, picture
from vault.retention.views import RetainedValue, RetentionGround, RetentionLimit

__all__ = ["cdv", "in_vault", "made_vault", "vault_folder"]


@pytest.fixture
def subject(vault_folder):
    return person_in(vault_folder, name="Ada", email="ada@example.org")


def test_a_field_is_told_with_its_grounds(in_vault, subject):
    told = in_vault("retention", "why", subject, "email")
    found = in_vault.json("retention", "why", subject, "email")
    (value,) = found["values"]

    assert told.exit_code == 0, told.output
    assert f"until {value['until']}, then erase" in told.stdout
    for each in value["grounds"]:
        assert each["ground"] in told.stdout
        assert each["until"] in told.stdout
    assert "no consent" in told.stdout
    assert "ada@example.org" not in told.output
    assert (found["relationship"], value["state"]) == ("prospect", "kept")
    assert value["by"] == "order-fulfilment"


def test_what_is_not_there_is_said(in_vault, subject):
    assert "There is no such value" in in_vault("retention", "why", subject, "phone").stderr
    assert in_vault("retention", "why", subject, "shoe_size").exit_code == 1


def ground(name, until, *, lost=False):
    return RetentionGround(
        ground=name, until=until, least=None, since=None, counted_from=None, period=None, lost=lost, then="erase",
        views=(), law=None, article=None, reason=None,
    )  # fmt: skip


def test_bars_reach_from_the_start_to_each_end():
    grounds = [
        ground("accounting", None),
        ground("order-fulfilment", date(2024, 1, 1)),
        ground("direct-marketing", date(2021, 1, 1), lost=True),
    ]
    limit = RetentionLimit(
        name="short",
        until=date(2022, 1, 1),
        since="collected",
        period="P2Y",
        then="erase",
        article=None,
        reason="so it is",
    )
    kept = RetainedValue(
        record=UUID(int=1), form=None, starts=date(2020, 1, 1), collected=date(2020, 1, 1), source="shop",
        served_until=None, until=None, by="accounting", then="erase", state="kept", grounds=grounds, idle=[],
        limits=[limit], holds=[], review=None,
    )  # fmt: skip
    years, *bars, today = picture(kept, date(2022, 1, 1))
    drawn = {line[:26].strip(): line[26:] for line in bars}

    assert years.split() == ["2020", "2024"]
    assert drawn["accounting"] == "=" * (WHY_WIDTH - 1) + ">"
    assert drawn["order-fulfilment"] == "=" * WHY_WIDTH
    assert drawn["direct-marketing"].endswith("x")
    assert len(drawn["direct-marketing"]) < len(drawn["limit short"]) < WHY_WIDTH
    assert today[26:].index("^") == len(drawn["limit short"]) - 1
