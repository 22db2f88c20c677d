"""Error in the input of the admin API, or of a command with the same effect."""


class BadInput(Exception):
    """A field or a parameter is invalid. The text begins with its name, and says why."""
