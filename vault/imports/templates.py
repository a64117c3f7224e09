"""Templates over columns: ``{first} {last}``."""

from __future__ import annotations

import string


def columns_in(template: str) -> set[str]:
    """List the columns in a template.

    Raises:
        ValueError: it is none: a brace is left open, or a column has a format or an attribute.
    """
    found = set()
    for _text, name, form, conversion in string.Formatter().parse(template):
        if name is not None:
            if not name or form or conversion or set(name) & set("[]"):
                raise ValueError("a template has plain names of columns in braces")
            found.add(name)
    return found
