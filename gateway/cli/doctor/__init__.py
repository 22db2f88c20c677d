"""`gateway doctor`: look at everything a configuration depends on, and say what to do."""
