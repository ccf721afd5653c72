"""The dashboards and the alert rules of `grafana/`, as code: `python -m grafana._make`."""
