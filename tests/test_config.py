"""A wrong setting gives one message with place, key, value and choices; a right one is taken as it stands."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from spancost.attribution_rules import AttributionRule
from spancost.config import Config, config_warnings, load_config, unknown_variables
from spancost.config.values import parse_seconds
from spancost.errors import ConfigError
from spancost.prices.book import PriceBook, Rate

_FULL = """
enabled: true
region: eu-central-1
flush_interval: 2s
compute: {machine: "aws:m6i.large", model: cpu, share: 1/4, idle_after: 1m, lease: "off"}
egress: {clients: private}
http: {free_hosts: ["*.svc.cluster.local"]}
ledger: {path: /var/lib/spancost.db}
metrics:
  labels: [team, feature]
  first_value_hold: 0
  prometheus_port: 9465
  max_series_per_metric: 500
sampling: {meter_all: false}
limits: {open_roots: 100, root_quiet: 10m, partial_cost_interval: 5s}
prices:
  - {price: aws.dynamodb.on_demand.write, usd: 0.0000005, unit: WRU, region: eu-central-1, valid_from: 2026-01-01}
"""


def _file(folder: Path, content: str) -> Path:
    path = folder / "spancost.yaml"
    path.write_text(content, encoding="utf-8")
    return path


def test_without_file_and_environment_everything_has_its_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_config(environ={}) == Config()


def test_every_key_of_the_file_is_read(tmp_path: Path) -> None:
    path = _file(tmp_path, _FULL)
    config = load_config(path, environ={})
    assert config.own.overrides[0].usd == Decimal("0.0000005")
    assert (config.compute, config.compute_share, config.idle_after_s) == ("aws:m6i.large", 0.25, 60.0)
    assert config.compute_model == "cpu"
    assert config.labels == ("feature", "team")
    assert (config.max_open_roots, config.max_root_quiet_s, config.partial_cost_interval_s) == (100, 600.0, 5.0)
    assert config.http_free_hosts == ("*.svc.cluster.local",)
    assert (config.egress_clients, config.ledger, config.lease) == ("private", "/var/lib/spancost.db", "off")
    assert (config.prometheus_port, config.first_value_hold_s, config.max_series_per_metric) == (9465, 0.0, 500)
    assert config.meter_all is False
    assert config.place == str(path)


def test_argument_wins_over_environment_and_environment_over_file(tmp_path: Path) -> None:
    path = _file(tmp_path, "region: eu-central-1\nflush_interval: 2s\nledger: {path: a.db}\n")
    environ = {"SPANCOST_REGION": "eu-west-1", "SPANCOST_FLUSH_INTERVAL": "3s"}
    config = load_config(path, environ=environ, region="us-east-1")
    assert (config.region, config.flush_interval_s, config.ledger) == ("us-east-1", 3.0, "a.db")


# content -> what the message says after the file's name
_WRONG_FILES = {
    "unknown key": ("regoin: eu-west-1", r"regoin: 'eu-west-1' is not accepted: unknown key: did you mean 'region'\?"),
    "unknown key of a section": (
        "compute: {machin: a}",
        r"compute\.machin: 'a' is not accepted: unknown key: did you mean 'compute\.machine', .*"
        r"one of compute\.cpu_request, .*, compute\.memory_request, compute\.model, compute\.share$",
    ),
    "value for a section": ("metrics: 5", r"metrics: 5 is not accepted: a section with metrics\.labels, "),
    "wrong duration": ("flush_interval: 5 parsecs", r"flush_interval: '5 parsecs' is not accepted: a duration .*500ms"),
    "share above one": (
        "compute: {share: 3/2}",
        r"compute\.share: '3/2' is not accepted: a share above 0 and at most 1",
    ),
    "unknown compute model": (
        "compute: {model: wall}",
        r"compute\.model: 'wall' is not accepted: one of occupancy, cpu$",
    ),
    "wrong choice": (
        "egress: {clients: everyone}",
        r"egress\.clients: 'everyone' is not accepted: one of auto, internet, private, cdn",
    ),
    "port out of range": (
        "metrics: {prometheus_port: 70000}",
        r"metrics\.prometheus_port: 70000 is not accepted: a port",
    ),
    "unknown label": (
        "metrics: {labels: [colour, tennant]}",
        r"metrics\.labels: \['colour', 'tennant'\] is not accepted: 'colour' is no label: one of feature, ",
    ),
    "region without prices": (
        "region: eu-cental-1",
        r"region: 'eu-cental-1' is not accepted: no prices for this region: did you mean 'eu-central-1'",
    ),
    "unknown machine": (
        "compute: {machine: aws:m6i.larg}",
        r"compute\.machine: 'aws:m6i\.larg' is not accepted: .*m6i\.large",
    ),
    "unknown SKU": (
        "prices: [{price: aws.dynamodb.on_demand.wrte, usd: 1, unit: WRU}]",
        r"prices\[0\]\.price: 'aws\.dynamodb\.on_demand\.wrte' is not accepted: unknown price: "
        r"did you mean 'aws\.dynamodb\.on_demand\.write'",
    ),
    "wrong unit": (
        "prices: [{price: aws.dynamodb.on_demand.write, usd: 1, unit: request}]",
        r"prices\[0\]\.unit: 'request' is not accepted: aws\.dynamodb\.on_demand\.write is priced per WRU",
    ),
    "negative price": (
        "prices: [{price: aws.dynamodb.on_demand.write, usd: -1, unit: WRU}]",
        r"prices\[0\]\.usd: -1 is not accepted: USD per WRU, zero or more",
    ),
    "price that is no number": (
        "prices: [{price: aws.dynamodb.on_demand.write, usd: cheap, unit: WRU}]",
        r"prices\[0\]\.usd: 'cheap' is not accepted: USD per WRU, zero or more",
    ),
    "price without a unit": (
        "prices: [{price: aws.dynamodb.on_demand.write, usd: 1}]",
        r"prices\[0\]\.unit: it is required$",
    ),
    "unknown key of a price": (
        "prices: [{price: aws.dynamodb.on_demand.write, usd: 1, unit: WRU, regon: x}]",
        r"prices\[0\]\.regon: 'x' is not accepted: unknown key: did you mean 'region'",
    ),
    "price in an unknown region": (
        "prices: [{price: aws.dynamodb.on_demand.write, usd: 1, unit: WRU, region: mars}]",
        r"prices\[0\]\.region: 'mars' is not accepted: unknown region: one of ",
    ),
    "price from no date": (
        "prices: [{price: aws.dynamodb.on_demand.write, usd: 1, unit: WRU, valid_from: soon}]",
        r"prices\[0\]\.valid_from: 'soon' is not accepted: a date such as 2026-01-31",
    ),
    "prices that are no list": ("prices: {a: 1}", r"prices: \{'a': 1\} is not accepted: a list of prices"),
    "YAML syntax": ("region: [eu", r"line \d+, column \d+: .* is not accepted: valid YAML"),
    "key that stands twice": (
        "region: eu-west-1\nenabled: true\nregion: us-east-1\n",
        r"line 3: 'region' is not accepted: each key once; it is in line 1 already",
    ),
    "key of a section that stands twice": (
        "compute:\n  share: 1/2\n  share: 1/4\n",
        r"line 3: 'share' is not accepted: each key once; it is in line 2 already",
    ),
    "list for a text": ("region: [eu-west-1]", r"region: \['eu-west-1'\] is not accepted: one text, not a list"),
    "day that is in no calendar": (
        "prices: [{price: aws.sqs.fifo, usd: 1, unit: request, valid_from: 2026-02-30}]",
        r"the file: 'day is out of range for month' is not accepted: days of the calendar",
    ),
    "rules that are no list": (
        "attribution: {rules: {route: a}}",
        r"attribution\.rules: .* is not accepted: a list of",
    ),
    "rule that is no mapping": (
        "attribution: {rules: [a]}",
        r"attribution\.rules\[0\]: 'a' is not accepted: a rule with",
    ),
    "unknown matcher": (
        "attribution: {rules: [{route: /a, feature: a}, {rout: /a, feature: a}]}",
        r"attribution\.rules\[1\]\.rout: '/a' is not accepted: unknown key: did you mean 'route'\?",
    ),
    "rule without a matcher": (
        "attribution: {rules: [{feature: a}]}",
        r"attribution\.rules\[0\]: \{'feature': 'a'\} is not accepted: at least one matcher: one of route, .*"
        r"entrypoint: '\*' is all work",
    ),
    "rule without a target": (
        "attribution: {rules: [{route: /a}]}",
        r"attribution\.rules\[0\]: .* is not accepted: at least one target: one of feature, tenant, team, labels",
    ),
    "matcher that is a list": (
        "attribution: {rules: [{route: [/a], feature: a}]}",
        r"attribution\.rules\[0\]\.route: \['/a'\] is not accepted: a glob such as '/cart/\*'",
    ),
    "method in small letters": (
        "attribution: {rules: [{method: post, feature: a}]}",
        r"attribution\.rules\[0\]\.method: 'post' is not accepted: a method in capital letters",
    ),
    "attribute without a glob": (
        "attribution: {rules: [{span: {app.customer: }, feature: a}]}",
        r"attribution\.rules\[0\]\.span\.app\.customer: None is not accepted: a glob",
    ),
    "span matcher that is no mapping": (
        "attribution: {rules: [{span: app.customer, feature: a}]}",
        r"attribution\.rules\[0\]\.span: 'app\.customer' is not accepted: names of attributes with a glob each",
    ),
    "two references in a value": (
        "attribution: {rules: [{route: /a, tenant: '{a}{b}'}]}",
        r"attribution\.rules\[0\]\.tenant: '\{a\}\{b\}' is not accepted: text with at most one attribute in braces",
    ),
    "reference that is not closed": (
        "attribution: {rules: [{route: /a, labels: {x: '{a'}}]}",
        r"attribution\.rules\[0\]\.labels\.x: '\{a' is not accepted: text with at most one attribute in braces",
    ),
    "free label of a name that is taken": (
        "attribution: {rules: [{route: /a, labels: {team: x}}]}",
        r"attribution\.rules\[0\]\.labels\.team: 'x' is not accepted: no free label of that name",
    ),
    "free label with a wrong name": (
        "attribution: {rules: [{route: /a, labels: {cost center: x}}]}",
        r"attribution\.rules\[0\]\.labels\.cost center: 'cost center' is not accepted: the name of a label",
    ),
    "too many free labels": (
        "attribution: {rules: [{route: /a, labels: {" + ", ".join(f"l{n}: x" for n in range(11)) + "}}]}",
        r"attribution\.rules\[0\]\.labels: .* is not accepted: at most 10 labels",
    ),
    "value that is too long": (
        "attribution: {rules: [{route: /a, team: " + "x" * 201 + "}]}",
        r"attribution\.rules\[0\]\.team: 'x+' is not accepted: at most 200 characters",
    ),
    "baggage that is no list": (
        "attribution: {baggage: tenant}",
        r"attribution\.baggage: 'tenant' is not accepted: a list; each entry is a baggage key such as tenant",
    ),
    "baggage key without a label": (
        "attribution: {baggage: [tenant, {key: customer-id}]}",
        r"attribution\.baggage\[1\]: \{'key': 'customer-id'\} is not accepted: a baggage key such as tenant, or",
    ),
    "baggage key that is no name of a label": (
        "attribution: {baggage: ['customer/id']}",
        r"attribution\.baggage\[0\]: 'customer/id' is not accepted: the name of a label",
    ),
    "levels without end": ("region: " + "[" * 5000, r"the file: 'too deep' is not accepted"),
    "not a mapping": ("- region", r"the file: 'a list' is not accepted: a mapping of keys to values"),
}


_ATTRIBUTION = """
attribution:
  baggage: [tenant, {key: customer-id, label: tenant}, {key: plan, label: plan}]
  rules:
    - {route: "/cart/*", method: POST, feature: checkout, team: web}
    - {entrypoint: "nightly-*", feature: reporting, labels: {cost_center: 4711}}
    - {span: {http.request.header.x_tenant: "*", retried: true}, tenant: "{http.request.header.x_tenant}"}
    - {resource: {service.name: "shop-*"}, team: shop}
"""


def test_rules_and_baggage_keys_are_read_in_their_order(tmp_path: Path) -> None:
    config = load_config(_file(tmp_path, _ATTRIBUTION), environ={})
    assert config.attribution_baggage == (("tenant", "tenant"), ("customer-id", "tenant"), ("plan", "plan"))
    tenant = "http.request.header.x_tenant"
    assert config.attribution_rules == (
        AttributionRule(route="/cart/*", method="POST", feature="checkout", team="web"),
        AttributionRule(entrypoint="nightly-*", feature="reporting", labels=(("cost_center", "4711"),)),
        AttributionRule(span=((tenant, "*"), ("retried", "true")), tenant=f"{{{tenant}}}"),
        AttributionRule(resource=(("service.name", "shop-*"),), team="shop"),
    )


@pytest.mark.parametrize("name", _WRONG_FILES)
def test_wrong_file_is_told_with_place_key_value_and_choices(name: str, tmp_path: Path) -> None:
    content, message = _WRONG_FILES[name]
    path = _file(tmp_path, content)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(path, environ={})
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("SPANCOST_COMPUTE_SHARE", "0", "a share above 0"),
        ("SPANCOST_COMPUTE_MODEL", "CPUs", "one of occupancy, cpu"),
        ("SPANCOST_FLUSH_INTERVAL", "0s", "a duration above zero"),
        ("SPANCOST_ENABLED", "perhaps", "true or false"),
        ("SPANCOST_REGION", "mars", "no prices for this region"),
        ("SPANCOST_LABELS", "tenant,colour", "one of feature, team, tenant"),
        ("SPANCOST_ASSUME", "luck", "a comma-separated subset of compute, region"),
        ("SPANCOST_CONFIG", "/nowhere.yaml", "the path of a readable YAML file"),
    ],
)
def test_wrong_variable_is_told_by_its_name(
    variable: str, value: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(environ={variable: value})
    assert str(caught.value).startswith(f"environment: {variable}: '{value}' is not accepted: ")


def test_unknown_argument_is_told_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match="argument: regoin: 'x' is not accepted: did you mean 'region'"):
        load_config(environ={}, regoin="x")


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), (30, 30.0), ("5m", 300.0), ("1.5h", 5400.0), ("7d", 604800.0)]
)
def test_durations_are_read_with_their_unit(text: object, seconds: float) -> None:
    assert parse_seconds(text) == seconds


def test_unknown_variables_are_told_with_the_nearest_one() -> None:
    found = unknown_variables({"SPANCOST_REGON": "x", "SPANCOST_REGION": "eu-west-1", "PATH": "/bin"})
    assert list(found) == ["SPANCOST_REGON"]
    assert "did you mean 'SPANCOST_REGION'" in found["SPANCOST_REGON"]


def test_every_variable_that_is_read_is_known() -> None:
    from spancost import names

    variables = {value: "x" for name, value in vars(names).items() if name.startswith("ENV_")}
    assert unknown_variables(variables) == {}


def test_an_unknown_variable_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        load_config(environ={"SPANCOST_LEGDER": "a.sqlite"})
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "'SPANCOST_LEDGER'" in record.getMessage()


def test_a_file_with_the_other_ending_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spancost.yml").write_text("region: eu-west-1\n")
    assert load_config(environ={}).region == ""
    assert "spancost.yml is not read: rename it to spancost.yaml" in caplog.text
    assert config_warnings({"SPANCOST_CONFIG": "spancost.yml"}) == []
    assert load_config(environ={"SPANCOST_CONFIG": "spancost.yml"}).region == "eu-west-1"
    (tmp_path / "spancost.yaml").write_text("region: us-east-1\n")
    assert config_warnings({}) == []


def test_an_anchor_may_be_used_twice(tmp_path: Path) -> None:
    path = _file(tmp_path, "prices:\n  - &a {price: aws.dynamodb.on_demand.write, usd: 1, unit: WRU}\n  - *a\n")
    assert len(load_config(path, environ={}).own.overrides) == 2


# --- own prices ---------------------------------------------------------------------------------

_OWN = "prices: [{price: aws.sqs.fifo, usd: 0.0000004, unit: request}]\ndiscounts: [{name: edp, percent: 5}]\n"
_REVIEWED = (
    "prices: [{price: aws.sqs.fifo, usd: 0.0000003, unit: request}]\n"
    "currency: {code: EUR, per_usd: 0.9, date: 2026-11-20}\n"
)


def test_a_prices_file_is_found_beside_the_file_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text(_REVIEWED)
    config = load_config(_file(tmp_path, "prices_file: prices.yaml\n"), environ={})
    assert [override.usd for override in config.own.overrides] == [Decimal("0.0000003")]
    assert config.own.currency is not None
    assert config.own.place == str(tmp_path / "prices.yaml")


def test_the_environment_names_another_prices_file_and_the_entries_of_spancost_yaml_stay(tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text(_REVIEWED)
    reviewed = tmp_path / "reviewed.yaml"
    reviewed.write_text(_REVIEWED)
    path = _file(tmp_path, "prices_file: prices.yaml\n" + _OWN)
    config = load_config(path, environ={"SPANCOST_PRICES": str(reviewed)})
    assert [override.place for override in config.own.overrides] == [str(path), str(reviewed)]
    assert [discount.name for discount in config.own.discounts] == ["edp"]
    rate = config.own.onto(PriceBook.shipped()).price("aws.sqs.fifo", "us-east-1", 1_790_000_000 * 10**9)
    assert isinstance(rate, Rate)
    assert rate.usd == 3e-7


def test_a_prices_file_alone_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.yaml").write_text(_REVIEWED)
    assert len(load_config(environ={"SPANCOST_PRICES": "p.yaml"}).own.overrides) == 1


def test_a_missing_prices_file_is_told_with_the_setting_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"environment: SPANCOST_PRICES: '/none\.yaml' is not accepted: the path of"):
        load_config(environ={"SPANCOST_PRICES": "/none.yaml"})
    path = _file(tmp_path, "prices_file: none.yaml\n")
    with pytest.raises(ConfigError, match=r"spancost\.yaml: prices_file: .*none\.yaml' is not accepted"):
        load_config(path, environ={})


def test_a_mistake_in_a_prices_file_names_that_file(tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text("region: eu-west-1\n")
    with pytest.raises(ConfigError, match=r"prices\.yaml: region: 'eu-west-1' is not accepted: unknown key"):
        load_config(_file(tmp_path, "prices_file: prices.yaml\n"), environ={})


def test_models_discounts_and_rules_may_stand_in_spancost_yaml(tmp_path: Path) -> None:
    content = """
models: [{model: prod-chat, same_as: openai/gpt-4o}]
http_rules: [{host: api.example.com, path: /v1/*, provider: example, operation: call, usd: 0.002, unit: request}]
"""
    own = load_config(_file(tmp_path, content), environ={}).own
    assert (own.models[0].model, own.http_rules[0].host) == ("prod-chat", "api.example.com")


@pytest.mark.parametrize(
    ("variable", "value", "accepted"),
    [
        ("SPANCOST_FIRST_VALUE_HOLD", "9" * 400, "a duration of at most 100 years"),
        ("SPANCOST_FLUSH_INTERVAL", "101000d", "a duration of at most 100 years"),
        ("SPANCOST_MEMORY_REQUEST", "9" * 400, "an amount of memory"),
        ("SPANCOST_CPU_REQUEST", "9" * 400, "a number of vCPUs"),
        ("SPANCOST_PROMETHEUS_PORT", "²", "a port number"),
        ("SPANCOST_PROMETHEUS_PORT", "9" * 5000, "a port number"),
        ("SPANCOST_PRICES", "x" * 5000, "the path of a readable YAML file"),
        ("SPANCOST_CONFIG", "x" * 5000, "the path of a readable YAML file"),
        ("SPANCOST_CONFIG", "a\x00b", "the path of a readable YAML file"),
    ],
)
def test_values_beyond_all_measure_are_refused_by_the_name_of_their_variable(
    variable: str, value: str, accepted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=accepted) as caught:
        load_config(environ={variable: value})
    assert caught.value.key == variable


@pytest.mark.parametrize("count", ["²", "9" * 5000, str(10**19)])
def test_counts_of_strange_digits_are_refused(count: str, tmp_path: Path) -> None:
    path = _file(tmp_path, f"limits: {{open_roots: '{count}'}}")
    with pytest.raises(ConfigError, match="a whole number from 1"):
        load_config(path, environ={})


def test_an_empty_key_is_shown(tmp_path: Path) -> None:
    path = _file(tmp_path, "? ''\n: 5\n")
    with pytest.raises(ConfigError, match=r"spancost\.yaml: '': 5 is not accepted: unknown key"):
        load_config(path, environ={})
