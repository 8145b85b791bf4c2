"""The one exception that a user is meant to read."""


class ScansynthError(Exception):
    """Something the user can mend. The message says which file or key, what was found, and what to do."""
