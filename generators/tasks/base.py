"""The one shape of an LLM task: an item to ask about, how its reply is read, and what is kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from memoirist.data.schema.records import Request

ItemT = TypeVar("ItemT", bound="TaskItem")
ValueT = TypeVar("ValueT")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskItem:
    """One thing to ask: `key` holds all that decides the reply, so that the reply is found again.

    `repair` words what is wrong with a reply as a message to the model; the ids and the version go
    into the request's row.
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
    """What came of one item: the request's row, whether it is answered, and all rows to keep."""

    request: Request
    answered: bool
    rows: Sequence[object]


class LLMTask(ABC, Generic[ItemT, ValueT]):
    """One kind of task; a subclass makes its items and reads their replies."""

    purpose: ClassVar[str]
    schema: ClassVar[Mapping[str, Any]]

    @abstractmethod
    def read(self, text: str) -> ValueT | str:
        """Return what a reply says, or in one line what is wrong, in words for the model."""

    def refuse(self, item: ItemT, value: ValueT) -> str | None:
        """Return what is wrong with a value as an answer to its item, None where nothing is."""
        del item, value
        return None

    def result(self, item: ItemT, request: Request, value: ValueT | None) -> TaskResult:
        """Return what is kept; without a value `request` says by its rule and error why not."""
        del item
        return TaskResult(request=request, answered=value is not None, rows=(request,))
