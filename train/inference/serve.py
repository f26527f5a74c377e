"""The server's own process: `transformers serve`, which ends when its parent does.

`python -m memoirist.train.inference.serve ARGUMENTS` takes those of `transformers serve`. The
application is called directly, because its command first asks a package index for a newer version.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from memoirist.train.loop.process import end_with_parent


def serve(arguments: Sequence[str]) -> None:
    """Serve until SIGINT."""
    from transformers.cli.transformers import app

    end_with_parent()
    app(["serve", *arguments])


if __name__ == "__main__":
    serve(sys.argv[1:])
