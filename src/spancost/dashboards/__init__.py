"""Reads Grafana dashboards and asks a Prometheus server what their panels ask, without Grafana.

`reading` gives `model`; `times`, `variables` and `interpolation` fill in what stands for something else in a query;
`asking` asks, and `checking` judges the answers.
"""
