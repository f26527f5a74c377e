"""The server's own process: `transformers serve`, which ends when its parent does.

`python -m memoirist.train.serve ARGUMENTS` takes the arguments of `transformers serve`. It starts
through its application, because the command of that name first asks an index for a newer version.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from memoirist.train.alone import end_with_parent


def serve(arguments: Sequence[str]) -> None:
    """Serve until SIGINT."""
    from transformers.cli.transformers import app

    end_with_parent()
    app(["serve", *arguments])


if __name__ == "__main__":
    serve(sys.argv[1:])
