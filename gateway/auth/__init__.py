"""Who is calling: principals, and the providers that establish them."""
