"""Errors that a user can cause; everything else is a bug and keeps its traceback."""


class UserError(Exception):
    """A mistake in an input or a setting: shown as one line, exit status 2."""


class StoreError(UserError):
    """A file between stages that is missing, truncated, of another version or not finite."""


class UnsupportedElementError(UserError):
    """An element that the data, a network or a potential does not know."""
