"""Code for pages that call the gateway, and how the public listener serves it."""
