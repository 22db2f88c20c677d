"""What wraps a request. Every middleware here has aiohttp's signature."""
