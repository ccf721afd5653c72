"""A local server that speaks the wire format of OpenAI and Anthropic, and of two third-party APIs.

It stands in for the paid services: real clients talk to it without a network or a key. Token counts
are a pure function of the request (`chat_usage`, `embedding_usage`, `message_usage`), so a test can
work out what a request costs. A request may state its own counts in the header `x-usage`, a JSON
object with the field names of the usage classes below, and in `x-break-after` after how many events
its stream breaks off.

    POST /v1/chat/completions      OpenAI chat, also streamed, with `stream_options.include_usage`
    POST /v1/responses             OpenAI responses, not streamed
    POST /v1/embeddings            OpenAI embeddings
    POST /v1/messages              Anthropic messages, also streamed, with prompt cache
    POST /payments/v1/charges      a payment service that no price book knows
    POST http://api.twilio.com/... as an HTTP proxy: answers for that host, forwards nothing
    GET  /health
    GET  /usage                    the tokens stated so far, by model and field: what a provider's bill would have

Left out: tools, images, audio, errors and rate limits.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Self, TypeVar, cast
from urllib.parse import urlsplit

Json = dict[str, Any]

_CHARACTERS_PER_TOKEN = 4
_CACHE_STEP_TOKENS = 128
_CACHE_MIN_TOKENS = 1024
_DEFAULT_OUTPUT_TOKENS = 48
_REASONING_TOKENS = 64
_STREAM_PARTS = 6
_EMBEDDING_DIMENSIONS = 8
_USAGE_HEADER = "x-usage"
_BREAK_HEADER = "x-break-after"

_DATED_MODELS = {
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "gpt-5-mini": "gpt-5-mini-2025-08-07",
    "claude-haiku-4-5": "claude-haiku-4-5-20251001",
}
"""Like the real services, answers name the dated model."""

_WORDS = ("the", "order", "leaves", "our", "house", "today", "and", "comes", "by", "bicycle", "before", "noon")

_ids = itertools.count(1)


@dataclass(frozen=True, slots=True)
class ChatUsage:
    """Tokens of an OpenAI chat completion; `prompt` includes `cached`, `completion` includes `reasoning`."""

    prompt: int
    cached: int
    completion: int
    reasoning: int


@dataclass(frozen=True, slots=True)
class EmbeddingUsage:
    """Tokens of an OpenAI embeddings call."""

    prompt: int


@dataclass(frozen=True, slots=True)
class MessageUsage:
    """Tokens of an Anthropic message; `input` is without all cached ones, as on the wire."""

    input: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int
    output: int


_Usage = TypeVar("_Usage", ChatUsage, EmbeddingUsage, MessageUsage)


def count_tokens(text: str) -> int:
    """One token for every four characters begun."""
    return -(-len(text) // _CHARACTERS_PER_TOKEN)


def chat_usage(request: Mapping[str, Any]) -> ChatUsage:
    """Token counts of a chat request.

    Prompts of 1 024 tokens or more have their system messages cached, in steps of 128 tokens.
    Models of the gpt-5 and o series reason for 64 tokens. The answer is as long as the request allows, 48 tokens
    when it says nothing.
    """
    messages = _objects(request.get("messages"))
    prompt = sum(count_tokens(_text_of(message.get("content"))) for message in messages)
    system = sum(
        count_tokens(_text_of(message.get("content")))
        for message in messages
        if message.get("role") in ("system", "developer")
    )
    cached = system // _CACHE_STEP_TOKENS * _CACHE_STEP_TOKENS if prompt >= _CACHE_MIN_TOKENS else 0
    reasoning = _REASONING_TOKENS if str(request.get("model", "")).startswith(("gpt-5", "o")) else 0
    allowed = request.get("max_completion_tokens") or request.get("max_tokens") or _DEFAULT_OUTPUT_TOKENS + reasoning
    return ChatUsage(prompt, cached, int(allowed), min(reasoning, int(allowed)))


def embedding_usage(request: Mapping[str, Any]) -> EmbeddingUsage:
    """Token counts of an embeddings request: the sum over its inputs."""
    return EmbeddingUsage(sum(count_tokens(text) for text in _inputs(request)))


def message_usage(request: Mapping[str, Any]) -> MessageUsage:
    """Token counts of an Anthropic request.

    A system block with `cache_control` is read from the cache (the standing instructions of a shop
    are warm); a message block with `cache_control` is written to it, for 5 minutes or as its `ttl` says.
    """
    counts = {"input": 0, "read": 0, "5m": 0, "1h": 0}
    for block in _blocks(request.get("system")):
        counts["read" if block.get("cache_control") else "input"] += count_tokens(_text_of([block]))
    for message in _objects(request.get("messages")):
        for block in _blocks(message.get("content")):
            control = cast("Json | None", block.get("cache_control"))
            counts[str(control.get("ttl", "5m")) if control else "input"] += count_tokens(_text_of([block]))
    return MessageUsage(
        input=counts["input"],
        cache_read=counts["read"],
        cache_write_5m=counts["5m"],
        cache_write_1h=counts["1h"],
        output=min(int(request.get("max_tokens", _DEFAULT_OUTPUT_TOKENS)), _DEFAULT_OUTPUT_TOKENS),
    )


class LlmServer:
    """The server in a thread of this process, on a free loopback port: for tests.

    `usages` collects what was stated, in the order of the answers.
    """

    def __init__(self, port: int = 0) -> None:
        self.usages: list[ChatUsage | EmbeddingUsage | MessageUsage] = []
        self._server = _Server(("127.0.0.1", port), _Handler, self.usages)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.openai_url = f"{self.url}/v1"
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), name="llm-server", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Clients keep their connections: waiting for those threads would hold the end up.
    block_on_close = False
    request_queue_size = 128
    """Fifty clients connect at once; beyond the queue they would wait a second and more for their next try."""

    def __init__(
        self,
        address: tuple[str, int],
        handler: type[BaseHTTPRequestHandler],
        usages: list[ChatUsage | EmbeddingUsage | MessageUsage],
    ) -> None:
        super().__init__(address, handler)
        self.usages = usages
        self._counting = Lock()
        self._tokens: dict[str, Counter[str]] = {}

    def count(self, model: str, usage: ChatUsage | EmbeddingUsage | MessageUsage) -> None:
        """Add a usage that is being stated."""
        with self._counting:
            self.usages.append(usage)
            self._tokens.setdefault(_DATED_MODELS.get(model, model), Counter()).update(asdict(usage))

    def tokens(self) -> dict[str, dict[str, int]]:
        """Return the tokens stated so far, by model and field."""
        with self._counting:
            return {model: dict(counts) for model, counts in self._tokens.items()}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65_536
    timeout = 60

    def do_GET(self) -> None:
        if self.path == "/health":
            self._answer(200, {"ok": True})
        elif self.path == "/usage":
            self._answer(200, cast(_Server, self.server).tokens())
        else:
            self._answer(404, {"error": {"message": "no such path", "type": "not_found"}})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        # A request through a proxy has a whole URL in its first line.
        parts = urlsplit(self.path)
        if parts.hostname == "api.twilio.com" and parts.path.endswith("/Messages.json"):
            self._answer(201, {"sid": f"SM{next(_ids):032x}", "num_segments": "1", "status": "queued"})
            return
        match parts.path:
            case "/v1/chat/completions":
                self._chat(json.loads(body))
            case "/v1/responses":
                self._response(json.loads(body))
            case "/v1/embeddings":
                self._embeddings(json.loads(body))
            case "/v1/messages":
                self._message(json.loads(body))
            case "/payments/v1/charges":
                self._answer(201, {"id": f"ch_{next(_ids)}", "status": "succeeded"})
            case _:
                self._answer(404, {"error": {"message": "no such path", "type": "not_found"}})

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a line per request hides the errors."""

    def _chat(self, request: Json) -> None:
        usage = self._stated(request, chat_usage(request))
        if request.get("stream"):
            self._stream(_chat_chunks(request, usage))
            return
        self._answer(
            200,
            {
                **_chat_head(request, "chat.completion"),
                "choices": [
                    {
                        "index": 0,
                        "message": {
                            "role": "assistant",
                            "content": " ".join(_reply(usage.completion - usage.reasoning)),
                        },
                        "finish_reason": "stop",
                    }
                ],
                "usage": _chat_usage_json(usage),
            },
        )

    def _response(self, request: Json) -> None:
        messages = request.get("input")
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        usage = self._stated(request, chat_usage({**request, "messages": messages}))
        head = _chat_head(request, "response")
        number = next(_ids)
        text: Json = {
            "type": "output_text",
            "text": " ".join(_reply(usage.completion - usage.reasoning)),
            "annotations": [],
        }
        self._answer(
            200,
            {
                "id": f"resp_{number}",
                "object": "response",
                "created_at": head["created"],
                "status": "completed",
                "model": head["model"],
                "output": [
                    {
                        "type": "message",
                        "id": f"msg_{number}",
                        "status": "completed",
                        "role": "assistant",
                        "content": [text],
                    }
                ],
                "parallel_tool_calls": True,
                "tool_choice": "auto",
                "tools": [],
                "usage": {
                    "input_tokens": usage.prompt,
                    "input_tokens_details": {"cached_tokens": usage.cached},
                    "output_tokens": usage.completion,
                    "output_tokens_details": {"reasoning_tokens": usage.reasoning},
                    "total_tokens": usage.prompt + usage.completion,
                },
            },
        )

    def _embeddings(self, request: Json) -> None:
        usage = self._stated(request, embedding_usage(request))
        base64_asked = request.get("encoding_format") == "base64"
        data = [
            {"object": "embedding", "index": index, "embedding": _embedding(text, base64_asked)}
            for index, text in enumerate(_inputs(request))
        ]
        self._answer(
            200,
            {
                "object": "list",
                "model": request["model"],
                "data": data,
                "usage": {"prompt_tokens": usage.prompt, "total_tokens": usage.prompt},
            },
        )

    def _message(self, request: Json) -> None:
        usage = self._stated(request, message_usage(request))
        if request.get("stream"):
            self._stream(_message_events(request, usage))
            return
        self._answer(
            200,
            {
                **_message_head(request),
                "content": [{"type": "text", "text": " ".join(_reply(usage.output))}],
                "stop_reason": "end_turn",
                "usage": _message_usage_json(usage, usage.output),
            },
        )

    def _stated(self, request: Json, usage: _Usage) -> _Usage:
        stated = self.headers.get(_USAGE_HEADER)
        if stated is not None:
            usage = replace(usage, **json.loads(stated))
        cast(_Server, self.server).count(str(request.get("model", "")), usage)
        return usage

    def _answer(self, status: int, content: Json) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, events: Iterable[str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        breaks_after = int(self.headers.get(_BREAK_HEADER, "-1"))
        for number, event in enumerate(events):
            if number == breaks_after:
                self.close_connection = True
                return
            part = event.encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")


def _chat_head(request: Json, kind: str) -> Json:
    model = str(request["model"])
    return {
        "id": f"chatcmpl-{next(_ids)}",
        "object": kind,
        "created": 1_760_000_000,
        "model": _DATED_MODELS.get(model, model),
        "service_tier": "default",
    }


def _chat_chunks(request: Json, usage: ChatUsage) -> Iterator[str]:
    options = cast(Json, request.get("stream_options") or {})
    head = _chat_head(request, "chat.completion.chunk")
    deltas: list[Json] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": text} for text in _parts(_reply(usage.completion - usage.reasoning))]
    for delta in deltas:
        yield _data({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    yield _data({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if options.get("include_usage"):
        yield _data({**head, "choices": [], "usage": _chat_usage_json(usage)})
    yield "data: [DONE]\n\n"


def _chat_usage_json(usage: ChatUsage) -> Json:
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning, "audio_tokens": 0},
    }


def _message_head(request: Json) -> Json:
    model = str(request["model"])
    return {
        "id": f"msg_{next(_ids)}",
        "type": "message",
        "role": "assistant",
        "model": _DATED_MODELS.get(model, model),
        "stop_sequence": None,
    }


def _message_events(request: Json, usage: MessageUsage) -> Iterator[str]:
    start: Json = {**_message_head(request), "content": [], "stop_reason": None, "usage": _message_usage_json(usage, 1)}
    yield _event({"type": "message_start", "message": start})
    yield _event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    for text in _parts(_reply(usage.output)):
        yield _event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})
    yield _event({"type": "content_block_stop", "index": 0})
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    yield _event({"type": "message_delta", "delta": delta, "usage": {"output_tokens": usage.output}})
    yield _event({"type": "message_stop"})


def _message_usage_json(usage: MessageUsage, output: int) -> Json:
    return {
        "input_tokens": usage.input,
        "output_tokens": output,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation_input_tokens": usage.cache_write_5m + usage.cache_write_1h,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_5m,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "service_tier": "standard",
    }


def _data(content: Json) -> str:
    return f"data: {json.dumps(content)}\n\n"


def _event(content: Json) -> str:
    return f"event: {content['type']}\n{_data(content)}"


def _reply(tokens: int) -> list[str]:
    return [_WORDS[index % len(_WORDS)] for index in range(tokens)]


def _parts(words: list[str]) -> Iterator[str]:
    step = max(1, -(-len(words) // _STREAM_PARTS))
    for start in range(0, len(words), step):
        yield " ".join(words[start : start + step]) + " "


def _embedding(text: str, base64_asked: bool) -> list[float] | str:
    vector = [float(sum(text.encode()) % (7 + index)) for index in range(_EMBEDDING_DIMENSIONS)]
    if base64_asked:
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    return vector


def _inputs(request: Mapping[str, Any]) -> list[str]:
    given: object = request.get("input", "")
    return [str(item) for item in cast("list[object]", given)] if isinstance(given, list) else [str(given)]


def _objects(value: object) -> list[Json]:
    return cast("list[Json]", value) if isinstance(value, list) else []


def _blocks(content: object) -> list[Json]:
    """Content blocks of Anthropic, where a plain string is one text block."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else _objects(content)


def _text_of(content: object) -> str:
    return "".join(str(block.get("text", "")) for block in _blocks(content))


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve the wire formats of OpenAI and Anthropic on 127.0.0.1.")
    parser.add_argument("--port", type=int, required=True)
    port: int = parser.parse_args().port
    server = _Server(("127.0.0.1", port), _Handler, [])
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main()
