"""Measure finished spans one by one: which meter, what it charges, and under which labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, Final, NamedTuple, Self

from spancost import names
from spancost._guard import ErrorLog, logger
from spancost.attribution import from_attributes, names_label
from spancost.attribution_rules import NOT_RULED, AttributionRules, BoundRules, Ruled
from spancost.charge import CONSUMER, NO_FACTS, PRODUCER, SERVER, Charge, SpanView, new_view
from spancost.config import Config
from spancost.detect import Surroundings
from spancost.detect.metadata import Services
from spancost.entry_labels import NAMING_ATTRIBUTES, PROCESS, RECEIVE, final_labels, message_step, takes_process_name
from spancost.meters import UsageMeter
from spancost.meters.choice import component_of, lacks_usage, meter_error, without_usage
from spancost.meters.custom import CustomMeter
from spancost.meters.http_api import HttpApiMeter
from spancost.meters.http_parts import host_and_path
from spancost.meters.llm import LlmMeter, LlmUsage, is_llm, operation_of, read_usage
from spancost.meters.llm.text_estimate import text_estimate
from spancost.meters.meter_set import MeterSet, make_meters
from spancost.meters.plugins import PluginMeters, plugin_meters
from spancost.offline.charges import ALWAYS, UNLESS_NESTED, UNLESS_TRANSPORT, ChargeTable
from spancost.offline.labels import Attributions, Entries, Whose
from spancost.offline.table import KIND_BITS, ONE_MESSAGE, RECEIVES, SpanTable
from spancost.prices.book import PriceBook
from spancost.prices.configured import custom_rates, http_rules, token_prices
from spancost.prices.discounts import Discounts
from spancost.same_call import host_of_call
from spancost.window import NOBODY, Attribution, Origin, filled

_MAX_TEXT: Final = 200
_MAX_SECOND: Final = 2**32 - 1
_MAX_NS: Final = 2**63
_MAX_SHAPES: Final = 5_000
_WANTED_KEYS: Final = frozenset(
    {"http.method", "http.request.method", "rpc.system", "rpc.system.name", *NAMING_ATTRIBUTES}
)
_WANTED_PREFIXES: Final = ("ai.", "gen_ai.", "langfuse.", "litellm.", "llm.", "openinference.", "traceloop.")
ENTRY_KINDS: Final = (SERVER, CONSUMER, PRODUCER)
"""Kinds of spans whose attributes say what was asked for."""
_STEPS: Final = {PROCESS: ONE_MESSAGE, RECEIVE: RECEIVES, "": 0}
_PLACE_KEYS: Final = ("service.name", "cloud.provider", "cloud.platform", "cloud.region", "cloud.availability_zone")
_NOWHERE: Final = Surroundings({}, Services("", "", ""))
"""Where a stored process ran is told by its resource: the surroundings of this one say nothing of it."""


class Process(NamedTuple):
    """Where spans come from: one resource."""

    number: int
    origin: Origin
    meters: MeterSet
    rules: BoundRules | None = None
    """Rules that match the resource."""


class HeldCall(NamedTuple):
    """An LLM span that waits until it is known whether another span is the same call."""

    span: int
    trace: int
    scope: str
    usage: LlmUsage
    start_ns: int
    end_ns: int
    price_ns: int
    """The time whose prices hold."""
    meters: MeterSet
    is_charged: bool = False
    """It was charged before: other views of the call are duplicates of it."""


class Measured:
    """Spans with what their meters charge, in any order.

    Args:
        rules: Whose cost they are by their attributes.

        plugins: Meters of third parties.

        errors: Where those count what they raise.

        at_ns: Price everything as of this time, Unix nanoseconds; None for the start of each span.

        entrypoint: That of outgoing calls without a parent; empty: each has its own name.
    """

    def __init__(
        self,
        rules: AttributionRules,
        plugins: PluginMeters | None = None,
        errors: ErrorLog | None = None,
        *,
        at_ns: int | None = None,
        entrypoint: str = "",
    ) -> None:
        self.processes: list[Process] = []
        self._at_ns = at_ns
        self._entrypoint = entrypoint
        self._errors = ErrorLog() if errors is None else errors
        self._plugins = plugins
        self._wanted_keys = _WANTED_KEYS | (frozenset[str]() if plugins is None else plugins.keys)
        self._rules = rules
        self._attributing: dict[tuple[str, ...], tuple[bool, bool, bool]] = {}
        """Names of attributes: whether they say whose cost it is, whether rules look at them, and so inside a root."""
        self.wanted: dict[tuple[str, ...], bool] = {}
        """What `is_wanted` has answered so far."""
        self._begin()

    def _begin(self) -> None:
        self.table = SpanTable()
        self.charges = ChargeTable()
        self.entries = Entries()
        self.attributions = Attributions()
        self.held: list[HeldCall] = []
        self._ruled_roots: dict[tuple[int, int], Ruled] = {}

    def emptied(self) -> Self:
        """Return one for the same processes and rules without any span."""
        fresh = copy(self)
        fresh._begin()
        return fresh

    def is_wanted(self, keys: tuple[str, ...]) -> bool:
        """True if the attributes of a span may concern a meter or a label, by their names alone."""
        wanted = self.wanted.get(keys)
        if wanted is None:
            # Spans of one instrumentation have the same keys in the same order.
            wanted = any(key in self._wanted_keys or key.startswith(_WANTED_PREFIXES) for key in keys)
            wanted = wanted or names_label(keys) or not self._rules.span_names.isdisjoint(keys)
            if len(self.wanted) < _MAX_SHAPES:
                self.wanted[keys] = wanted
        return wanted

    def add(
        self,
        trace: int,
        span_id: int,
        parent_id: int,
        mark: int,
        process: Process,
        scope: str,
        name: str,
        attributes: Mapping[str, Any],
        start_ns: int,
        end_ns: int,
        *,
        failed: bool,
    ) -> int:
        """Add a span that may be charged, or that is what its process was asked to do.

        Returns:
            Its number.

        Raises:
            OverflowError: An id has more than 64 bits.

            ValueError: A time is impossible.
        """
        if not 0 <= start_ns < _MAX_NS or not 0 <= end_ns < _MAX_NS:
            raise ValueError("time")
        kind = mark & KIND_BITS
        second = min(start_ns // 1_000_000_000, _MAX_SECOND) if kind in (SERVER, CONSUMER) else 0
        if kind == CONSUMER:
            mark |= _STEPS[message_step(name, attributes)]
        entry = self._entry(name, kind, attributes)
        whose = self._whose(process, entry, attributes)
        span = self.table.add(trace, span_id, parent_id, mark, process.number, entry, whose, second)
        component = component_of(kind, attributes)
        plugins = self._plugins
        if plugins is not None and plugins.keys.isdisjoint(attributes):
            plugins = None
        if not component and plugins is None:
            return span
        price_ns = start_ns if self._at_ns is None else self._at_ns
        took_ns = end_ns - start_ns if end_ns > start_ns else 0
        view = new_view((name, kind, scope, attributes, price_ns, price_ns + took_ns, NO_FACTS, failed))
        if plugins is not None:
            used = plugins.charges_of(view, self._errors)
            if used:
                self.charges.add(span, used, start_ns, end_ns)
                self._charge_beside(component, span, view, process.meters, start_ns, end_ns)
                return span
        if not component:
            return span
        if component == names.LLM or not self._charge(component, span, view, process.meters, start_ns, end_ns):
            self._hold(span, trace, view, process.meters, start_ns, end_ns)
        return span

    def _entry(self, name: str, kind: int, attributes: Mapping[str, Any]) -> int:
        is_named = kind in ENTRY_KINDS or takes_process_name(kind, self._entrypoint)
        if is_named or not NAMING_ATTRIBUTES.isdisjoint(attributes):
            return self.entries.of_labels(final_labels(name, kind, attributes, self._entrypoint))
        return self.entries.of_name(name)

    def _whose(self, process: Process, entry: int, attributes: Mapping[str, Any]) -> int:
        """Return the number of what a span's attributes and the rules say of it."""
        keys = tuple(attributes)
        shape = self._attributing.get(keys)
        if shape is None:
            rules = self._rules
            shape = names_label(keys), not rules.span_names.isdisjoint(keys), not rules.inner_names.isdisjoint(keys)
            if len(self._attributing) < _MAX_SHAPES:
                self._attributing[keys] = shape
        says, is_ruled, is_ruled_inside = shape
        if not says and not is_ruled:
            return 0
        said = from_attributes(attributes) if says else NOBODY
        if not is_ruled or process.rules is None:
            return self.attributions.number(Whose(said))
        ruled_root = process.rules.of_root(self.entries.labels[entry], attributes)
        ruled = process.rules.of_span(attributes) if is_ruled_inside else NOT_RULED
        return self.attributions.number(Whose(said, ruled, ruled_root))

    def ruled_root(self, whose: int, entry: int, process: int) -> Ruled:
        """Return what the rules say of a local root.

        Args:
            whose: Number of its attribution.

            entry: Number of its labels.

            process: Number of its process.
        """
        rules = self.processes[process].rules
        if rules is None:
            return NOT_RULED
        ruled = self.attributions.values[whose].ruled_root
        if ruled is None:
            key = (entry, process)
            ruled = self._ruled_roots.get(key)
            if ruled is None:
                ruled = self._ruled_roots[key] = rules.of_root(self.entries.labels[entry], {})
        return ruled

    def of_root(self, whose: int, entry: int, process: int) -> Attribution:
        """Return the attribution of a local root; arguments as for `ruled_root`."""
        said = self.attributions.values[whose].said
        return filled(said, self.ruled_root(whose, entry, process).attribution)

    def _charge(self, component: str, span: int, view: SpanView, meters: MeterSet, start_ns: int, end_ns: int) -> bool:
        """Charge a span that is no LLM call; False if there is nothing to charge."""
        rule, host = ALWAYS, 0
        if component == names.EGRESS:
            meter, rule = meters.egress, UNLESS_NESTED
        elif component == names.AWS:
            meter = meters.aws
            self.table.call_hosts[span] = self.table.host_number(host_of_call(view.attributes)[:_MAX_TEXT])
        else:
            meter, rule = meters.http, UNLESS_TRANSPORT
            host = self.table.host_number(host_and_path(view.attributes)[0][:_MAX_TEXT])
        charges: Sequence[Charge] = ()
        try:
            if meter is not None:
                charges = meter.measure(view)
        except Exception:
            charges = (meter_error(component),)
        if not charges and component == names.AWS and not is_llm(view.attributes) and lacks_usage(view.attributes):
            charges = (without_usage(view.attributes),)
        if charges:
            self.charges.add(span, charges, start_ns, end_ns, rule, host)
        upload = self._upload(view, meters) if component == names.HTTP else ()
        if upload:
            self.charges.add(span, upload, start_ns, end_ns)
        return bool(charges or upload)

    def _charge_beside(
        self, component: str, span: int, view: SpanView, meters: MeterSet, start_ns: int, end_ns: int
    ) -> None:
        """Charge the egress of a span that third-party meters charge; it stays what HTTP spans below it travel for."""
        if component == names.EGRESS:
            self._charge(component, span, view, meters, start_ns, end_ns)
        elif component == names.HTTP:
            upload = self._upload(view, meters)
            if upload:
                self.charges.add(span, upload, start_ns, end_ns)
        elif component:
            self.table.call_hosts[span] = self.table.host_number(host_of_call(view.attributes)[:_MAX_TEXT])

    def _upload(self, view: SpanView, meters: MeterSet) -> Sequence[Charge]:
        """Charge what an HTTP call has sent, which it did whatever it was for."""
        try:
            return () if meters.egress is None else meters.egress.measure_upload(view)
        except Exception:
            return (meter_error(names.EGRESS),)

    def _hold(self, span: int, trace: int, view: SpanView, meters: MeterSet, start_ns: int, end_ns: int) -> None:
        if not is_llm(view.attributes) or not operation_of(view.attributes):
            return
        self.table.call_hosts[span] = self.table.host_number(host_of_call(view.attributes)[:_MAX_TEXT])
        try:
            usage = read_usage(view, None if meters.llm is None else meters.llm.texts)
        except Exception:
            self.charges.add(span, (meter_error(names.LLM),), start_ns, end_ns)
            return
        if usage is not None:
            self.held.append(HeldCall(span, trace, view.scope, _short(usage), start_ns, end_ns, view.start_ns, meters))


def _short(usage: LlmUsage) -> LlmUsage:
    """Return usage that is safe to keep: names of any length are cut."""
    longest = max(map(len, (usage.provider, usage.model, usage.request_model, usage.response_id, usage.tier)))
    if longest <= _MAX_TEXT:
        return usage
    return usage._replace(
        provider=usage.provider[:_MAX_TEXT],
        model=usage.model[:_MAX_TEXT],
        request_model=usage.request_model[:_MAX_TEXT],
        response_id=usage.response_id[:_MAX_TEXT],
        tier=usage.tier[:_MAX_TEXT],
    )


def _text(value: object) -> str:
    return "" if value is None else str(value)[:_MAX_TEXT]


class Pricing(Measured):
    """Takes the spans of many processes in any order and keeps what they are charged.

    Args:
        config: Settings: free hosts, own prices, who receives responses.

        book: Prices, with the overrides of the configuration.

        region: Region of processes whose resource names none.

        at_ns: Price everything as of this time, Unix nanoseconds; None for the start of each span.

        usage_meters: Meters of third parties; those that are installed by default.
    """

    def __init__(
        self,
        config: Config,
        book: PriceBook,
        *,
        region: str = "",
        at_ns: int | None = None,
        usage_meters: Sequence[UsageMeter] | None = None,
    ) -> None:
        custom = CustomMeter(custom_rates(config), Discounts(config.own.discounts))
        super().__init__(AttributionRules(config.attribution_rules), plugin_meters(usage_meters, custom), at_ns=at_ns)
        # A stored span does not say whether a proxy forwarded its request: a private peer may be a load balancer.
        self._config = replace(config, compute="", detect=False, egress_proxy=True)
        self._book = book
        self._region = region or config.region
        texts = text_estimate(config.estimate_tokens)
        if texts is not None:
            texts.load()
        self._llm = LlmMeter(token_prices(config), texts)
        self._http = HttpApiMeter(
            http_rules(config), config.http_free_hosts, config.http_exclude_hosts, Discounts(config.own.discounts)
        )
        self._by_resource: dict[tuple[tuple[str, str], ...], Process] = {}
        self._meters: dict[tuple[tuple[str, str], ...], MeterSet] = {}

    def process_of(self, resource: Mapping[str, Any]) -> Process:
        """Return the process that a resource describes."""
        key = tuple(sorted((name, str(value)) for name, value in resource.items()))
        process = self._by_resource.get(key)
        if process is None:
            environment = resource.get("deployment.environment.name") or resource.get("deployment.environment")
            origin = Origin(
                _text(resource.get("service.name")), _text(environment), _text(resource.get("cloud.account.id"))
            )
            rules = self._rules.bound(resource) if self._rules.rules else None
            process = Process(len(self.processes), origin, self._meters_of(resource), rules)
            self._by_resource[key] = process
            self.processes.append(process)
        return process

    def _meters_of(self, resource: Mapping[str, Any]) -> MeterSet:
        kept = {name: resource[name] for name in _PLACE_KEYS if name in resource}
        key = tuple(sorted((name, str(value)) for name, value in kept.items()))
        meters = self._meters.get(key)
        if meters is None:
            config = replace(self._config, region=_text(kept.get("cloud.region")) or self._region)
            was_disabled, logger.disabled = logger.disabled, True  # that compute is not priced is said once, at the end
            try:
                meters = make_meters(config, self._book, kept, self._llm, self._http, _NOWHERE).meters
            finally:
                logger.disabled = was_disabled
            self._meters[key] = meters
        return meters
