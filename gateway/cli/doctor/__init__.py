"""`gateway doctor`: check everything that a configuration depends on, and suggest remedies."""
