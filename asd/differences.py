"""In what the parameters of a model or checkpoint differ from those of now."""

from collections.abc import Collection, Mapping
from typing import Any

from asd.run_parameters import RunParameters
from asd.schema.parameters import flat, parameters_of
from asd.systems.registry import all_parameters


def differences(
    then: Mapping[str, Any],
    now: Mapping[str, Any],
    *,
    only: Collection[str] | None = None,
    but: Collection[str] = (),
) -> list[str]:
    """What differs between plain parameters, in words: "--n_mels 64 (now 128)".

    Parameters
    ----------
    only, but
        Keys to look at, and to leave out. A key stands for all that lies below it: "losses" for
        "losses[0].weight".

    A parameter that there was not yet, and that is empty or off now, makes no difference.
    """
    before, after = flat(then), flat(now)
    flags = {each.name for each in (*all_parameters().values(), *parameters_of(RunParameters))}
    found = []
    for key in dict.fromkeys([*before, *after]):
        if (only is not None and not _is_below_any(key, only)) or _is_below_any(key, but):
            continue
        if key not in before and not after[key]:
            continue
        if before.get(key) != after.get(key):
            name = f"--{key}" if key in flags else key
            found.append(f"{name} {_shown(before.get(key))} (now {_shown(after.get(key))})")
    return found


def _is_below_any(key: str, keys: Collection[str]) -> bool:
    return any(key == other or key.startswith((f"{other}.", f"{other}[")) for other in keys)


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return " ".join(map(_shown, value))
    return "null" if value is None else str(value)
