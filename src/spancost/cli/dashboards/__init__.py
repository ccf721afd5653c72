"""`spancost dashboards`: checks Grafana dashboards against a Prometheus server, and shows them without Grafana."""
