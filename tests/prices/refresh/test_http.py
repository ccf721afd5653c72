"""Azure, GCP and genai-prices, answered by a local server in the shapes that they have."""

from __future__ import annotations

import copy
import json
from collections.abc import Generator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from spancost.prices.book import PriceBook
from spancost.prices.refresh import Refreshed, RefreshError, azure, gcp, get_json, llm
from tests.support.json_server import JsonServer, json_server

_SAMPLES = Path(__file__).parents[2] / "data" / "prices"
_BOOK = PriceBook.shipped()
_TODAY = date(2026, 11, 21)
_NOW_NS = int(datetime(2026, 11, 21, tzinfo=UTC).timestamp()) * 10**9
_D2S = "azure.vm.Standard_D2s_v5"


@pytest.fixture
def server() -> Generator[JsonServer]:
    """Serve JSON on a loopback port."""
    with json_server() as made:
        yield made


# --- the client ---------------------------------------------------------------------------------


def test_an_overloaded_server_is_asked_again(server: JsonServer) -> None:
    server.answers = [503, 429, {"fine": 1}]
    assert get_json(f"{server.url}/prices", pause_s=0) == {"fine": 1}
    assert len(server.asked) == 3


def test_a_server_that_stays_overloaded_is_an_error(server: JsonServer) -> None:
    server.answers = [503]
    with pytest.raises(RefreshError, match=r"^127\.0\.0\.1/prices: status 503$"):
        get_json(f"{server.url}/prices", pause_s=0, attempts=2)
    assert len(server.asked) == 2


def test_a_refusal_is_not_asked_again(server: JsonServer) -> None:
    server.answers = [403]
    with pytest.raises(RefreshError, match="status 403"):
        get_json(server.url, pause_s=0)
    assert len(server.asked) == 1


def test_an_answer_that_is_no_json_is_an_error(server: JsonServer) -> None:
    server.answers = [b"<html>"]
    with pytest.raises(RefreshError, match="no JSON"):
        get_json(server.url, pause_s=0)


def test_nobody_there_is_an_error() -> None:
    with json_server() as gone:
        url = gone.url
    with pytest.raises(RefreshError, match=r"127\.0\.0\.1"):
        get_json(url, pause_s=0, attempts=1)


@pytest.mark.parametrize("url", ["http://prices.example/x", "file:///etc/passwd", "ftp://prices.example"])
def test_only_https_is_used_beyond_this_machine(url: str) -> None:
    with pytest.raises(RefreshError, match="https is needed"):
        get_json(url)


def test_prices_keep_their_digits(server: JsonServer) -> None:
    server.answers = [b'{"usd": 0.1000000000000000055}']
    assert get_json(server.url) == {"usd": Decimal("0.1000000000000000055")}


# --- Azure --------------------------------------------------------------------------------------


def _azure_page() -> dict[str, Any]:
    return json.loads((_SAMPLES / "azure_retail_prices.json").read_text()) | {"NextPageLink": None}


def _azure_row(**changed: Any) -> dict[str, Any]:
    return _azure_page()["Items"][1] | changed


def _azure(server: JsonServer, *regions: str) -> Refreshed:
    return azure.refresh(_BOOK, regions, _TODAY, _NOW_NS, url=f"{server.url}/api/retail/prices", pause_s=0)


def test_a_linux_machine_is_found_and_the_spot_row_is_not(server: JsonServer) -> None:
    server.answers = [_azure_page(), {"Items": []}]
    # The first question gets the sample, whatever machine it is for.
    found = _azure(server)
    ((price_id, (record,)),) = found.records.items()
    assert price_id.startswith("azure.vm.")
    assert (record.usd, record.regions, record.valid_from) == (Decimal("0.096"), ("eastus",), date(2021, 11, 1))
    assert record.origin == "azure-retail-prices"


def test_each_machine_is_one_question_for_pay_as_you_go_prices(server: JsonServer) -> None:
    server.answers = [{"Items": []}]
    found = _azure(server)
    filters = [asked.query["$filter"][0] for asked in server.asked]
    assert (
        "serviceName eq 'Virtual Machines' and armSkuName eq 'Standard_D2s_v5' and priceType eq 'Consumption'"
        in filters
    )
    assert len(filters) == len([price_id for price_id in _BOOK.price_ids() if price_id.startswith("azure.vm.")])
    assert found.missing[_D2S] == "no Linux pay-as-you-go price"


@pytest.mark.parametrize(
    "changed",
    [
        {"productName": "Virtual Machines Dsv5 Series Windows"},
        {"skuName": "D2s v5 Spot"},
        {"meterName": "D2s v5 Low Priority"},
        {"type": "Reservation"},
        {"currencyCode": "EUR"},
        {"unitOfMeasure": "1 Month"},
        {"retailPrice": 0},
        {"retailPrice": "cheap"},
        {"effectiveStartDate": None},
        {"tierMinimumUnits": 100.0},
        {"armRegionName": "mars"},
    ],
)
def test_rows_of_another_kind_are_left_out(changed: dict[str, Any], server: JsonServer) -> None:
    server.answers = [{"Items": [_azure_row(**changed)]}]
    assert _azure(server).records == {}


def test_the_next_page_is_read_on_the_same_host_only(server: JsonServer) -> None:
    following = f"{server.url}/api/retail/prices?$skip=1000"
    server.answers = [
        {"Items": [_azure_row()], "NextPageLink": following},
        {"Items": [_azure_row(armRegionName="westeurope", retailPrice=0.115)]},
        {"Items": []},
    ]
    (records,) = _azure(server).records.values()
    assert {record.regions[0]: record.usd for record in records} == {
        "eastus": Decimal("0.096"),
        "westeurope": Decimal("0.115"),
    }
    server.answers = [{"Items": [], "NextPageLink": "https://elsewhere.example/steal"}]
    with pytest.raises(RefreshError, match="another host"):
        _azure(server)


def test_an_azure_answer_without_items_is_an_error(server: JsonServer) -> None:
    server.answers = [[1, 2]]
    with pytest.raises(RefreshError, match="no list of items"):
        _azure(server)


# --- GCP ----------------------------------------------------------------------------------------

_SAMPLE_SKU: dict[str, Any] = json.loads((_SAMPLES / "gcp_billing_catalog.json").read_text())["skus"][0]


def _sku(description: str, nanos: int, unit: str, *regions: str, usage: str = "OnDemand") -> dict[str, Any]:
    sku = copy.deepcopy(_SAMPLE_SKU)
    sku |= {"description": description, "skuId": description[:8], "serviceRegions": list(regions or ("us-central1",))}
    sku["category"]["usageType"] = usage
    expression = sku["pricingInfo"][0]["pricingExpression"]
    expression["usageUnit"] = unit
    expression["tieredRates"][0]["unitPrice"]["nanos"] = nanos
    return sku


_CORE = _sku("E2 Instance Core running in Americas", 21_811_590, "h")
_RAM = _sku("E2 Instance Ram running in Americas", 2_923_530, "GiBy.h")


@pytest.fixture
def gcp_api(server: JsonServer, monkeypatch: pytest.MonkeyPatch) -> JsonServer:
    """Stand in for the GCP Billing Catalog."""
    monkeypatch.setenv(gcp.ENV_KEY, "secret-key")
    return server


def _gcp(server: JsonServer, *regions: str) -> Refreshed:
    return gcp.refresh(_BOOK, regions, _TODAY, _NOW_NS, url=server.url, pause_s=0)


def test_a_machine_is_its_cores_and_its_memory(gcp_api: JsonServer) -> None:
    gcp_api.answers = [{"skus": [_CORE, _RAM], "nextPageToken": ""}]
    (record,) = _gcp(gcp_api).records["gcp.gce.e2-standard-2"]
    assert record.usd == 2 * Decimal("0.02181159") + 8 * Decimal("0.00292353")
    assert (record.regions, record.origin, record.valid_from) == (("us-central1",), "gcp-catalog", date(2023, 3, 24))


def test_the_published_prices_of_e2_come_to_the_price_of_the_book(gcp_api: JsonServer) -> None:
    gcp_api.answers = [{"skus": [_CORE, _RAM]}]
    found = _gcp(gcp_api)
    for price_id in ("gcp.gce.e2-standard-4", "gcp.gce.e2-standard-16"):
        shipped = _BOOK.records(price_id)[0].usd
        (record,) = found.records[price_id]
        assert record.usd is not None
        assert shipped is not None
        assert abs(record.usd - shipped) < Decimal("0.0001")


def test_machines_of_shared_cores_are_named_as_not_refreshed(gcp_api: JsonServer) -> None:
    gcp_api.answers = [{"skus": [_CORE, _RAM]}]
    found = _gcp(gcp_api)
    assert "gcp.gce.e2-micro" in found.missing
    assert "gcp.gce.n2-standard-2" in found.missing


def test_spot_other_families_and_custom_machines_are_left_out(gcp_api: JsonServer) -> None:
    others = [
        _sku("Spot Preemptible E2 Instance Core running in Americas", 1, "h", usage="Preemptible"),
        _sku("E2 Instance Core running in Americas", 1, "h", usage="Preemptible"),
        _sku("N2 Custom Instance Core running in Americas", 1, "h"),
        _SAMPLE_SKU,
        {"description": 5},
        {},
    ]
    gcp_api.answers = [{"skus": [*others, _CORE, _RAM]}]
    (record,) = _gcp(gcp_api).records["gcp.gce.e2-standard-2"]
    assert record.usd == 2 * Decimal("0.02181159") + 8 * Decimal("0.00292353")


def test_two_prices_for_the_same_core_are_none(gcp_api: JsonServer) -> None:
    gcp_api.answers = [{"skus": [_CORE, _sku("E2 Instance Core running in Iowa", 30_000_000, "h"), _RAM]}]
    assert _gcp(gcp_api).records == {}


def test_the_key_is_sent_as_a_header_and_is_in_no_address_and_no_message(gcp_api: JsonServer) -> None:
    gcp_api.answers = [{"skus": [], "nextPageToken": "two"}, 403]
    with pytest.raises(RefreshError) as caught:
        _gcp(gcp_api)
    assert "secret-key" not in str(caught.value)
    assert [asked.headers["x-goog-api-key"] for asked in gcp_api.asked] == ["secret-key", "secret-key"]
    assert "secret-key" not in str([(asked.path, asked.query) for asked in gcp_api.asked])
    assert gcp_api.asked[1].query["pageToken"] == ["two"]


def test_without_a_key_it_says_which_variable_to_set(server: JsonServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(gcp.ENV_KEY, raising=False)
    with pytest.raises(RefreshError, match="set GOOGLE_API_KEY"):
        _gcp(server)
    assert server.asked == []


# --- models -------------------------------------------------------------------------------------

_PROVIDER: dict[str, Any] = {
    "id": "acme",
    "name": "Acme",
    "api_pattern": "https://api\\.acme\\.example",
    "models": [{"id": "acme-1", "match": {"equals": "acme-1"}, "prices": {"input_mtok": 0.25, "output_mtok": 2}}],
}


def test_published_model_prices_are_fetched_and_readable(server: JsonServer) -> None:
    server.answers = [[_PROVIDER]]
    found = llm.fetch(_TODAY, url=f"{server.url}/data.json", pause_s=0)
    assert found.models == {("acme", "acme-1"): {"input_mtok": 0.25, "output_mtok": 2}}
    assert json.loads(found.content) == {"date": "2026-11-21", "providers": [_PROVIDER]}


@pytest.mark.parametrize("answer", [[], {}, [{"id": "acme"}], [5], "x"])
def test_data_that_genai_prices_cannot_read_are_an_error(answer: Any, server: JsonServer) -> None:
    server.answers = [answer]
    with pytest.raises(RefreshError):
        llm.fetch(_TODAY, url=f"{server.url}/data.json", pause_s=0)
