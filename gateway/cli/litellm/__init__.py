"""Conversion of the configuration of a LiteLLM proxy, for `gateway init --from`. No I/O."""
