from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.capture.harness import fetch, wait_until

FILE_BYTES = 300_000


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.e2e
@pytest.mark.parametrize("options", [["--worker-class", "sync"], ["--worker-class", "gthread", "--threads", "2"]])
def test_gunicorn_answers_are_measured_whether_sized_streamed_or_sent_as_files(
    tmp_path: Path, options: list[str]
) -> None:
    seen_file = tmp_path / "seen.jsonl"
    file = tmp_path / "file.bin"
    file.write_bytes(b"f" * FILE_BYTES)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"SEEN_FILE": str(seen_file), "SEND_FILE": str(file)}
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "--bind",
        f"127.0.0.1:{port}",
        *options,
        "tests.capture.gunicorn_app:app",
    ]
    server = subprocess.Popen(
        command, env=environment, cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def seen() -> list[tuple[str, dict[str, object]]]:
        return [tuple(json.loads(line)) for line in seen_file.read_text().splitlines()] if seen_file.exists() else []

    def has_seen(count: int) -> bool:
        return len(seen()) >= count

    private = {"client_private": True}
    try:
        wait_until(lambda: answers(port), timeout_seconds=20)
        for path, size_bytes, expected in [
            ("/sized", 500, [("end", private | {"response_bytes": 500})]),
            ("/file", FILE_BYTES, [("end", private | {"response_bytes": FILE_BYTES})]),
            ("/stream", 3000, [("end", private | {"response_streaming": True}), ("late", {"response_bytes": 3000})]),
            (
                "/unsized-file",
                FILE_BYTES,
                [("end", private | {"response_streaming": True}), ("late", {"response_bytes": FILE_BYTES})],
            ),
        ]:
            before = len(seen())
            assert len(fetch(port, path).body) == size_bytes
            after = before + len(expected)
            wait_until(partial(has_seen, after))
            assert seen()[before:] == expected
    finally:
        server.terminate()
        server.wait(15)
