"""The circuit breaker on a clock that costs no time."""

from __future__ import annotations

from memoirist.generators.client.circuit_breaker import CircuitBreaker


def test_the_breaker_opens_pauses_and_stops() -> None:
    now = [0.0]
    breaker = CircuitBreaker(10, 60, lambda: now[0])
    for _ in range(5):
        breaker.failed("broken")
        assert breaker.wait_seconds(3) == 0
        now[0] += 2
    assert not breaker.is_open
    breaker.failed("broken")
    assert breaker.is_open
    assert breaker.wait_seconds(1) is None
    assert breaker.wait_seconds(0) == 1
    assert breaker.stop_reason() is None
    now[0] = 61
    breaker.failed("HTTP 500")
    assert "nothing has succeeded for 61 seconds, 7 requests; the last one: HTTP 500" in str(
        breaker.stop_reason()
    )
    breaker.succeeded()
    assert breaker.wait_seconds(0) == 0
    assert breaker.stop_reason() is None


def test_a_server_that_goes_away_opens_the_breaker_at_once() -> None:
    breaker = CircuitBreaker(10, 60, lambda: 0.0)
    breaker.failed("nothing answers", unreachable=True)
    assert not breaker.is_open  # it never was there: that is the caller's affair
    breaker.succeeded()
    breaker.failed("nothing answers", unreachable=True)
    assert breaker.is_open
