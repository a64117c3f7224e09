"""The picture at the top of the page: where data came from, and who received it. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from vault.export.schema import Head
    from vault.export.translations import Texts

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
