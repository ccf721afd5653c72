"""`spancost prices refresh`: fetch list prices from the vendors into the cache that processes read at their start."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from spancost import names
from spancost._files import replace_file
from spancost.cli._ledger import Format, fail
from spancost.cli.prices_check import show_changes
from spancost.config import load_config
from spancost.errors import ConfigError, PriceBookError, suggest
from spancost.prices.book import PriceBook
from spancost.prices.cache import (
    LLM_FILE,
    OFF,
    Cache,
    CacheFile,
    cache_folder,
    merge,
    read_file,
    write_file,
)
from spancost.prices.changes import changes
from spancost.prices.refresh import Progress as Report
from spancost.prices.refresh import Refreshed, RefreshError

_SHOWN_MISSING = 5


class Source(StrEnum):
    """Whose prices can be fetched."""

    AWS = "aws"
    AZURE = "azure"
    GCP = "gcp"
    LLM = "llm"


def refresh(
    source: Annotated[Source, typer.Argument(metavar="SOURCE", help="aws, azure, gcp or llm.")],
    region: Annotated[
        list[str] | None, typer.Option("--region", metavar="REGION", help="Only this region; may be repeated.")
    ] = None,
    url: Annotated[
        str,
        typer.Option(metavar="URL", help="Another address of the price list, such as a mirror."),
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and write nothing.")] = False,
    output: Annotated[Format, typer.Option("--format", metavar="FORMAT", help="table, json or csv.")] = Format.TABLE,
) -> None:
    """Fetch list prices and show which changed. Processes take them at their next start.

    aws needs boto3 and credentials that may call pricing:GetProducts (free); gcp an API key in GOOGLE_API_KEY; azure
    and llm need nothing. If anything fails, nothing is written.

    Example: spancost prices refresh aws --region eu-west-1 --dry-run
    """
    folder = _folder()
    if source is Source.LLM:
        _refresh_llm(folder / LLM_FILE, url, dry_run=dry_run)
        return
    book = PriceBook.shipped()
    regions = region or []
    for name in regions:
        if name not in book.regions(source.value):
            fail(f"--region {name!r}: {suggest(name, book.regions(source.value))}")
    path = folder / f"{source.value}.json"
    old = _old(path, book)
    known = book if old is None else Cache(records=old.records).onto(book)
    now = datetime.now(UTC)
    now_ns = time.time_ns()
    try:
        with _progress() as report:
            found = _function(source)(known, regions, now.date(), now_ns, url=url, progress=report)
    except RefreshError as error:
        fail(f"{error}. Nothing was changed.")
    if not found.records:
        fail(f"{source.value} answered, but with no price that the book has. Nothing was changed.")
    after = Cache(records=found.records if old is None else merge(old.records, found.records)).onto(book)
    show_changes(changes(known, after, now_ns, now_ns, kind="list", price_ids=found.records), output)
    if not dry_run:
        try:
            write_file(path, source.value, f"{now:%Y-%m-%dT%H:%M:%SZ}", found.records, old=old)
        except OSError as error:
            fail(f"{path}: {error.strerror}. Nothing was changed.")
    _say(found, book, source, "would be written to" if dry_run else "written to", path)


def _folder() -> Path:
    try:
        setting = load_config().prices_cache
    except ConfigError as error:
        fail(str(error))
    folder = cache_folder(setting)
    if folder is None:
        fail(f"refreshed prices are switched {OFF}: set prices_cache or {names.ENV_PRICES_CACHE} to a folder")
    return folder


def _old(path: Path, book: PriceBook) -> CacheFile | None:
    """Return what was refreshed before; a broken file is replaced."""
    try:
        return read_file(path, book)
    except FileNotFoundError:
        return None
    except (PriceBookError, OSError) as error:
        typer.echo(f"spancost: {error}: it is replaced", err=True)
        return None


def _function(source: Source) -> Callable[..., Refreshed]:
    if source is Source.AWS:
        from spancost.prices.refresh.aws import refresh as fetch
    elif source is Source.AZURE:
        from spancost.prices.refresh.azure import refresh as fetch
    else:
        from spancost.prices.refresh.gcp import refresh as fetch
    return fetch


@contextmanager
def _progress() -> Generator[Report]:
    """Show how far it is, on a terminal only."""
    out = Console(stderr=True)
    columns: tuple[Any, ...] = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task("asking", total=None)

        def report(what: str, done: int, total: int) -> None:
            bar.update(task, description=what or "done", completed=done, total=total)

        yield report


def _say(found: Refreshed, book: PriceBook, source: Source, written: str, path: Path) -> None:
    count = sum(len(records) for records in found.records.values())
    typer.echo(f"{count} prices of {len(found.records)} ids {written} {path}", err=True)
    for price_id, why in list(found.missing.items())[:_SHOWN_MISSING]:
        typer.echo(f"not taken: {price_id}: {why}", err=True)
    if len(found.missing) > _SHOWN_MISSING:
        typer.echo(f"not taken: {len(found.missing) - _SHOWN_MISSING} more", err=True)
    rest = [
        price_id
        for price_id in book.price_ids()
        if price_id.startswith(f"{source.value}.") and price_id not in found.records and price_id not in found.missing
    ]
    if rest:
        typer.echo(f"{len(rest)} ids have no query yet and keep their shipped price, such as {rest[0]}", err=True)


def _refresh_llm(path: Path, url: str, *, dry_run: bool) -> None:
    from spancost.prices.refresh.llm import fetch, models_of

    try:
        with _progress():
            new = fetch(datetime.now(UTC).date(), url=url)
        old = models_of(path.read_bytes()) if path.is_file() else None
    except RefreshError as error:
        fail(f"{error}. Nothing was changed.")
    except OSError as error:
        fail(f"{path}: {error.strerror}")
    if old is not None:
        added = [key for key in new.models if key not in old]
        gone = [key for key in old if key not in new.models]
        changed = [key for key in new.models if key in old and old[key] != new.models[key]]
        for what, keys in (("new", added), ("changed", changed), ("gone", gone)):
            for provider, model in keys:
                typer.echo(f"{what}: {provider}/{model}")
    if not dry_run:
        try:
            replace_file(path, new.content)
        except OSError as error:
            fail(f"{path}: {error.strerror}. Nothing was changed.")
    typer.echo(f"{len(new.models)} models {'would be ' if dry_run else ''}written to {path}", err=True)
