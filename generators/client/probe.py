"""The probe: the first small calls that find the model of a server and the form that it accepts."""

from __future__ import annotations

from collections.abc import Sequence

from memoirist.data.schema.errors import EndpointError
from memoirist.generators.client.client import Client, base_url_of
from memoirist.generators.client.endpoint import Endpoint, adapted, may_switch, next_switch
from memoirist.generators.client.http_errors import next_step
from memoirist.generators.client.responses import Completion
from memoirist.generators.settings import InterviewSettings
from memoirist.generators.tasks.reply_parser import SCHEMA

PROBE_TEXT = 'Reply with the JSON {"is_answer": false}.'
_MESSAGES = (
    {"role": "system", "content": "You reply with JSON and nothing else."},
    {"role": "user", "content": PROBE_TEXT},
)
_FEW_TOKENS = 64
# More refusals than there are parameters to change.
_MOST_CALLS = 12


async def probe(settings: InterviewSettings, known_endpoints: Sequence[Endpoint] = ()) -> Endpoint:
    """Return the endpoint after small real calls; raise EndpointError where it refuses all forms.

    A model of `known_endpoints` is not probed again. After each refusal what the server names is
    left out or replaced; a model that thinks and gives no answer is asked not to think.
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
        endpoint, reply = await _accepted(client, endpoint, _FEW_TOKENS)
        if reply.thinks_in_vain and may_switch(endpoint, settings):
            endpoint = await _answering(client, endpoint, settings)
    return endpoint


async def _accepted(
    client: Client, endpoint: Endpoint, max_tokens: int
) -> tuple[Endpoint, Completion]:
    """Return the endpoint in the first form that it accepts, and its reply."""
    for _ in range(_MOST_CALLS):
        reply = await client.trial(_MESSAGES, endpoint, SCHEMA, max_tokens)
        if isinstance(reply, Completion):
            return endpoint, reply
        simpler = adapted(endpoint, reply, probing=True)
        if simpler is None:
            break
        endpoint = simpler
    raise EndpointError(f"{reply} (at {endpoint.base_url})", next_step(str(reply)))


async def _answering(client: Client, endpoint: Endpoint, settings: InterviewSettings) -> Endpoint:
    """Return the endpoint of a model that thinks in a form that leaves room for its answer."""
    endpoint, reply = await _accepted(client, endpoint, settings.max_reply_tokens)
    while reply.thinks_in_vain and may_switch(endpoint, settings):
        form = next_switch(endpoint)
        endpoint, reply = await _accepted(client, form, settings.max_reply_tokens)
    return endpoint


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
