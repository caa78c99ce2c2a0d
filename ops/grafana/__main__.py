"""`python -m ops.grafana`: write the dashboards."""

from pathlib import Path

from ops.grafana.panels import to_json
from ops.grafana.stream import STREAM

FOLDER = Path(__file__).parent / "dashboards"

if __name__ == "__main__":
    (FOLDER / "stream.json").write_text(to_json(STREAM), encoding="utf-8")
