"""Two people's numbers in other systems, put together. Pure.

A person has one number a system, under the system's name. Whoever had two accounts in the shop has, after a merge, a
second one: ``{"shop": "4711", "shop-2": "4712"}``.
"""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_SYSTEM = 58
"""Characters of a system's name that stay before a number is put behind it."""
_NUMBERED = re.compile(r"(.+)-\d+")


def united(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Put two people's external ids together; what one has keeps its name, what collides gets a number."""
    result = dict(mine)
    for system, value in theirs.items():
        if system not in result:
            result[system] = value
        elif not is_known(result, system, value):
            result[_free(result, _base(theirs, system))] = value
    return result


def unknown(ids: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out of what came in the numbers by which a person is known as a second one."""
    return {name: value for name, value in given.items() if ids.get(name) == value or not is_known(ids, name, value)}


def is_known(ids: Mapping[str, Any], system: str, value: Any) -> bool:
    """Tell whether a person has this number in a system, be it the first or a later one."""
    return any(each == value and system in {name, _unnumbered(name)} for name, each in ids.items())


def _base(ids: Mapping[str, Any], system: str) -> str:
    base = _unnumbered(system)
    return base if base in ids else system


def _unnumbered(system: str) -> str:
    found = _NUMBERED.fullmatch(system)
    return system if found is None else found[1]


def _free(ids: Mapping[str, Any], system: str) -> str:
    names = (f"{system[:LONGEST_SYSTEM]}-{number}" for number in count(2))
    return next(name for name in names if name not in ids)
