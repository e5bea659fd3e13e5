"""Grafana's dashboards as code; `backoffice/scripts/make_dashboards.py` writes them as the JSON that is provisioned."""
