"""The version of spancost that runs in this process."""

from __future__ import annotations

import functools


@functools.cache
def spancost_version() -> str:
    """Return the version of the installed distribution, `0` where only its files are there.

    Such are a source folder on the path, and archives and layers that were made smaller by leaving metadata out. Looked
    up once: to read it from the installed files takes longer than all else that a collection of metrics does.
    """
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("spancost")
    except PackageNotFoundError:
        return "0"
