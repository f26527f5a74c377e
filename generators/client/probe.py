"""The probe of a server before a run: its model, and the request parameters that it accepts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from memoirist.data.schema.errors import EndpointError
from memoirist.generators.client.client import Client, Endpoint, Structured, base_url_of
from memoirist.generators.settings import InterviewSettings
from memoirist.generators.tasks.reply_parser import SCHEMA

_FORMS: tuple[Structured, ...] = ("json_schema", "json_object", "text")


async def probe(settings: InterviewSettings, known_endpoints: Sequence[Endpoint] = ()) -> Endpoint:
    """Return the endpoint after one small real call; raise EndpointError when it refuses.

    A model of `known_endpoints` is not probed again. Newer models of OpenAI refuse `max_tokens`
    and `temperature`; older servers refuse a schema. After each refusal the parameter that the
    server names is left out.
    """
    base_url = base_url_of(settings)
    known = {endpoint.model: endpoint for endpoint in known_endpoints}
    if settings.model in known:
        return known[settings.model]
    few_attempts = settings.model_copy(update={"max_attempts": min(3, settings.max_attempts)})
    async with Client(few_attempts, base_url) as client:
        model = settings.model or _only_model(await _listed_models(client), base_url)
        if model in known:
            return known[model]
        endpoint = Endpoint(base_url=base_url, model=model, structured="json_schema")
        for _ in range(len(_FORMS) + 2):
            refusal = await client.accepts(endpoint, SCHEMA)
            if refusal is None:
                return endpoint
            simpler = _simpler_endpoint(endpoint, refusal)
            if simpler is None:
                break
            endpoint = simpler
    raise EndpointError(
        f"{refusal} (at {base_url})",
        "change the setting that the server names, in the recipe's [interview]",
    )


def _simpler_endpoint(endpoint: Endpoint, refusal: str) -> Endpoint | None:
    """Return the endpoint without the refused parameter, None when none is left to drop."""
    if "max_completion_tokens" in refusal and endpoint.token_limit_name == "max_tokens":  # noqa: S105
        return replace(endpoint, token_limit_name="max_completion_tokens")  # noqa: S106
    if "temperature" in refusal and endpoint.takes_temperature:
        return replace(endpoint, takes_temperature=False)
    following = _FORMS.index(endpoint.structured) + 1
    return replace(endpoint, structured=_FORMS[following]) if following < len(_FORMS) else None


async def _listed_models(client: Client) -> list[str]:
    """Return the models that the server lists; some servers have no such list."""
    try:
        return await client.models()
    except EndpointError as error:
        if "answered 404" in error.what or "answered 405" in error.what:
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
    listing = ", ".join(repr(name) for name in names[:12]) + (", ..." if len(names) > 12 else "")
    raise EndpointError(
        f"{base_url} serves {len(names)} models: {listing}", "name one of them with --model"
    )
