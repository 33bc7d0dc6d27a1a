"""The error message for unknown names."""

import difflib
from collections.abc import Iterable


def unknown(kind: str, name: object, known: Iterable[str], where: str = "") -> str:
    """The message for an unknown name: the name, the nearest known one, and where to find all.

    >>> unknown("architecture", "wrn28-10", ["wrn28_10", "resnet20"], "keras_cnns.list_models()")
    "no architecture 'wrn28-10'; did you mean 'wrn28_10'? (2 known: keras_cnns.list_models())"
    """
    known = sorted(known)
    near = difflib.get_close_matches(str(name).lower(), known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    if not where:
        where = ", ".join(known) if len(known) <= 30 else ", ".join(known[:30]) + ", ..."
    return f"no {kind} {name!r}{hint} ({len(known)} known: {where})"
