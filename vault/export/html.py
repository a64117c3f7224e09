"""index.html: the package for people, one page that needs no script and no connection, written piece by piece.

The picture at the top of the page: where data came from, and who received it. Pure.

Values as people read them, line by line. Pure.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from markupsafe import Markup

from vault.catalogue.types import TYPES
from vault.export.csv_tables import paths
from vault.export.records import records
from vault.export.translations import DASH

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from jinja2 import Environment

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
    from jinja2 import Environment, FunctionLoader, StrictUndefined  # a tenth of the server's start

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
            field.type not in TYPES or TYPES[field.type].wide,
        )
        for field in fields
    ]


def _latest(record: RecordTold) -> Keeping:
    """Return the end of the value that is kept longest; single fields may go before."""
    return max((origin.keep for origin in record.origins), key=lambda on_commit: on_commit.until or NO_END)


def _plain(texts: Texts, value: object) -> list[str]:
    """Show a value of which no type is known."""
    return lines(texts, "json", value)


MOST: Final = 6
"""Boxes on each side; what is more stands together in the last."""
LONGEST: Final = 22
"""Characters that fit into a box."""
THICK: Final = 14
THIN: Final = 2


class Box(NamedTuple):
    """A source or a recipient: its name, its number, and how wide its line is drawn."""

    label: str
    number: str
    width: float


class Flow(NamedTuple):
    """The boxes on both sides, and the same in a sentence for those who do not see it."""

    left: list[Box]
    right: list[Box]
    text: str

    @classmethod
    def of(cls, head: Head, texts: Texts) -> Flow:
        """Draw it for a package."""
        left: Counter[str] = Counter()
        for source in head.sources:
            left[texts.source(source.source)] += source.values
        right: Counter[str] = Counter()
        for recipient in head.recipients:
            right[texts.recipient(recipient)] += recipient.times
        said = {"left": ", ".join(left) or texts("flow_nobody"), "right": ", ".join(right) or texts("flow_nobody")}
        key = "flow_text" if head.kind == "access" else "flow_text_portable"
        return cls(_boxes(left, texts), _boxes(right, texts), texts(key, **said))


def _boxes(counts: Counter[str], texts: Texts) -> list[Box]:
    ordered = counts.most_common()
    if len(ordered) > MOST:
        rest = ordered[MOST - 1 :]
        more = (texts("flow_more", count=texts.number(len(rest))), sum(count for _name, count in rest))
        ordered = [*ordered[: MOST - 1], more]
    most = max((count for _name, count in ordered), default=1)
    return [Box(_short(name), texts.number(count), _width(count, most)) for name, count in ordered]


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _width(count: int, most: int) -> float:
    return round(THIN + (THICK - THIN) * count / most, 1)


MOST_LINES: Final = 400
"""Of one value; a JSON value of the longest kind stays below."""


def lines(texts: Texts, kind: str, value: Any) -> list[str]:
    """Show a value.

    Args:
        texts: of the language.
        kind: the field's type, or ``undeclared``.
        value: as it was read from JSON; a masked one may be of another shape.
    """
    if value is None:
        return []
    own_lines = TYPES[kind].lines(value, texts.day) if kind in TYPES else None
    return list(_each(texts, value))[:MOST_LINES] if own_lines is None else own_lines


def _each(texts: Texts, value: Any, path: str = "") -> Iterator[str]:
    before = f"{path}: " if path else ""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _each(texts, inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and all(not isinstance(each, (dict, list)) for each in value):
        yield before + ", ".join(_word(texts, each) for each in value)
    elif isinstance(value, list):
        for number, inner in enumerate(value, 1):
            yield from _each(texts, inner, f"{path}.{number}" if path else str(number))
    else:
        yield before + _word(texts, value)


def _word(texts: Texts, value: Any) -> str:
    if isinstance(value, bool):
        return texts.word("plain", "true" if value else "false")
    return DASH if value is None else str(value)
