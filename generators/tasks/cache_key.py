"""The cache key of a reply: everything that decides it, so that no reply is paid for twice."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from memoirist.data.curation.pairing import CurateSettings
from memoirist.data.schema.records import Passage, content_id
from memoirist.data.text.language_detection import detect_language
from memoirist.generators.prompts.prompt_templates import Prompts, QuestionPrompt
from memoirist.generators.settings import InterviewSettings

# Increase it when the rules for questions change: the kept replies are then scored again.
_RULES_VERSION = 1
# The first words show the language; detection over whole passages is slow.
DETECTION_CHARS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """The prompt, the language and the cache key of the question for one passage."""

    passage: Passage
    key: str
    passage_hash: str
    lang: str
    prompt: QuestionPrompt


@dataclass(slots=True)
class Queries:
    """Creates the queries of one run.

    The key covers the passage's text, the persona, the language, the prompt's version, the model
    and the temperature. The paragraph before, the longest reply, deadlines and concurrency are not
    part of it: kept replies stay valid when they change.
    """

    settings: InterviewSettings
    persona: str
    model: str
    prompts: Prompts = field(init=False)

    def __post_init__(self) -> None:
        """Prepare the prompts, which are read when they are needed."""
        self.prompts = Prompts(self.settings)

    def query(self, passage: Passage) -> Query:
        """Return the query for a passage; raise RecipeError for an unusable prompt file."""
        lang = self.settings.language or detect_language(passage.text[:DETECTION_CHARS])
        prompt = self.prompts.for_passage(passage, lang)
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
    """Return the settings under which a failure is final; with others the item is sent again."""
    return f"{settings.max_reply_tokens} {settings.max_attempts} {settings.max_repairs}"


def rules_version(judging: CurateSettings) -> str:
    """Return the version of the rules that score and refuse the questions of a reply."""
    rejects = judging.rejects.model_dump_json()
    return content_id("judging", _RULES_VERSION, rejects, judging.min_score)


def question_id(passage_id: str, text: str) -> str:
    """Return the id of a generated question, the same as the SQL macro of this name."""
    joined = f"{passage_id}\x1f{text}".encode("utf-8", "surrogatepass")
    return hashlib.md5(joined, usedforsecurity=False).hexdigest()[:16]
