"""Middleware of a route's chain. All of it has aiohttp's middleware signature."""
