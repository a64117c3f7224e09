"""What every object that holds key material has in common."""

from __future__ import annotations

from typing import NoReturn


class Secret:
    """Base of objects that hold keys: shows its type and nothing else, and refuses to be pickled or copied.

    A pickle would carry the key into a file, a queue or another process, where nobody looks for it.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError("key material is not to be pickled or copied")
