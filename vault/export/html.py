"""index.html: the package for people, one page that needs no script and no connection, written piece by piece."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from vault.export.csv_tables import paths
from vault.export.flow import Flow
from vault.export.records import records
from vault.export.translations import DASH
from vault.export.values import lines

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vault.export.collect import Content
    from vault.export.schema import FieldTold, Head, Keeping, OriginTold, RecordTold
    from vault.export.translations import Texts

MOST_SHOWN: Final = 1_000
"""Records of one collection that the page shows, the newest; the table beside it has all of them."""
ROWS_AT_A_TIME: Final = 100
PIECE: Final = 32 * 1024
"""Characters that are written at a time."""
ALWAYS: Final = ("data", "purposes", "sources")
ON_ACCESS: Final = ("recipients", "decisions", "history", "requests", "rights")
NO_END: Final = "~"
"""Comes after every day."""
WORDY: Final = frozenset({"text", "json", "undeclared"})
"""Types whose values may be long, so that they get a wide column."""


class Cell(NamedTuple):
    """A value as it is shown."""

    lines: list[str]
    masked: bool
    words: bool


class Line(NamedTuple):
    """A record as it is shown."""

    day: str
    cells: list[Cell]
    sources: str
    until: str | None
    moves: bool


class Row(NamedTuple):
    """A value of the profile as it is shown, with where it comes from."""

    title: str
    special: bool
    lines: list[str]
    masked: bool
    origin: OriginTold
    purposes: list[str]


class Tile(NamedTuple):
    """A number at the top of the page."""

    number: str
    label: str


@lru_cache(maxsize=2)
def _environment(*, waits: bool) -> Environment:
    """Return the templates: those that wait for records, and the rows that do not, which take a third of the time."""
    folder = files("vault.export").joinpath("templates")
    return Environment(
        autoescape=True,
        enable_async=waits,
        undefined=StrictUndefined,
        loader=FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8")),
        trim_blocks=True,
        lstrip_blocks=True,
    )


@lru_cache(maxsize=1)
def _style() -> tuple[Markup, str]:
    """Return the style sheet and the hash by which the page's own policy lets it in, and nothing else."""
    css = files("vault.export").joinpath("templates", "page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    return Markup(css), f"sha256-{digest}"  # noqa: S704 - our own file


async def page(content: Content) -> AsyncIterator[bytes]:
    """Write the page.

    Raises:
        CannotOpen: a value does not open at its place.
    """
    template = _environment(waits=True).get_template("page.html")
    written: list[str] = []
    size = 0
    async for piece in template.generate_async(**_told(content)):
        written.append(piece)
        size += len(piece)
        if size >= PIECE:
            yield "".join(written).encode()
            written, size = [], 0
    yield "".join(written).encode()


def _told(content: Content) -> dict[str, Any]:
    head, texts, access = content.head, content.texts, not content.portable
    style, digest = _style()
    suffix = "" if access else "_portable"
    return {
        "t": texts,
        "head": head,
        "access": access,
        "title": f"title{suffix}",
        "intro": f"intro{suffix}",
        "controller": head.controller.name if head.controller else texts("somebody"),
        "style": style,
        "style_hash": digest,
        "tiles": _tiles(head, texts),
        "sections": (*ALWAYS, *(ON_ACCESS if access else ()), "package"),
        "masked": any(field.others for field in head.fields.values()),
        "flow": Flow.of(head, texts),
        "files": paths(head.collections),
        "most": MOST_SHOWN,
        "purpose_titles": content.titles,
        "dash": DASH,
        "records": lambda collection: _shown(content, collection),
        "rows": lambda record: _rows(content, record),
        "batches": lambda collection, fields: _batches(content, collection, fields),
        "plain": lambda value: _plain(texts, value),
    }


def _tiles(head: Head, texts: Texts) -> list[Tile]:
    counts = {
        "values": head.counts["values"],
        "records": head.counts["records"],
        "sources": len(head.sources),
        "purposes": sum(each.state == "in-use" for each in head.purposes),
    }
    if head.kind == "access":
        counts["recipients"] = len({(each.recipient, each.kind) for each in head.recipients})
        counts["accesses"] = head.counts["accesses"]
    return [Tile(texts.number(count), texts.noun(f"tile_{name}", count)) for name, count in counts.items()]


async def _shown(content: Content, collection: str) -> AsyncIterator[RecordTold]:
    left = MOST_SHOWN
    async for record in records(content, collection):
        yield record
        left -= 1
        if left == 0:
            return


def _rows(content: Content, record: RecordTold) -> list[Row]:
    """List the values of the profile in the order of the catalogue.

    That the person may ask for each of them goes without saying: a purpose that collects nothing is not named here.
    """
    head, texts = content.head, content.texts
    collecting = {each.name for each in head.purposes if each.collects}
    origins = {name: origin for origin in record.origins for name in origin.fields}
    told = [(field, record.values[field.name]) for field in _profile(head) if field.name in record.values]
    return [
        Row(
            field.title,
            field.special,
            lines(texts, field.type, msgspec.json.decode(value)),
            field.name in record.masked,
            origins[field.name],
            [content.titles[name] for name in field.purposes if name in collecting],
        )
        for field, value in told
    ]


def _profile(head: Head) -> list[FieldTold]:
    return [each for each in head.fields.values() if each.collection == "profile"]


async def _batches(content: Content, collection: str, fields: list[FieldTold]) -> AsyncIterator[Markup]:
    """Write the rows of a collection, some at a time."""
    texts = content.texts
    template = _environment(waits=False).get_template("rows.html")
    said = {"masked": texts("masked"), "none": texts("keep_none")}
    waiting: list[Line] = []
    async for record in _shown(content, collection):
        waiting.append(_line(texts, record, fields))
        if len(waiting) >= ROWS_AT_A_TIME:
            yield Markup(template.render(rows=waiting, **said))  # noqa: S704 - the template escapes
            waiting = []
    yield Markup(template.render(rows=waiting, **said))  # noqa: S704 - as above


def _line(texts: Texts, record: RecordTold, fields: list[FieldTold]) -> Line:
    keep = _latest(record)
    return Line(
        day=texts.day(record.occurred_at or record.recorded_at),
        cells=_cells(texts, record, fields),
        sources=", ".join(dict.fromkeys(texts.source(each.source) for each in record.origins)),
        until=None if keep.until is None else texts.day(keep.until),
        moves=keep.moves,
    )


def _cells(texts: Texts, record: RecordTold, fields: list[FieldTold]) -> list[Cell]:
    return [
        Cell(
            lines(texts, field.type, msgspec.json.decode(record.values[field.name]))
            if field.name in record.values
            else [],
            field.name in record.masked,
            field.type in WORDY,
        )
        for field in fields
    ]


def _latest(record: RecordTold) -> Keeping:
    """Return the end of the value that is kept longest; single fields may go before."""
    return max((origin.keep for origin in record.origins), key=lambda keep: keep.until or NO_END)


def _plain(texts: Texts, value: object) -> list[str]:
    """Show a value of which no type is known."""
    return lines(texts, "json", value)
