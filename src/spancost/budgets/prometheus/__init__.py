"""Budget rules as rules of Prometheus: recording and alerting rules, cases that test them, and routes of Alertmanager.

    rules ─▶ ways (PromQL, or the gauges of the processes) ─▶ money + alerts ─▶ files ─▶ YAML

Whoever reads only counters can say what was spent in a stretch that ends now. What else a rule wants to know (money cut
two ways at once, months of a time zone, seasons) is known to the processes, and Prometheus alerts on their gauges.
"""
