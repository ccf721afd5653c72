"""Routes of a small Django application."""

from __future__ import annotations

from collections.abc import Iterator

from django.http import HttpRequest, StreamingHttpResponse
from django.urls import path

from spancost import add_usage


def _items(request: HttpRequest, item: int) -> StreamingHttpResponse:
    def body() -> Iterator[str]:
        yield "begun "
        add_usage("work", 1, "unit", 0.5)
        yield str(item)

    return StreamingHttpResponse(body())


urlpatterns = [path("items/<int:item>", _items)]
