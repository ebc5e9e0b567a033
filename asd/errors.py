"""The one exception for what a user did, or has, that cannot work."""

from asd.words import one_line


class UserError(Exception):
    """A mistake the user can mend.

    Its text is one line: what is wrong, where (file, key, value), what to do; line breaks in it,
    as a file's name may have, are escaped, and a very long one is shortened. The command line
    prints it without a traceback and exits with status 2.

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
        super().__init__(one_line(text))
