"""The line of `ask` about what was asked, with one of each thing."""

from __future__ import annotations

from types import SimpleNamespace as Fake
from typing import Any
from unittest.mock import MagicMock

from memoirist.flows.steps.ask import _conclude


def test_one_of_each_thing_is_told_in_the_singular() -> None:
    context = MagicMock()
    context.recipe.interview.opener_share = 1.0
    chosen: Any = Fake(questions=1, seconds=1, lengths=[1, 0, 0], opener_share=0.1, opener="What")
    assert _conclude(context, None, chosen).startswith("1 question (1 of them a second question), ")
    chosen.questions, chosen.seconds = 1200, 2
    told = _conclude(context, None, chosen)
    assert told.startswith("1,200 questions (2 of them second questions), ")
    session = Fake(
        budget=Fake(stopped="the limit is reached"), endpoint=Fake(model="m", base_url="u")
    )
    writer: Any = Fake(
        session=session,
        n_due=2,
        n_done=1,
        n_due_again=1,
        interrupted=False,
        summary=lambda: "1 answered",
    )
    _conclude(context, writer, None)
    limit, again = (call.args[0] for call in context.report.warn.call_args_list)
    assert "; 1 passage has no question yet" in limit
    assert again.startswith("1 passage got no reply: ")
