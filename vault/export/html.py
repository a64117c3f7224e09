"""Write index.html, the page of a package for people. It needs no script and no connection, and is written as a stream.

At its top is a diagram of the sources and recipients of the data.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import msgspec
from markupsafe import Markup, escape

from vault.catalogue.types import TYPES
from vault.export.records import records
from vault.export.translations import DASH

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from jinja2 import Environment

    from vault.export.collect import Content
    from vault.export.schema import FieldDescription, PackageHead, PackageRecord, RetentionEnd, ValueOrigin
    from vault.export.translations import Texts


MOST_SHOWN: Final = 1_000
"""Records of one collection that the page shows, newest first; the CSV table contains all of them."""
ROWS_AT_A_TIME: Final = 100
PIECE: Final = 32 * 1024
"""Characters that are yielded at a time."""
ALWAYS: Final = ("data", "purposes", "sources")
ON_ACCESS: Final = ("recipients", "decisions", "history", "requests", "rights")
NO_END: Final = "~"
"""Sorts after every ISO 8601 date."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A value in a table."""

    lines: list[str]
    masked: bool
    words: bool


@dataclass(frozen=True, slots=True)
class RecordRow:
    """A record in the table of its collection."""

    day: str
    cells: list[Cell]
    sources: str
    until: str | None
    moves: bool


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """A value of the profile, with its origin."""

    title: str
    special: bool
    lines: list[str]
    masked: bool
    origin: ValueOrigin
    purposes: list[str]


@dataclass(frozen=True, slots=True)
class Tile:
    """A number at the top of the page."""

    number: str
    label: str


@lru_cache(maxsize=2)
def _environment(*, asynchronous: bool) -> Environment:
    """Return the templates. Rows of records are rendered synchronously, in a third of the time."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined  # a tenth of the server's start

    folder = files("vault.export").joinpath("templates")
    return Environment(
        autoescape=True,
        enable_async=asynchronous,
        undefined=StrictUndefined,
        loader=FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8")),
        trim_blocks=True,
        lstrip_blocks=True,
    )


@lru_cache(maxsize=1)
def _style() -> tuple[Markup, str]:
    """Return the style sheet and its hash. The page's content security policy allows nothing but this style sheet."""
    css = files("vault.export").joinpath("templates", "page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    return Markup(css), f"sha256-{digest}"  # noqa: S704 - our own file


async def html_page(content: Content, tables: Mapping[str, str]) -> AsyncIterator[bytes]:
    """Write the page.

    Args:
        tables: the path of each collection's CSV table.

    Raises:
        CannotOpen: a value does not open as part of its record.
    """
    template = _environment(asynchronous=True).get_template("page.html")
    buffer: list[str] = []
    size = 0
    async for piece in template.generate_async(**_context(content), files=tables):
        buffer.append(piece)
        size += len(piece)
        if size >= PIECE:
            yield "".join(buffer).encode()
            buffer, size = [], 0
    yield "".join(buffer).encode()


def _context(content: Content) -> dict[str, object]:
    """Return the variables of the template."""
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
        "flow": Diagram.of(head, texts),
        "most": MOST_SHOWN,
        "purpose_titles": content.titles,
        "dash": DASH,
        "records": lambda collection: _shown(content, collection),
        "rows": lambda record: _rows(content, record),
        "batches": lambda collection, fields: _batches(content, collection, fields),
        "more": [
            (section, [value_lines(texts, "json", msgspec.to_builtins(item)) for item in items])
            for section, items in head.more.items()
        ],
        "plain": lambda value: value_lines(texts, "json", value),
    }


def _tiles(head: PackageHead, texts: Texts) -> list[Tile]:
    counts = {
        "values": head.counts["values"],
        "records": head.counts["records"],
        "sources": len(head.sources),
        "purposes": sum(purpose.state == "in-use" for purpose in head.purposes),
    }
    if head.kind == "access":
        counts["recipients"] = len({(summary.recipient, summary.kind) for summary in head.recipients})
        counts["accesses"] = head.counts["accesses"]
    return [Tile(texts.number(count), texts.noun(f"tile_{name}", count)) for name, count in counts.items()]


async def _shown(content: Content, collection: str) -> AsyncIterator[PackageRecord]:
    left = MOST_SHOWN
    async for record in records(content, collection):
        yield record
        left -= 1
        if left == 0:
            return


def _rows(content: Content, record: PackageRecord) -> list[ProfileRow]:
    """List the values of the profile, in the order of the catalogue.

    Purposes that collect nothing, such as answering requests like this one, are not named.
    """
    head, texts = content.head, content.texts
    collecting = {purpose.name for purpose in head.purposes if purpose.collects}
    origins = {name: origin for origin in record.origins for name in origin.fields}
    fields = [field for field in texts.fields(head, "profile") if field.name in record.values]
    return [
        ProfileRow(
            field.title,
            field.special,
            value_lines(texts, field.type, msgspec.json.decode(record.values[field.name])),
            field.name in record.masked,
            origins[field.name],
            [content.titles[name] for name in field.purposes if name in collecting],
        )
        for field in fields
    ]


async def _batches(content: Content, collection: str, fields: list[FieldDescription]) -> AsyncIterator[Markup]:
    """Write the rows of a collection, in batches."""
    texts = content.texts
    template = _environment(asynchronous=False).get_template("rows.html")
    # Escaped once and not in each row: on small screens each cell names its column.
    labels = [escape(title) for title in (*(field.title for field in fields), texts("came_from"), texts("kept_until"))]
    words = {"masked": texts("masked"), "none": texts("keep_none"), "labels": labels}
    batch: list[RecordRow] = []
    async for record in _shown(content, collection):
        batch.append(_record_row(texts, record, fields))
        if len(batch) >= ROWS_AT_A_TIME:
            yield Markup(template.render(rows=batch, **words))  # noqa: S704 - the template escapes
            batch = []
    yield Markup(template.render(rows=batch, **words))  # noqa: S704 - as above


def _record_row(texts: Texts, record: PackageRecord, fields: list[FieldDescription]) -> RecordRow:
    end = _latest_end(record)
    return RecordRow(
        day=texts.day(record.occurred_at or record.recorded_at),
        cells=_cells(texts, record, fields),
        sources=", ".join(dict.fromkeys(texts.source(origin.source) for origin in record.origins)),
        until=None if end.until is None else texts.day(end.until),
        moves=end.moves,
    )


def _cells(texts: Texts, record: PackageRecord, fields: list[FieldDescription]) -> list[Cell]:
    return [
        Cell(
            value_lines(texts, field.type, msgspec.json.decode(record.values[field.name]))
            if field.name in record.values
            else [],
            field.name in record.masked,
            field.type not in TYPES or TYPES[field.type].wide,
        )
        for field in fields
    ]


def _latest_end(record: PackageRecord) -> RetentionEnd:
    """Return the end of the value that is kept longest; other values may be deleted earlier."""
    return max((origin.keep for origin in record.origins), key=lambda end: end.until or NO_END)


MOST: Final = 6
"""Boxes on each side of the diagram; the last one sums up the rest."""
LONGEST: Final = 22
"""Characters of a label that fit into a box."""
THICK: Final = 14
THIN: Final = 2


@dataclass(frozen=True, slots=True)
class Box:
    """A source or a recipient in the diagram: its name, its count, and the width of its line."""

    label: str
    number: str
    width: float


@dataclass(frozen=True, slots=True)
class Diagram:
    """The sources and recipients of the data: boxes on both sides, and an alternative text."""

    left: list[Box]
    right: list[Box]
    text: str

    @classmethod
    def of(cls, head: PackageHead, texts: Texts) -> Diagram:
        """Return the diagram of a package."""
        left: Counter[str] = Counter()
        for source in head.sources:
            left[texts.source(source.source)] += source.values
        right: Counter[str] = Counter()
        for recipient in head.recipients:
            right[texts.recipient(recipient)] += recipient.times
        names = {"left": ", ".join(left) or texts("flow_nobody"), "right": ", ".join(right) or texts("flow_nobody")}
        key = "flow_text" if head.kind == "access" else "flow_text_portable"
        return cls(_boxes(left, texts), _boxes(right, texts), texts(key, **names))


def _boxes(counts: Counter[str], texts: Texts) -> list[Box]:
    ordered = counts.most_common()
    if len(ordered) > MOST:
        rest = ordered[MOST - 1 :]
        more = (texts("flow_more", count=texts.number(len(rest))), sum(count for _name, count in rest))
        ordered = [*ordered[: MOST - 1], more]
    most = max((count for _name, count in ordered), default=1)
    return [
        Box(
            label=name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…",
            number=texts.number(count),
            width=round(THIN + (THICK - THIN) * count / most, 1),
        )
        for name, count in ordered
    ]


MOST_LINES: Final = 400
"""Lines of one value. The longest JSON value that a field accepts has fewer."""


def value_lines(texts: Texts, kind: str, value: Any) -> list[str]:
    """Write a value in lines for people.

    Args:
        kind: the field's type, or ``undeclared``.
        value: JSON; a masked value may not have the structure of its type.
    """
    if value is None:
        return []
    own_lines = TYPES[kind].lines(value, texts.day) if kind in TYPES else None
    return list(_json_lines(texts, value))[:MOST_LINES] if own_lines is None else own_lines


def _json_lines(texts: Texts, value: object, path: str = "") -> Iterator[str]:
    label = f"{path}: " if path else ""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _json_lines(texts, inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and all(not isinstance(item, (dict, list)) for item in value):
        yield label + ", ".join(_word(texts, item) for item in value)
    elif isinstance(value, list):
        for number, inner in enumerate(value, 1):
            yield from _json_lines(texts, inner, f"{path}.{number}" if path else str(number))
    else:
        yield label + _word(texts, value)


def _word(texts: Texts, value: object) -> str:
    if isinstance(value, bool):
        return texts.word("plain", "true" if value else "false")
    return DASH if value is None else str(value)
