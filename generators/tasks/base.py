"""The base of the LLM tasks: the item to send, the parsing of its reply, and the rows to store.

The key of an item covers everything that decides its reply, so that no reply is paid for twice.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from memoirist.data.schema.records import Request
from memoirist.generators.settings import InterviewSettings

# The first words show the language; detection over whole passages is slow.
DETECTION_CHARS = 1_000
ItemT = TypeVar("ItemT", bound="TaskItem")
ValueT = TypeVar("ValueT")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskItem:
    """One request to an LLM; `key` covers everything that decides the reply: its cache key.

    `repair` turns a fault of a reply into a message to the model; the ids and the version go into
    the request's row.
    """

    key: str
    subject_id: str
    messages: Sequence[Mapping[str, str]]
    repair: Callable[[str], str]
    prompt_version: str
    source_id: str | None = None
    passage_hash: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """The result of one item: the request's row, whether it is answered, and all rows to store.

    `unsettled` is an item with its value that the task still has to settle.
    """

    request: Request
    answered: bool
    rows: Sequence[object]
    unsettled: tuple[Any, Any] | None = None


class LLMTask(ABC, Generic[ItemT, ValueT]):
    """One kind of task; a subclass creates its items and parses their replies."""

    purpose: ClassVar[str]
    schema: ClassVar[Mapping[str, Any]]

    @abstractmethod
    def read(self, text: str) -> ValueT | str:
        """Return the value of a reply, or its fault in one line, in words for the model."""

    def refuse(self, item: ItemT, value: ValueT) -> str | None:
        """Return why a value is refused as an answer to its item, None where it is accepted."""
        del item, value
        return None

    def result(self, item: ItemT, request: Request, value: ValueT | None) -> TaskResult:
        """Return the rows to store; without a value `request` has the rule and the error."""
        del item
        return TaskResult(request=request, answered=value is not None, rows=(request,))

    def settle(self, results: Sequence[TaskResult]) -> Sequence[TaskResult]:
        """Return the results with what is worked out for many of them at once, before writing."""
        return results


def limits_of(settings: InterviewSettings) -> str:
    """Return the settings under which a failure is final; with others the item is sent again."""
    limits = f"{settings.max_reply_tokens} {settings.max_attempts} {settings.max_repairs}"
    extra = settings.extra_body
    return f"{limits} {json.dumps(extra, sort_keys=True, default=str)}" if extra else limits
