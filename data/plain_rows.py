"""Plain rows of datasets: DuckDB itself finds the texts in them and tells which need a closer look.

A row comes as its line of JSON, or as the texts of its parts. Rows in which something is doubtful
- broken, empty, with a placeholder, about a picture, with what may be personal data - come out with
the fault DOUBTFUL and their JSON as its reason, to be read again one by one.
"""

from __future__ import annotations

from collections.abc import Mapping

from data.store.transaction import statement

DOUBTFUL = "doubtful"
_PARTS = ("question", "context", "answer", "system", "label")
# A text that is a JSON value by its looks may have been one: numbers are texts of rows as well,
# lists and objects are not.
_KINDS = """CASE WHEN is_json(question) OR is_json(context) OR is_json(answer) OR is_json(system)
    THEN len(list_filter(json_type(line, $paths), lambda kind: kind NOT IN ('VARCHAR', 'NULL'))) > 0
    ELSE false END"""


def plain_rows(
    parts: Mapping[str, str], candidate: str | None, *, as_lines: bool
) -> tuple[str, dict[str, object]]:
    """Return the query that makes exchanges of the rows in `incoming`, and its parameters.

    `parts` are the columns by part, of _PARTS; `candidate` is the regular expression (RE2) that a
    text with personal data matches, None where nobody wants it masked. The rows in `incoming` have
    the columns source_row, `near` (data/batches.py) and `line`, or else one for each part.
    """
    known = [part for part in _PARTS if part in parts]
    values: dict[str, object] = {"candidate": candidate or "", "asked": "question" in parts}
    if as_lines:
        values["paths"] = [_pointer(parts[part]) for part in known]
        places = {part: f"texts[{place}]" for place, part in enumerate(known, start=1)}
        rows = "(SELECT *, TRY(json_extract_string(line, $paths)) AS texts FROM incoming)"
        told = {"kept": "line", "line": "line", "kinds": _KINDS, "rows": rows}
    else:
        values |= {f"name_{part}": parts[part] for part in known}
        places = {part: part for part in known}
        line = f"json_object({', '.join(f'$name_{part}, {part}' for part in known)})"
        told = {"kept": "0 AS line", "line": line, "kinds": "false", "rows": "incoming"}
    texts = [f"{places.get(part, 'NULL::VARCHAR')} AS {part}" for part in _PARTS]
    query = statement("plain_rows")
    for mark, text in {**told, "texts": ", ".join(texts)}.items():
        query = query.replace(f"{{{mark}}}", text)
    return query, values


def _pointer(name: str) -> str:
    """Return the JSON pointer (RFC 6901) to a key of an object."""
    return "/" + name.replace("~", "~0").replace("/", "~1")
