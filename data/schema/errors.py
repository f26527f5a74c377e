"""The errors of Memoirist, as a tree; each message is what, the value, and what to do next.

MemoiristError              the user can mend it: one line on stderr, exit code 1
+-- SourceError             one source cannot be taken in (becomes a verdict in a build)
|   +-- SourceMissing
|   |   +-- PrivateAddress  a public feed leads into this network
|   +-- SourceUnreadable    corrupt, empty, of an unknown format
|   +-- SourceEncrypted
|   +-- SourceWithoutText   no text layer
+-- RecipeError             a key or a value of the recipe
+-- StoreError
|   +-- StoreLocked         another process holds the workspace's file
|   +-- DiskFull
|   +-- QueryError          the user's SQL
+-- EndpointError           the LLM endpoint refuses, or cannot be reached
+-- TrainError              the pre-flight gate, the base model, the child process
+-- NothingToDo             a command that needs rows which are not there
"""

from __future__ import annotations


class MemoiristError(Exception):
    """An error that its reader can mend; `rule` names the verdict that it becomes."""

    rule = "error"

    def __init__(self, what: str, next_step: str) -> None:
        """Join `what` (with the offending value in it) and `next_step` into one line."""
        self.what = " ".join(what.split())
        self.next_step = " ".join(next_step.split())
        super().__init__(f"{self.what}; {self.next_step}")

    def __reduce__(self) -> tuple[type[MemoiristError], tuple[str, str]]:
        """Pickle by both parts, so that the error crosses a process pool whole."""
        return type(self), (self.what, self.next_step)


class SourceError(MemoiristError):
    """One source cannot be taken in."""

    rule = "source_error"


class SourceMissing(SourceError):
    """Nothing lies where the user pointed."""

    rule = "source_missing"


class PrivateAddress(SourceMissing):
    """A public feed leads to an address of this machine or its network."""

    rule = "private_address"


class SourceUnreadable(SourceError):
    """The file is corrupt, empty, or of a format that no extractor reads."""

    rule = "source_unreadable"


class SourceEncrypted(SourceError):
    """The file asks for a password."""

    rule = "source_encrypted"


class SourceWithoutText(SourceError):
    """The file holds pictures of pages and no text."""

    rule = "source_without_text"


class RecipeError(MemoiristError):
    """A key or a value of the recipe is wrong."""

    rule = "recipe"


class StoreError(MemoiristError):
    """The workspace's database cannot be used."""

    rule = "store"


class StoreLocked(StoreError):
    """Another process holds the workspace's database."""


class DiskFull(StoreError):
    """The disk of the workspace is full."""


class QueryError(StoreError):
    """The user's SQL is wrong, or would write."""


class EndpointError(MemoiristError):
    """The LLM endpoint refuses, or cannot be reached."""

    rule = "endpoint"


class TrainError(MemoiristError):
    """The training cannot start, or its process ended without a result."""

    rule = "train"


class NothingToDo(MemoiristError):
    """The command needs rows that are not there yet."""

    rule = "nothing_to_do"
