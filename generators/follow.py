"""Ask for the follow-up question that leads from one passage to the next."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from string import Template

from memoirist.data.curation.question_filters import RejectSettings, reject_question
from memoirist.data.schema.records import Pair, content_id
from memoirist.data.text.sanitizer import neutralise
from memoirist.generators.brief import (
    Brief,
    delimiter,
    language_name,
    length_words,
    repeats_brief,
    sections_of,
)
from memoirist.generators.choose import persona_words
from memoirist.generators.replies import SCHEMA, Reply, parse_reply
from memoirist.generators.rounds import Round, Task
from memoirist.generators.settings import InterviewSettings
from memoirist.generators.templates import PROMPTS


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowPrompt:
    """The prompt in its sections, and what beside the passages decides a reply."""

    sections: Mapping[str, str]
    version: str
    lang: str
    persona: str
    model: str
    temperature: float | None

    def task(self, before: Pair, later: Pair) -> Task:
        """Return what to ask about a pair and the one before it; the same for the same texts."""
        texts = [neutralise(t) for t in (before.question, before.answer, later.answer)]
        digits = delimiter(*texts)
        seed = random.Random(f"follow {later.answer}")
        filled = {
            "open": f"<material-{digits}>",
            "close": f"</material-{digits}>",
            "before_question": texts[0],
            "before": texts[1],
            "passage": texts[2],
            "persona": neutralise(self.persona),
            "language": language_name(self.lang),
            "length": length_words(self.lang, seed),
        }
        key = content_id(
            "follow_up", *texts, self.persona, self.lang, self.version, self.model, self.temperature
        )
        messages = [
            {"role": role, "content": Template(self.sections[role]).safe_substitute(filled)}
            for role in ("system", "user")
        ]
        return Task(
            key=key,
            subject_id=later.id,
            messages=messages,
            source_id=later.source_id,
            prompt_version=self.version,
        )

    def round(self) -> Round[Reply]:
        """Return how replies are read and asked for again."""
        again = Template(self.sections["repair"])
        return Round(
            purpose="follow_up",
            schema=SCHEMA,
            read=parse_reply,
            repair=lambda fault: again.safe_substitute(fault=fault),
        )

    def best(self, reply: Reply, later: Pair, task: Task, rejects: RejectSettings) -> str | None:
        """Return the first question that no rule refuses; it may lean on what was said before."""
        brief = Brief(messages=tuple(dict(m) for m in task.messages), types=(), length_class=1)
        for one in reply.questions:
            # The rule against a first word that points nowhere is not for a follow-up.
            led = f"And {one.text}" if self.lang != "zh" else one.text
            named = persona_words(self.persona).intersection(one.text.lower().split())
            refused = reject_question(led, later.answer, self.lang, rejects)
            if refused is None and not named and not repeats_brief(one.text, brief):
                return one.text
        return None


def open_follow_prompt(
    lang: str, persona: str, model: str, settings: InterviewSettings
) -> FollowPrompt:
    """Read the prompt for follow-ups, Chinese for zh and English otherwise."""
    text = (PROMPTS / f"follow.{'zh' if lang == 'zh' else 'en'}.txt").read_text("utf-8")
    version = hashlib.sha256((text + json.dumps(SCHEMA)).encode()).hexdigest()[:8]
    return FollowPrompt(
        sections=sections_of(text),
        version=version,
        lang=lang,
        persona=persona,
        model=model,
        temperature=settings.temperature,
    )
