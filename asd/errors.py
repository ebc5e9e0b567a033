"""The one exception for what a user did, or has, that cannot work."""


class UserError(Exception):
    """A mistake the user can mend.

    Its text is one line: what is wrong, where (file, key, value), what to do. The command line
    prints it without a traceback and exits with status 2.
    """
