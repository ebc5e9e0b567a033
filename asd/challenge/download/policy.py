"""How patient downloads are. Apart from them, since only they need an HTTP library."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RetryPolicy:
    """Timeouts and retries.

    Parameters
    ----------
    timeout_s
        A connection that is silent for so long counts as broken.
    retries
        Attempts after the first one that may fail in a row without a single new byte.
    backoff_s
        The first retry is made at once, the second after twice this time; it doubles each time, up
        to a minute.
    longest_wait_s
        If the server asks for a longer pause than this, give up instead.
    """

    timeout_s: float = 60.0
    retries: int = 5
    backoff_s: float = 1.0
    longest_wait_s: float = 900.0
