"""Every attribute, metric and environment name that spancost reads or writes, once.

Attribute names of OpenTelemetry itself are repeated here as plain strings: importing the
semantic-convention modules costs more start-up time than spancost may take.
"""

from __future__ import annotations

from typing import Final

# --- components: the parts a price can belong to ------------------------------------------------

COMPUTE: Final = "compute"
"""The span's share of the machine it ran on."""
EGRESS: Final = "egress"
"""Bytes that left the cloud: responses of servers, uploads of clients."""
AWS: Final = "aws"
"""Calls of AWS services by boto3."""
LLM: Final = "llm"
"""Tokens of language models."""
HTTP: Final = "http"
"""Calls of third-party HTTP APIs."""
CUSTOM: Final = "custom"
"""What no other component covers."""
OCCUPANCY_MODEL: Final = "occupancy"
CPU_MODEL: Final = "cpu"
COMPUTE_MODELS: Final = (OCCUPANCY_MODEL, CPU_MODEL)
"""How the time of a machine is given to spans."""

COMPONENTS: Final = (COMPUTE, EGRESS, AWS, LLM, HTTP, CUSTOM)

# --- status of a charge -------------------------------------------------------------------------

PRICED: Final = "priced"
"""Quantity and rate are both known."""
ESTIMATED: Final = "estimated"
"""A quantity or circumstance was assumed; `basis` says which."""
FREE: Final = "free"
"""Known to cost nothing."""
DUPLICATE: Final = "duplicate"
"""The same real call is charged on another span."""
UNPRICED: Final = "unpriced"
"""Not known; `reason` says why. Never counted as zero dollars of certainty."""
STATUSES: Final = (PRICED, ESTIMATED, FREE, DUPLICATE, UNPRICED)
STATUS_RANK: Final = {UNPRICED: 4, ESTIMATED: 3, PRICED: 2, DUPLICATE: 1, FREE: 0}
"""Of several charges of a span the one with the highest rank is told."""

# --- span attributes written --------------------------------------------------------------------

DIRECT_USD: Final = "spancost.direct.usd"
"""double, USD. Cost of the span itself. On every span that was charged."""
TOTAL_USD: Final = "spancost.total.usd"
"""double, USD. Cost of the span and of everything below it in this process, up to its end."""
TOTAL_NANO_USD: Final = "spancost.total.nano_usd"
"""int64, 1e-9 USD. The total again, on local roots: tail sampling of the Collector compares whole numbers only."""
STATUS: Final = "spancost.status"
"""string. How sure the figure is: a status of the table below."""
REASON: Final = "spancost.reason"
"""string. Why something is `unpriced`."""
SOURCE: Final = "spancost.source"
"""string. Where the price is from, and its date."""
BASIS: Final = "spancost.basis"
"""string. What was assumed, on a charge that is `estimated`; several with commas."""
COMPONENT_USD: Final = {component: f"spancost.{component}.usd" for component in COMPONENTS}
"""double, USD. The total of a local root by component."""
GEN_AI_USAGE_COST: Final = "gen_ai.usage.cost"
"""double, USD. Direct cost of an LLM span, under the name that LLM tools read."""
OPERATION_COST: Final = "operation.cost"
"""double, USD. Direct cost of a call (AWS, LLM, HTTP), under a name that other tools read."""

# --- span attributes read and written for attribution -------------------------------------------

FEATURE: Final = "spancost.feature"
"""string. What the work is for."""
TENANT: Final = "spancost.tenant"
"""string. Whom it is for."""
TEAM: Final = "spancost.team"
"""string. Who answers for it."""
LABEL_PREFIX: Final = "spancost.label."
"""string. A free label, its name behind the prefix."""

BUDGETS: Final = "spancost.budgets"
"""string[]. On local roots: budget rules about this request that are not ok, as `rule:state`."""
GUARD_ACTION: Final = "spancost.guard.action"
"""string. What a guard has decided about the span's call or request: `allow`, `throttle` or `block`."""
GUARD_RULE: Final = "spancost.guard.rule"
"""string. The rule that has decided."""
GUARD_REASON: Final = "spancost.guard.reason"
"""string. Why it has decided so, one word such as `exhausted`."""

# --- the exporter plugin -------------------------------------------------------------------------

EXPORTER: Final = "exporter"
"""Why compute has no price where an exporter charges finished spans."""

# --- labels -------------------------------------------------------------------------------------

NO_ROUTE: Final = "(no route)"
"""Constant label for HTTP requests that matched no route: raw paths are never kept."""
OTHER: Final = "other"
"""Where everything beyond a cap goes; sums stay whole."""

COST_LABELS: Final = (
    "component",
    "provider",
    "operation",
    "model",
    "http_route",
    "http_request_method",
    "entrypoint",
)
ATTRIBUTION_LABELS: Final = ("feature", "tenant", "team")
REQUEST_LABELS: Final = ("http_route", "http_request_method", "entrypoint", "outcome")

# --- metrics ------------------------------------------------------------------------------------

USD_UNIT: Final = "{USD}"
METRIC_COST: Final = "spancost.cost.usd"
METRIC_ATTRIBUTED: Final = "spancost.attributed.cost.usd"
METRIC_REQUESTS: Final = "spancost.requests"
METRIC_REQUEST_COST: Final = "spancost.request.cost.usd"
METRIC_USAGE: Final = "spancost.usage"
METRIC_IDLE: Final = "spancost.idle.cost.usd"
METRIC_LATE: Final = "spancost.late.cost.usd"
METRIC_UNATTRIBUTED: Final = "spancost.unattributed.cost.usd"
METRIC_SPANS: Final = "spancost.spans"
METRIC_UNPRICED: Final = "spancost.unpriced"
METRIC_DUPLICATES: Final = "spancost.duplicates"
METRIC_ESTIMATED: Final = "spancost.estimated.cost.usd"
METRIC_INTERNAL_ERRORS: Final = "spancost.internal.errors"
METRIC_INTERNAL_EVICTIONS: Final = "spancost.internal.evictions"
METRIC_INTERNAL_OTHER: Final = "spancost.internal.series.other"
METRIC_INTERNAL_QUEUE: Final = "spancost.internal.queue.length"
METRIC_INTERNAL_FLUSH_TIME: Final = "spancost.internal.last.flush.timestamp"
METRIC_INTERNAL_FLUSH_OK: Final = "spancost.internal.last.flush.success"
METRIC_INTERNAL_SAMPLED_ONLY: Final = "spancost.internal.sampled.only"
METRIC_INTERNAL_COMPUTE_DEBT: Final = "spancost.internal.compute.debt"
METRIC_INTERNAL_PRICE_AGE: Final = "spancost.internal.price.age"
METRIC_INTERNAL_ALERTS: Final = "spancost.internal.alerts"
METRIC_INTERNAL_BUILD: Final = "spancost.internal.build"

METRIC_BUDGET_SPEND: Final = "spancost.budget.spend.usd"
METRIC_BUDGET_LIMIT: Final = "spancost.budget.limit.usd"
METRIC_BUDGET_USED: Final = "spancost.budget.used.ratio"
METRIC_BUDGET_STATE: Final = "spancost.budget.state"
METRIC_BUDGET_INCOMPLETE: Final = "spancost.budget.incomplete"
METRIC_BUDGET_FORECAST: Final = "spancost.budget.forecast.usd"
METRIC_BUDGET_BURN_RATE: Final = "spancost.budget.burn.rate"
BUDGET_LABELS: Final = ("budget", "key")

REPORT_COST_USD: Final = "spancost_report_cost_usd"
"""Gauges of `spancost report --format prometheus`, under the names that Prometheus has them."""
REPORT_IDLE_COST_USD: Final = "spancost_report_idle_cost_usd"
REPORT_REQUESTS: Final = "spancost_report_requests"
REPORT_UNPRICED: Final = "spancost_report_unpriced_charges"
REPORT_USD_PER_MONTH: Final = "spancost_report_usd_per_month"

REQUEST_COST_BUCKETS_USD: Final = (
    1e-7,
    3e-7,
    1e-6,
    3e-6,
    1e-5,
    3e-5,
    1e-4,
    3e-4,
    1e-3,
    3e-3,
    1e-2,
    3e-2,
    0.1,
    1.0,
    10.0,
)
"""Upper bounds of the request-cost histogram: 15 bounds, 16 buckets with +Inf."""

# --- environment --------------------------------------------------------------------------------

ENV_CONFIG: Final = "SPANCOST_CONFIG"
"""Path of `spancost.yaml`. Without it, `./spancost.yaml` is read if it exists."""
ENV_ENABLED: Final = "SPANCOST_ENABLED"
"""`false` keeps spancost idle under `opentelemetry-instrument`."""
ENV_COMPUTE: Final = "SPANCOST_COMPUTE"
"""What the process runs on: `aws:m6i.large`, `fargate:1vcpu-2gb`, `0.096usd/h`."""
ENV_COMPUTE_MODEL: Final = "SPANCOST_COMPUTE_MODEL"
"""`cpu` gives each span the CPU time measured for it; `occupancy`, the default, splits the time of the machine."""
ENV_COMPUTE_SHARE: Final = "SPANCOST_COMPUTE_SHARE"
"""Share of that machine that belongs to this process, for example `1/4`."""
ENV_REGION: Final = "SPANCOST_REGION"
"""Cloud region used for prices when a span or the resource names none."""
ENV_LEDGER: Final = "SPANCOST_LEDGER"
"""Path of the SQLite ledger; empty means no ledger."""
ENV_LEASE: Final = "SPANCOST_LEASE"
"""Path of the lease file through which processes of one machine share its price; `off` for none."""
ENV_FLUSH_INTERVAL: Final = "SPANCOST_FLUSH_INTERVAL"
"""Seconds between two writes of counters and ledger by the background thread."""
ENV_FIRST_VALUE_HOLD: Final = "SPANCOST_FIRST_VALUE_HOLD"
"""Seconds for which a new counter series reads 0."""
ENV_PROMETHEUS_PORT: Final = "SPANCOST_PROMETHEUS_PORT"
"""Serve an own `/metrics` on this port (`OTEL_EXPORTER_PROMETHEUS_HOST`, loopback unless set)."""
ENV_LABELS: Final = "SPANCOST_LABELS"
"""Comma-separated subset of `feature,tenant,team` kept on metrics; all by default."""
ENV_BUDGET_STORE: Final = "SPANCOST_BUDGET_STORE"
"""Where the sums of budgets are kept: `auto`, `memory`, `sqlite:PATH`, `redis://HOST:PORT/DB`, `unix:///SOCKET`,
`redis-env:NAME`, `redis-file:PATH`."""
ENV_ENFORCE: Final = "SPANCOST_ENFORCE"
"""`llm,aws`, or one of them: each such call of the known clients is guarded by its budgets; off by default."""
ENV_ASSUME: Final = "SPANCOST_ASSUME"
"""`compute,region` given by `spancost run` when nothing is known: figures are marked `estimated`."""
ENV_METER_ALL: Final = "SPANCOST_METER_ALL"
"""`false` leaves the sampler alone: only sampled spans are metered then."""
ENV_DETECT: Final = "SPANCOST_DETECT"
"""`off` never asks container or cloud metadata what the process runs on."""
ENV_CPU_REQUEST: Final = "SPANCOST_CPU_REQUEST"
"""vCPUs that the container asked for (`500m`, `0.5`), for example from the Downward API."""
ENV_MEMORY_REQUEST: Final = "SPANCOST_MEMORY_REQUEST"
"""Memory that the container asked for (`512Mi`, bytes), for example from the Downward API."""
ENV_ENTRYPOINT: Final = "SPANCOST_ENTRYPOINT"
"""What calls without a parent are done for: the name of a script. `spancost run -- python SCRIPT` sets it."""
ENV_EGRESS_CLIENTS: Final = "SPANCOST_EGRESS_CLIENTS"
"""Who receives responses: `auto`, `internet`, `private` or `cdn`."""
ENV_INJECT_CONSUMED_CAPACITY: Final = "SPANCOST_INJECT_CONSUMED_CAPACITY"
"""`true` has DynamoDB report the capacity of each call; the application does not see it."""
ENV_ESTIMATE_TOKENS: Final = "SPANCOST_ESTIMATE_TOKENS"
"""`characters` or `tiktoken`: estimate the tokens of LLM calls without usage from the texts on their spans."""
ENV_PRICES: Final = "SPANCOST_PRICES"
"""Path of a file with your own prices, discounts and models; beside or instead of `prices:` in `spancost.yaml`."""
ENV_PRICES_CACHE: Final = "SPANCOST_PRICES_CACHE"
"""Folder of the prices that `spancost prices refresh` wrote; `off` to use the shipped ones only."""
