"""What tokens cost: the recipe's prices, else the bundled list with its date."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

_LIST = Path(__file__).parent / "prices.toml"
# A snapshot's date behind a model's name: gpt-4o-mini-2024-07-18, claude-sonnet-4-20250514.
_SNAPSHOT = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8}|latest|\d{3})$")
_BYTES_PER_TOKEN = 4


class Price(BaseModel):
    """What a model's tokens cost, in US dollars for a million of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: float = Field(ge=0, description="A million tokens sent.")
    output: float = Field(ge=0, description="A million tokens replied.")

    def of(self, tokens_in: float, tokens_out: float) -> float:
        """Return the price of so many tokens in US dollars."""
        return (tokens_in * self.input + tokens_out * self.output) / 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """A model's price and where it is from."""

    price: Price
    basis: str

    def times(self, share: float) -> Priced:
        """Return the price at a share of it, such as a batch's half."""
        price = Price(input=self.price.input * share, output=self.price.output * share)
        return Priced(price=price, basis=f"{share:.0%} of {self.basis}")


def price_of(model: str, own: Mapping[str, Price]) -> Priced | None:
    """Return a model's price: the recipe's, else the bundled one; None for an unknown model.

    A snapshot's date and a router's prefix ("openai/") do not hide a known name.
    """
    for name in _names(model):
        if name in own:
            return Priced(price=own[name], basis="interview.prices")
    bundled = _bundled()
    return next((bundled[name] for name in _names(model) if name in bundled), None)


def estimate_tokens(*texts: str) -> int:
    """Estimate the tokens of texts where no server has counted them: four bytes make one.

    English has about 4 characters to a token, Chinese 1 to 1.5, of three bytes each.
    """
    return sum(len(text.encode("utf-8", "replace")) for text in texts) // _BYTES_PER_TOKEN + 1


def _names(model: str) -> list[str]:
    bare = model.rsplit("/", 1)[-1]
    return list(dict.fromkeys([model, bare, _SNAPSHOT.sub("", bare)]))


@cache
def _bundled() -> dict[str, Priced]:
    lists: list[dict[str, Any]] = tomllib.loads(_LIST.read_text("utf-8"))["lists"]
    return {
        name: Priced(
            price=Price.model_validate(price),
            basis=f"list of {each['checked']}: check your provider",
        )
        for each in lists
        for name, price in each["models"].items()
    }
