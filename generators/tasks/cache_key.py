"""What decides a reply: the key under which it is kept, so that nothing is paid for twice."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from memoirist.data.curation.pairing import CurateSettings
from memoirist.data.schema.records import Passage, content_id
from memoirist.data.text.language_detection import detect_language
from memoirist.generators.prompts.prompt_templates import Prompts, QuestionPrompt
from memoirist.generators.settings import InterviewSettings

# Changes when questions are judged by other rules than before: the kept replies are read again.
_JUDGING_VERSION = 1
# A language shows in its first words; reading more of a passage costs more than asking about it.
_TOLD_BY_CHARS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is asked about one passage: its prompt, its language, and the key of the reply."""

    passage: Passage
    key: str
    passage_hash: str
    lang: str
    prompt: QuestionPrompt


@dataclass(slots=True)
class Queries:
    """Make the queries of one run.

    The key holds the passage's text, the persona, the language, the prompt's version, the model
    and the temperature. The paragraph before, the longest reply, deadlines and concurrency are no
    part of it: what was answered stays answered when they change.
    """

    settings: InterviewSettings
    persona: str
    model: str
    prompts: Prompts = field(init=False)

    def __post_init__(self) -> None:
        """Begin without a prompt read."""
        self.prompts = Prompts(self.settings)

    def of(self, passage: Passage) -> Query:
        """Return the query for a passage; raise RecipeError for a prompt file that is no use."""
        lang = self.settings.language or detect_language(passage.text[:_TOLD_BY_CHARS])
        prompt = self.prompts.of(passage, lang)
        text = passage.text.encode("utf-8", "surrogatepass")
        digest = hashlib.md5(text, usedforsecurity=False).hexdigest()
        key = content_id(
            "interview",
            digest,
            self.persona,
            lang,
            prompt.version,
            self.model,
            self.settings.temperature,
        )
        return Query(passage=passage, key=key, passage_hash=digest, lang=lang, prompt=prompt)


def limits_of(settings: InterviewSettings) -> str:
    """Return the settings under which a failure is final; with others it is asked again."""
    return f"{settings.max_reply_tokens} {settings.max_attempts} {settings.max_repairs}"


def judging_mark(judging: CurateSettings) -> str:
    """Return what the judging of questions depends on besides the reply's key."""
    rejects = judging.rejects.model_dump_json()
    return content_id("judging", _JUDGING_VERSION, rejects, judging.min_score)


def question_id(passage_id: str, text: str) -> str:
    """Return the id of a generated question, as the macro of this name in SQL makes it."""
    joined = f"{passage_id}\x1f{text}".encode("utf-8", "surrogatepass")
    return hashlib.md5(joined, usedforsecurity=False).hexdigest()[:16]
