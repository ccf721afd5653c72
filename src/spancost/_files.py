"""Files that others read while they are written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

_NEW_FILE: Final = 0o666


def replace_file(path: Path, content: bytes, mode: int | None = None) -> None:
    """Replace a file by new content at once: a reader sees the old or the new one, and a crash leaves the old one.

    Args:
        path: The file; its folder is created where it is missing.

        content: All of it.

        mode: Permissions of the file; by default only this user may read and write it.

    Raises:
        OSError: It cannot be written; nothing has changed then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            if mode is not None:
                os.chmod(temporary, mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def new_file_mode() -> int:
    """Return the permissions that a new file gets from this process's umask."""
    umask = os.umask(0)
    os.umask(umask)
    return _NEW_FILE & ~umask
