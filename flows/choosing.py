"""Choose the questions that are asked, over all that came back, whenever there is more of it."""

from __future__ import annotations

from collections.abc import Sequence

from data.choose import Choice, Chosen, choose
from data.nouns import Candidate, Done, Request
from flows.context import Context, fingerprint
from generators.prompts.prompts import LENGTH_SHARES
from generators.settings import InterviewSettings
from generators.tasks.cache_key import Query, judging_mark
from generators.tasks.candidates import Reader

_FAR_OFF = 0.1
_KEPT = (
    "SELECT (count(*), bit_xor(md5_number_lower(id || coalesce(judged, ''))))::VARCHAR"
    " FROM requests WHERE purpose = 'interview'"
)


def choose_questions(
    context: Context, queries: Sequence[Query], settings: InterviewSettings
) -> Chosen | None:
    """Choose among what came back for the passages; None where nothing has changed since.

    Replies that were judged by other rules than today's are read again first; none is asked for.
    """
    store = context.workspace.store
    choice = Choice(
        seed=settings.seed,
        second_share=settings.second_share,
        opener_share=settings.opener_share,
        length_shares=LENGTH_SHARES,
    )
    asked = [f"{query.passage.id} {query.key}" for query in queries]
    rules = judging_mark(context.recipe.curate)
    if context.is_done("*", "choose", fingerprint(*asked, rules, choice, store.value(_KEPT))):
        return None
    again = _read_again(context, queries, rules)
    with store.writing() as tx:
        tx.upsert([request for request, _ in again])
        tx.upsert([each for _, candidates in again for each in candidates])
        chosen = choose(tx, _columns(queries), choice, context.now)
        mark = fingerprint(*asked, rules, choice, tx.fetch(_KEPT)[0][0])
        tx.upsert([Done(subject_id="*", step="choose", fingerprint=mark)])
    return chosen


def _read_again(
    context: Context, queries: Sequence[Query], rules: str
) -> list[tuple[Request, Sequence[Candidate]]]:
    """Judge the replies that were judged by other rules."""
    stale = context.workspace.store.nouns(
        Request, "purpose = 'interview' AND status = 'ok' AND judged IS DISTINCT FROM ?", rules
    )
    query_of = {query.key: query for query in queries} if stale else {}
    reader = Reader(context.recipe.persona.name, context.recipe.curate)
    return [
        reader.read_again(request, query_of[request.key])
        for request in stale
        if request.key in query_of
    ]


def _columns(queries: Sequence[Query]) -> dict[str, list[object]]:
    return {
        "passage_id": [query.passage.id for query in queries],
        "key": [query.key for query in queries],
        "passage_hash": [query.passage_hash for query in queries],
        "source_id": [query.passage.source_id for query in queries],
    }


def told_lengths(chosen: Chosen) -> str:
    """Return the mix of the questions' lengths, with what is wanted where it is far off."""
    shares = [n / max(1, chosen.questions) for n in chosen.lengths]
    told = "/".join(f"{share:.0%}"[:-1] for share in shares)
    wanted = "/".join(f"{share:.0%}"[:-1] for share in LENGTH_SHARES)
    far = max(abs(a - b) for a, b in zip(shares, LENGTH_SHARES, strict=True)) > _FAR_OFF
    more = f", where {wanted} are wanted and no better ones came back" if far else ""
    return f"{told} % short/middle/long{more}"
