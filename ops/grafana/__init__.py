"""The dashboards that docker-compose.yml provisions. Their JSON is written by `python -m ops.grafana`."""
