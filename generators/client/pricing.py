"""The price of tokens: the recipe's prices, else the bundled list with its date."""

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

    input: float = Field(ge=0, description="US dollars for a million tokens sent.")
    output: float = Field(ge=0, description="US dollars for a million tokens received.")

    def usd(self, tokens_in: float, tokens_out: float) -> float:
        """Return the price of so many tokens in US dollars."""
        return (tokens_in * self.input + tokens_out * self.output) / 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """A model's price, and the list that it is from."""

    price: Price
    basis: str

    def times(self, share: float) -> Priced:
        """Return a share of the price, such as half of it for a batch."""
        price = Price(input=self.price.input * share, output=self.price.output * share)
        return Priced(price=price, basis=f"{share:.0%} of {self.basis}")


def price_of(model: str, recipe_prices: Mapping[str, Price]) -> Priced | None:
    """Return a model's price: the recipe's, else the bundled one; None for an unknown model.

    A router's prefix ("openai/") and a snapshot's date are left out where the name has none.
    """
    for name in _names(model):
        if name in recipe_prices:
            return Priced(price=recipe_prices[name], basis="interview.prices")
    bundled = _bundled()
    return next((bundled[name] for name in _names(model) if name in bundled), None)


def estimate_tokens(*texts: str) -> int:
    """Estimate the tokens of texts where no server has counted them: four bytes to a token.

    English has about 4 characters to a token, Chinese 1 to 1.5, of three bytes each.
    """
    return sum(len(text.encode("utf-8", "replace")) for text in texts) // _BYTES_PER_TOKEN + 1


def _names(model: str) -> list[str]:
    without_router = model.rsplit("/", 1)[-1]
    without_date = _SNAPSHOT.sub("", without_router)
    return list(dict.fromkeys([model, without_router, without_date]))


@cache
def _bundled() -> dict[str, Priced]:
    lists: list[dict[str, Any]] = tomllib.loads(_LIST.read_text("utf-8"))["lists"]
    return {
        name: Priced(
            price=Price.model_validate(price),
            basis=f"price list of {price_list['checked']}; check your provider's prices",
        )
        for price_list in lists
        for name, price in price_list["models"].items()
    }
