"""Print the reference of metrics: `python -m gateway.telemetry.metrics.reference`."""

from __future__ import annotations

from gateway.telemetry.metrics.instruments import PAGE

if __name__ == "__main__":
    print(PAGE, end="")
