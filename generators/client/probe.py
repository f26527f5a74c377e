"""Find out, before the run, which model answers and what its replies can be held to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from memoirist.data.schema.errors import EndpointError
from memoirist.generators.client.client import Client, Endpoint, Structured, base_url_of
from memoirist.generators.settings import InterviewSettings
from memoirist.generators.tasks.reply_parser import SCHEMA

_FORMS: tuple[Structured, ...] = ("json_schema", "json_object", "text")


async def probe(settings: InterviewSettings, known: Sequence[Endpoint] = ()) -> Endpoint:
    """Return the endpoint after one small real call; raise EndpointError when it refuses.

    What is `known` of the model is not found out again.
    Newer models of OpenAI refuse `max_tokens` and `temperature`; older servers refuse a schema.
    Each refusal is met by dropping just what the server names.
    """
    base_url = base_url_of(settings)
    before = {endpoint.model: endpoint for endpoint in known}
    if settings.model in before:
        return before[settings.model]
    one = settings.model_copy(update={"max_attempts": min(3, settings.max_attempts)})
    async with Client(one, base_url) as client:
        model = settings.model or _only_model(await _listed(client), base_url)
        if model in before:
            return before[model]
        endpoint = Endpoint(base_url=base_url, model=model, structured="json_schema")
        for _ in range(len(_FORMS) + 2):
            refused = await client.accepts(endpoint, SCHEMA)
            if refused is None:
                return endpoint
            milder = _milder(endpoint, refused)
            if milder is None:
                break
            endpoint = milder
    raise EndpointError(
        f"{refused} (at {base_url})",
        "change the setting that the server names, in the recipe's [interview]",
    )


def _milder(endpoint: Endpoint, refused: str) -> Endpoint | None:
    """Return the endpoint without what the server refused, None when nothing is left to drop."""
    if "max_completion_tokens" in refused and endpoint.token_limit_name == "max_tokens":  # noqa: S105
        return replace(endpoint, token_limit_name="max_completion_tokens")  # noqa: S106
    if "temperature" in refused and endpoint.takes_temperature:
        return replace(endpoint, takes_temperature=False)
    place = _FORMS.index(endpoint.structured) + 1
    return replace(endpoint, structured=_FORMS[place]) if place < len(_FORMS) else None


async def _listed(client: Client) -> list[str]:
    """Return the models that the server lists; some servers have no such list."""
    try:
        return await client.models()
    except EndpointError as refused:
        if "answered 404" in refused.what or "answered 405" in refused.what:
            return []
        raise


def _only_model(names: list[str], base_url: str) -> str:
    if len(names) == 1:
        return names[0]
    if not names:
        raise EndpointError(
            f"{base_url} lists no model",
            "name one with --model, and check the address (it usually ends in /v1)",
        )
    shown = ", ".join(repr(name) for name in names[:12]) + (", ..." if len(names) > 12 else "")
    raise EndpointError(
        f"{base_url} serves {len(names)} models: {shown}", "name one of them with --model"
    )
