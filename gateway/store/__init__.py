"""Records, and where a store is. The stores themselves are in `gateway.stores`."""
