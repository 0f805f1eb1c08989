"""The one exception for mistakes that a user can correct."""


class UserError(Exception):
    """Names the file, row or option at fault and the remedy; the outermost entry prints it and exits with code 2."""
