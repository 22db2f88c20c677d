"""From the configuration's models to what runs; `app` puts the parts together."""
