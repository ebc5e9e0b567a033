"""The one exception for what a user did, or has, that cannot work."""

from asd.words import shown


class UserError(Exception):
    """A mistake the user can mend.

    Its text is one line: what is wrong, where (file, key, value), what to do; line breaks in it,
    as a file's name may have, are escaped. The command line prints it without a traceback and
    exits with status 2.

    Examples
    --------
    >>> import asd
    >>> try:
    ...     asd.load("nowhere.asd")
    ... except asd.UserError as error:
    ...     print(error)
    nowhere.asd: no such model; check the path
    """

    def __init__(self, text: object = "") -> None:
        super().__init__(shown(text))
