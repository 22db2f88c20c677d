"""The stores, one package each, for limits, records and streams. See `gateway.stores.makers`."""
