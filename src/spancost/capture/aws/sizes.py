"""Sizes and names that the capture of several AWS services reads; nothing of a body is kept."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sized
from typing import Any, Final, cast

from spancost.capture.aws import facts as keys

Facts = dict[str, Any]
Params = Mapping[str, Any]

KB: Final = 1024


def text_bytes(text: Any) -> int:
    """Return the size of a text as UTF-8."""
    text = text if isinstance(text, str) else str(text)
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def body_bytes(body: Any) -> int | None:
    """Return the size of a request body without reading or moving it; None if that is not possible."""
    if isinstance(body, str):
        return text_bytes(body)
    if isinstance(body, (bytes, bytearray)):
        return len(body)
    if isinstance(body, memoryview):
        return body.nbytes
    if hasattr(body, "__len__"):  # s3transfer's file chunks
        return len(cast("Sized", body))
    if getattr(body, "_rolled", None) is False:
        body = getattr(body, "_file", None)  # tempfile.SpooledTemporaryFile: its `fileno` would write it to disk
    getbuffer: Any = getattr(body, "getbuffer", None)
    if getbuffer is not None:  # io.BytesIO
        with getbuffer() as view:
            return max(0, view.nbytes - int(body.tell()))
    fileno: Any = getattr(body, "fileno", None)
    if fileno is None:
        return None
    try:
        return max(0, os.fstat(fileno()).st_size - int(body.tell()))
    except (OSError, ValueError):  # a pipe, a socket, a closed or unreal file
        return None


def note_name(facts: Facts, name: Any) -> None:
    """Note the name at the end of a URL or ARN as the resource of a call."""
    if isinstance(name, str):
        facts[keys.RESOURCE] = name.rstrip("/").rsplit("/", 1)[-1].rsplit(":", 1)[-1][:256]


def note_messages(facts: Facts, key: str, sizes: list[int]) -> None:
    """Note number and total size of the messages of a call."""
    facts[key] = sum(sizes)
    facts[keys.MESSAGES] = len(sizes)


def attribute_bytes(attributes: Any) -> int:
    """Names, data types and values of message attributes count as payload."""
    if not attributes:
        return 0
    return sum(
        text_bytes(name)
        + text_bytes(attribute.get("DataType", ""))
        + text_bytes(attribute.get("StringValue") or "")
        + len(attribute.get("BinaryValue") or b"")
        for name, attribute in attributes.items()
    )


def table_name(name: str) -> str:
    """Return the table's name where its ARN may stand: `arn:aws:dynamodb:us-east-1:123456789012:table/t`."""
    return name.rsplit(":table/", 1)[-1] if name.startswith("arn:") else name
