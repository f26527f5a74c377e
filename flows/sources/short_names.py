"""What places are called in the report: by the shortest end of their path that is theirs alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath


def short_names(locations: Sequence[str]) -> dict[str, str]:
    """Return each location's file name, with as many of its folders as tell it from the others.

    A location with a scheme is called in full.
    """
    parts = {
        each: (each,)
        if "://" in each
        else tuple(part for part in PurePath(each).parts if part != "/")
        for each in dict.fromkeys(locations)
    }
    names = dict.fromkeys(parts, "")
    open_, size = list(parts), 0
    while open_:
        size += 1
        ends = {each: "/".join(parts[each][-size:]) for each in open_}
        shared = Counter(ends.values())
        for each in open_:
            names[each] = ends[each]
        open_ = [each for each in open_ if shared[ends[each]] > 1 and size < len(parts[each])]
    return names
