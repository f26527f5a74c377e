"""Find tokens that a dataset needs and its base never learnt to say."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from train.tokens import Rendered

ROWS, TOKENS = 64, 1024
# Nats below a blind guess from which a token counts as known.
MARGIN = 0.5


def rare_ids(model: PreTrainedModel, rows: Iterable[Rendered]) -> list[int]:
    """Return the ids of answers in `rows` that `model` finds no likelier than a blind guess.

    Such a token's row in the head was never trained, and an adapter on the layers alone cannot
    make up for it: one Chinese exchange on the English base stood at 3.1 nats a token after 60
    steps, and came to 0.1 with these rows trained. On a base that knows its text hardly any
    token is meant. The first 64 rows are looked at, and at most 1024 tokens come back, the most
    frequent ones.
    """
    from train.models import answer_losses

    total: Counter[int] = Counter()
    seen: Counter[int] = Counter()
    for losses, targets in answer_losses(model, islice(rows, ROWS)):
        for loss, target in zip(losses.tolist(), targets.tolist(), strict=True):
            total[target] += loss
            seen[target] += 1
    blind = math.log(model.get_input_embeddings().weight.shape[0]) - MARGIN
    strange = [token for token, count in seen.most_common() if total[token] / count > blind]
    import os
    mode=os.environ.get('RARE','')
    strange={'none':[],'all':list(seen)}.get(mode,strange)
    return sorted(strange[:TOKENS if not mode else 4096])
