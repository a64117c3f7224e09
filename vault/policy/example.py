"""The example controller of the shipped policies: what of it is left in a folder, and how `cdv init` replaces it.

Receipts, packages and certificates are signed in the controller's name. A vault that signs in the name of the example
company, or with its address, gives its customers a worthless paper.
"""

from __future__ import annotations

import json
import re
import tomllib
from typing import TYPE_CHECKING, Final

from vault.catalogue.toml_document import Finding, Lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path as Folder

    from vault.catalogue.toml_document import Path
    from vault.policy.policy_set import PolicySet

FILE: Final = "controller.toml"
KEYS: Final[tuple[Path, ...]] = (
    ("name",), ("address",), ("email",), ("phone",), ("url",), ("privacy_policy",), ("dpo", "email"),
)  # fmt: skip
"""The values that are the example's alone. Its country and authority may be another company's too."""
_OPTIONAL: Final = frozenset({"phone", "url"})
_KEY: Final = re.compile(r"([a-z_]+) = ")


def example_left(policy_set: PolicySet, shipped: Folder) -> Finding | None:
    """Return a warning with the values of controller.toml that are the example's, if there are any."""
    keys = keys_left(policy_set.files.get(FILE, ""), shipped)
    if not keys:
        return None
    line = Lines(policy_set.files[FILE]).of(keys[0])
    names = ", ".join(".".join(map(str, key)) for key in keys)
    return Finding(
        FILE,
        line,
        f"the controller is still the example: {names}; receipts, packages and certificates are signed in its name",
        f"edit {FILE}, then `cdv policy apply`",
        "example-controller",
    )


def keys_left(text: str, shipped: Folder) -> list[Path]:
    """Return the keys of a valid controller.toml that have the example's values."""
    example, given = tomllib.loads(_shipped(shipped)), tomllib.loads(text)
    return [key for key in KEYS if (value := _at(given, key)) is not None and value == _at(example, key)]


def _at(data: object, key: Path) -> object:
    for part in key:
        data = data.get(part) if isinstance(data, dict) else None
    return data


def controller_of(values: Mapping[str, str], shipped: Folder) -> str:
    """Return the shipped controller.toml with other values.

    What a company need not state is commented out, and not left as the example's. Required values that are not given
    stay.
    """
    return "".join(f"{line}\n" for line in _replaced(_shipped(shipped).splitlines(), values))


def _replaced(lines: list[str], values: Mapping[str, str]) -> Iterator[str]:
    in_table = False
    for line in lines:
        in_table = in_table or line.startswith("[")
        match = _KEY.match(line)
        key = match[1] if match and not in_table else ""
        if key in values:
            # A text of JSON is one of TOML, except for control characters, which the values do not have.
            yield f"{key} = {json.dumps(values[key], ensure_ascii=False)}"
        elif (in_table or key in _OPTIONAL) and line and not line.startswith("#"):
            yield f"# {line}"
        else:
            yield line


def _shipped(folder: Folder) -> str:
    return (folder / FILE).read_text(encoding="utf-8")
