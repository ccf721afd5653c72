"""The three stores, each with a second one that shares its content where that is possible."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spancost.budgets.store import Store
from spancost.budgets.stores.memory import MemoryStore
from spancost.budgets.stores.redis import RedisStore
from spancost.budgets.stores.sqlite import SqliteStore
from tests.support.redis_server import RedisServer

NEW_STORE = Callable[[], Store]
NAMES = ("memory", "sqlite", "redis")
_namespaces = (f"test-{number}" for number in itertools.count())


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=NAMES)
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NEW_STORE]:
    """Makes stores that share one content, as several processes do; in memory it is always the same one."""
    opened: list[Store] = []
    memory = MemoryStore()
    namespace = next(_namespaces)

    def make() -> Store:
        if request.param == "memory":
            return memory
        if request.param == "sqlite":
            store: Store = SqliteStore(tmp_path / "budgets.sqlite")
        else:
            store = RedisStore(request.getfixturevalue("redis_server").url, namespace=namespace, timeout_s=10.0)
        opened.append(store)
        return store

    if request.param == "redis":
        request.getfixturevalue("redis_server")
    yield make
    for store in opened:
        store.close()


@pytest.fixture
def store(new_store: NEW_STORE) -> Store:
    return new_store()
