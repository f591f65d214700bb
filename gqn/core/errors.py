"""The errors that are for the user: one line that names the file, record or option and what to do."""


class Error(ValueError):
    """Base of every error whose message is for the user; scripts print it in one line. Any other error is a bug."""
