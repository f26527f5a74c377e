"""Models with wishes of their own: adapted to once, by the probe or at the first refusal."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from memoirist.data.schema.errors import EndpointError
from memoirist.generators.client.endpoint import ALWAYS, Endpoint, adapted, is_about_form
from memoirist.generators.client.http_errors import status_fault
from memoirist.generators.client.probe import probe
from memoirist.generators.client.responses import body_or_fault, read_completion
from memoirist.generators.settings import InterviewSettings
from tests.generators.client.test_client import MESSAGES, settings_for
from tests.generators.tasks.test_question import PASSAGES
from tests.support.interviews import questions
from tests.support.openai_server import OpenAIServer, Script, _completion
from tests.tools.fuzz import mutate

Wish = Callable[[Mapping[str, Any]], "str | tuple[int, str] | None"]
PLAIN = Endpoint(base_url="http://127.0.0.1:9/v1", model="m", structured="json_schema")


def roles(body: Mapping[str, Any]) -> list[str]:
    return [message["role"] for message in body["messages"]]


def no_system(status: int, message: str) -> Wish:
    return lambda body: (status, message) if "system" in roles(body) else None


def without_switch(key: str, value: object) -> Wish:
    """Return the wish of a model that thinks all its tokens away unless a key turns that off."""
    return lambda body: None if body.get(key) == value else "thoughts_cut"


def only_streams(body: Mapping[str, Any]) -> str | None:
    if body.get("stream"):
        return None
    return (
        "This model only support stream mode, please enable the stream parameter to access the"
        " model. "
    )


def no_thoughts_without_a_stream(body: Mapping[str, Any]) -> str | None:
    if body.get("stream") or body.get("enable_thinking") is False:
        return None
    return "parameter.enable_thinking must be set to false for non-streaming calls"


def other_limit(body: Mapping[str, Any]) -> str | None:
    if "max_tokens" in body:
        return (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use"
            " 'max_completion_tokens' instead."
        )
    if body.get("temperature", 1) != 1:
        return (
            "Unsupported value: 'temperature' does not support 0.8 with this model. Only the"
            " default (1) value is supported."
        )
    return None


_TEMPLATE_OFF = {"enable_thinking": False, "thinking": False}
# What public reports quote, by server: vLLM, SGLang, Gemini, OpenAI, DashScope, Ollama, DeepSeek.
WISHES: list[tuple[str, Wish, dict[str, Any]]] = [
    ("vllm", no_system(400, "System role not supported"), {"takes_system": False}),
    ("llama.cpp", no_system(500, "Jinja Exception: System role not supported"),
     {"takes_system": False}),
    ("sglang", no_system(500, "Internal Server Error"), {"takes_system": False}),
    ("gemini", no_system(400, "Developer instruction is not enabled for models/gemma-3-27b-it"),
     {"takes_system": False}),
    ("openai", no_system(400, "Unsupported value: 'messages[0].role' does not support 'system'"
                              " with this model."), {"takes_system": False}),
    ("mistral", no_system(400, "Conversation roles must alternate user/assistant/user/..."),
     {"takes_system": False}),
    ("dashscope", only_streams, {"streams": "counted"}),
    ("proxy", lambda body: None if body.get("stream") else "Stream must be set to true",
     {"streams": "counted"}),
    ("old proxy", lambda body: only_streams(body) or (
        "Unknown parameter: stream_options" if "stream_options" in body else None),
     {"streams": "uncounted"}),
    ("qwen3", no_thoughts_without_a_stream, {"thinking": "enable_thinking"}),
    ("o3", other_limit, {"token_limit_name": "max_completion_tokens", "takes_temperature": False}),
    ("openrouter", lambda body: (404, "No endpoints found that can handle the requested parameters")
     if "response_format" in body else None, {"structured": "text"}),
    ("vllm thinks", without_switch("chat_template_kwargs", _TEMPLATE_OFF),
     {"thinking": "chat_template"}),
    ("siliconflow", without_switch("enable_thinking", False), {"thinking": "enable_thinking"}),
    ("ollama", without_switch("reasoning_effort", "none"), {"thinking": "effort_none"}),
    ("deepseek", without_switch("thinking", {"type": "disabled"}), {"thinking": "thinking_type"}),
    ("gpt-oss", lambda body: None if body.get("reasoning_effort") == "low" else
     "Unrecognized request argument supplied: chat_template_kwargs"
     if "chat_template_kwargs" in body else "open_think", {"thinking": "effort_low"}),
    ("r1", lambda _body: "thoughts_cut", {"thinking": ALWAYS}),
    ("both", lambda body: only_streams(body) or no_system(400, "invalid role: system")(body),
     {"streams": "counted", "takes_system": False}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("wish", "changes"), [row[1:] for row in WISHES], ids=[r[0] for r in WISHES]
)
def test_the_probe_finds_the_form(wish: Wish, changes: dict[str, Any]) -> None:
    with OpenAIServer(Script(wants=wish)) as server:
        settings = settings_for(server, max_repairs=0)
        endpoint = asyncio.run(probe(settings))
        assert {name: getattr(endpoint, name) for name in changes} == changes
        assert endpoint.describe()
        # A known endpoint is not probed again.
        n_probes = server.seen.probes
        assert asyncio.run(probe(settings.model_copy(update={"model": endpoint.model}), [endpoint]))
        assert server.seen.probes == n_probes


@pytest.mark.parametrize(
    ("wish", "changes"), [row[1:] for row in WISHES if row[0] != "sglang"],
    ids=[row[0] for row in WISHES if row[0] != "sglang"],
)  # fmt: skip
def test_a_run_adapts_at_the_first_refusal(wish: Wish, changes: dict[str, Any]) -> None:
    """Also where the probe has met another server, or short thoughts alone."""
    with OpenAIServer(Script()) as server:
        settings = settings_for(server, model="interviewer", max_concurrency=1, max_repairs=5)
        known = asyncio.run(probe(settings))
        server.script.wants = wish
        answered, endpoint = asyncio.run(_run(settings, known, 6))
        assert {name: getattr(endpoint, name) for name in changes} == changes
        assert answered == (0 if endpoint.thinking == ALWAYS else 6)
        # The next run does not pay for a refusal again.
        server.seen.bodies.clear()
        server.seen.statuses.clear()
        again, same = asyncio.run(_run(settings, endpoint, 6))
        assert (again, same) == (answered, endpoint)
        if answered:
            assert set(server.seen.statuses) <= {0, 200}  # 0: a stream
            assert len(server.seen.bodies) == 6


async def _run(settings: InterviewSettings, endpoint: Endpoint, n: int) -> tuple[int, Endpoint]:
    from memoirist.generators.client.session import Budget, Session
    from memoirist.generators.tasks.executor import send_items
    from memoirist.generators.tasks.question import QuestionTask

    now = datetime(2026, 1, 1, tzinfo=UTC)
    session = Session(settings=settings, endpoint=endpoint, budget=Budget(settings), now=now)
    task = QuestionTask("Ada Quill", endpoint.model, settings)
    results = [row async for row in send_items(map(task.item, PASSAGES[:n]), task, session)]
    return sum(bool(questions(row)) for row in task.settle(results)), session.endpoint


def test_refusals_of_many_requests_at_once_are_adapted_to_once() -> None:
    with OpenAIServer(Script(latency_seconds=0.05)) as server:
        settings = settings_for(server, max_concurrency=8)
        known = asyncio.run(probe(settings))
        server.script.wants = no_system(400, "System role not supported")
        assert asyncio.run(_run(settings, known, 12))[0] == 12
        assert server.seen.statuses[400] <= 8
        assert roles(server.seen.bodies[-1]) == ["user"]
        content = server.seen.bodies[-1]["messages"][0]["content"]
        assert "mark-" in content
        assert len(content) > len(PASSAGES[0].text) + 200


@pytest.mark.parametrize("place", [0, 3])
def test_thoughts_of_a_few_leave_thinking_on(place: int) -> None:
    faults = ["thoughts_cut" if n == place else "" for n in range(6)]
    with OpenAIServer(Script(faults=faults)) as server:
        settings = settings_for(server, max_concurrency=1)
        known = asyncio.run(probe(settings))
        answered, endpoint = asyncio.run(_run(settings, known, 5))
        assert (answered, endpoint.thinking) == (5, "unset")


def test_a_key_of_the_users_own_wins() -> None:
    body = {"chat_template_kwargs": {"enable_thinking": True}, "temperature": 1}
    with OpenAIServer(Script(always="thoughts_cut", probe_faults=True)) as server:
        settings = settings_for(server, extra_body=body, max_concurrency=1)
        known = asyncio.run(probe(settings))
        assert known.thinking == "unset"
        assert asyncio.run(_run(settings, known, 2)) == (0, known)
        assert all(sent["temperature"] == 1 for sent in server.seen.bodies)
        assert all(sent["chat_template_kwargs"]["enable_thinking"] for sent in server.seen.bodies)


def test_thinking_that_answers_is_left_on() -> None:
    with OpenAIServer(Script(always="think", probe_faults=True)) as server:
        assert asyncio.run(probe(settings_for(server))).describe() == ""
        assert server.seen.probes == 1


def test_a_refusal_that_names_nothing_ends_a_run_and_not_the_probe() -> None:
    with OpenAIServer(Script()) as server:
        known = asyncio.run(probe(settings_for(server)))
        server.script.wants = lambda _body: "Bad request"
        with pytest.raises(EndpointError, match="answered 400: Bad request"):
            asyncio.run(_run(settings_for(server, max_concurrency=1), known, 3))
        assert server.seen.requests == 1
        with pytest.raises(EndpointError, match="Bad request"):
            asyncio.run(probe(settings_for(server)))
    assert adapted(PLAIN, "answered 400: Bad request") is None
    assert adapted(PLAIN, "answered 400: Bad request", probing=True) is not None


@pytest.mark.parametrize(
    ("refusal", "changes"),
    [
        *((refusal, {"takes_system": False}) for refusal in (
            "Only user and assistant roles are supported!",
            "Invalid value: 'system'. Supported values are: 'user' and 'assistant'.",
            "Unexpected message role.",
            "messages[0].role must be one of user, assistant",
        )),
        *((refusal, {"streams": "counted"}) for refusal in (
            "Only streaming responses are supported",
            "only stream=true is supported",
            "This model requires stream=true",
            "stream=false is not supported",
            "stream parameter is required",
        )),
    ],
)  # fmt: skip
def test_other_wordings_are_known(refusal: str, changes: dict[str, Any]) -> None:
    assert adapted(PLAIN, f"answered 400: {refusal}") == replace(PLAIN, **changes)


@pytest.mark.parametrize(
    ("wish", "changes"),
    [
        (no_system(400, "Bad request"), {"takes_system": False}),
        (lambda body: None if body.get("stream") else "Bad request", {"streams": "counted"}),
    ],
)
def test_the_probe_tries_every_want_where_none_is_named(
    wish: Wish, changes: dict[str, Any]
) -> None:
    with OpenAIServer(Script(wants=wish)) as server:
        endpoint = asyncio.run(probe(settings_for(server)))
    assert {name: getattr(endpoint, name) for name in changes} == changes


def test_a_server_with_an_error_of_its_own_is_told_as_that() -> None:
    with OpenAIServer(Script(wants=lambda _body: (500, "CUDA out of memory"))) as server:
        with pytest.raises(EndpointError, match=r"500: CUDA out of memory.*log"):
            asyncio.run(probe(settings_for(server)))
        assert server.seen.probes == 6


def test_only_what_is_about_the_form_is_taken_so() -> None:
    for message in ("upstream should be restarted", "The stream was reset", "role of the host",
                    "overloaded", "context size exceeded by the system"):  # fmt: skip
        assert not is_about_form(message), message
        assert status_fault(500, {}, message).kind == "retry"
    assert status_fault(500, {}, "System role not supported").kind == "schema"
    assert status_fault(429, {}, "System role not supported").kind == "retry"


@pytest.mark.parametrize(
    ("message", "finish", "text", "thinks"),
    [
        ({"content": None, "reasoning_content": 'So: {"is_answer": false}'}, "stop", True, True),
        ({"content": "", "reasoning": '{"better": 1}'}, "stop", True, True),
        ({"content": "", "thinking": "Hm, the mill."}, "stop", False, True),
        ({"content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "{}"}]},
         "stop", True, False),
        ({"content": "{}", "reasoning_content": "Hm."}, "stop", True, True),
    ],
)  # fmt: skip
def test_an_answer_is_found_beside_the_thoughts(
    message: dict[str, Any], finish: str, text: bool, thinks: bool
) -> None:
    body = {"choices": [{"message": message, "finish_reason": finish}]}
    completion = read_completion(body, 1, 0.1)
    assert completion.thinks is thinks
    assert completion.thinks_in_vain is (thinks and not text)


@pytest.mark.parametrize(
    ("finish", "cause"),
    [("max_tokens", "cut_off"), ("MAX_TOKENS", "cut_off"), ("sensitive", "filtered"),
     ("SAFETY", "filtered"), ("refusal", "refused"), ("eos", None), (None, None)],
)  # fmt: skip
def test_the_reasons_of_all_servers_are_known(finish: str | None, cause: str | None) -> None:
    body = {"choices": [{"message": {"content": "{}"}, "finish_reason": finish}]}
    assert read_completion(body, 1, 0.1).cause == cause


def test_a_reply_that_broke_off_at_the_provider_is_asked_again() -> None:
    for choice in (
        {"message": {"content": ""}, "error": {"code": 502, "message": "Upstream"}},
        {"message": {"content": "{"}, "finish_reason": "insufficient_system_resource"},
    ):
        fault = body_or_fault({"choices": [choice]}, {})
        assert not isinstance(fault, dict)
        assert fault.kind == "retry"
    listed = [{"error": {"code": 400, "message": "Developer instruction is not enabled"}}]
    assert "Developer instruction" in status_fault(400, {}, listed).message


def test_messages_are_folded_in_their_order() -> None:
    folded = Endpoint(base_url="u", model="m", structured="text", takes_system=False)
    more = [*MESSAGES, {"role": "assistant", "content": "?"}, {"role": "user", "content": "Again."}]
    body = folded.request(more, {}, InterviewSettings(), 64)
    assert roles(body) == ["user", "assistant", "user"]
    assert body["messages"][0]["content"] == f"Ask.\n\n{MESSAGES[1]['content']}"


def test_a_thousand_damaged_replies_are_read_or_refused() -> None:
    chance = random.Random(13)
    replies = [
        _completion('{"is_answer": false}', fault, {"model": "m", "messages": []})
        for fault in (None, "refusal", "thoughts_cut", "reasoned", "no_choices", "broken_off")
    ]
    n_read = 0
    for n in range(1000):
        text = json.dumps(replies[n % len(replies)])
        damaged = text if n % 4 == 0 else mutate(text.encode(), chance).decode("utf-8", "replace")
        try:
            value = json.loads(damaged)
        except ValueError:
            # A value of another kind somewhere within, in valid JSON.
            value = _with_another_value(json.loads(text), chance)
        body = body_or_fault(value, {}) if isinstance(value, dict) else {}
        if isinstance(body, dict):
            completion = read_completion(body, 1, 0.1)
            assert completion.thinks_in_vain in {True, False}
            assert (completion.cause is None) == (completion.fault is None)
            n_read += 1
        for refusal in (damaged, status_fault(400, {}, value).message):
            assert adapted(PLAIN, refusal, probing=True) != PLAIN
    assert n_read > 500


def _with_another_value(value: Any, chance: random.Random) -> Any:
    """Return the value with one part of it replaced by something of another kind."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = chance.choice(keys)
    inner = value[key]
    if isinstance(inner, dict | list) and inner and chance.random() < 0.7:
        value[key] = _with_another_value(inner, chance)
    else:
        value[key] = chance.choice([None, 7, -1.5, True, "x", [], [None], {}, {"a": []}, [["b"]]])
    return value
