"""AWS on loopback, and the prices of the calls to it."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.capture.aws.pricing import Prices, priced_calls
from tests.support.moto_server import MotoServer, moto_server


@pytest.fixture(scope="module")
def moto() -> Generator[MotoServer]:
    with moto_server() as server:
        yield server


@pytest.fixture
def prices() -> Generator[Prices]:
    with priced_calls() as prices:
        yield prices
