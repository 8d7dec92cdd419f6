"""How a package shows names that are imported at their first use (PEP 562)."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from cropvlm_core.errors import MissingExtraError


def lazy_names(
    package: str, rooms: Mapping[str, str], *, extra: str = "", needs: tuple[str, ...] = ()
) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package whose names are imported when they are first used.

    Args:
        package: the package's name.
        rooms: for each public name, the module of the package that holds it.
        extra: the extra that brings what the modules import, and
        needs: the distributions' top packages whose absence means that it is not installed.

    The function raises AttributeError for a name that is not public, and MissingExtraError where
    one of ``needs`` is absent.
    """

    def get(name: str) -> Any:
        if name not in rooms:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            value = getattr(import_module(f"{package}.{rooms[name]}"), name)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in needs:
                raise
            raise MissingExtraError(f"{package}.{name}", extra) from error
        setattr(sys.modules[package], name, value)  # found without this function from now on
        return value

    return get
