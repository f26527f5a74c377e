"""The concurrency limiter against simulated servers, and the breaker: no clock costs time."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from memoirist.generators.client.circuit_breaker import CircuitBreaker
from memoirist.generators.client.limiter import Limiter, Slot

LATENCY = 0.2


@dataclass
class Run:
    """What a simulated run came to."""

    seconds: float = 0.0
    requests: int = 0
    most: int = 0
    limiter: Limiter = field(default_factory=lambda: Limiter(1))


@dataclass
class Server:
    """Answers after `latency`; refuses by chance, over its cap, or what `refuses` says."""

    latency: Callable[[int], float] = lambda _n: LATENCY
    chance: float = 0.0
    cap: Callable[[float], int] = lambda _now: 10**6
    cap_seconds: float = 0.002
    chance_seconds: float = LATENCY
    retry_after: float | None = 1.0
    seed: int = 0


class Simulation:
    """Sends `n` requests through a Limiter as the gate does, each again until it is answered."""

    def __init__(self, server: Server, most: int, n: int) -> None:
        self.now = 0.0
        self.server, self.n = server, n
        self.limiter = Limiter(most, lambda: self.now)
        self.draw = random.Random(server.seed)
        self.events: list[tuple[float, int, str, Slot | None]] = []
        self.order: Iterator[int] = iter(range(10**9))
        self.served = 0
        self.run = Run(limiter=self.limiter)

    def at(self, seconds: float, kind: str, slot: Slot | None = None) -> None:
        heapq.heappush(self.events, (self.now + seconds, next(self.order), kind, slot))

    def start(self) -> None:
        slot = self.limiter.start()
        server = self.server
        self.run.requests += 1
        self.run.most = max(self.run.most, slot.level)
        if self.served >= server.cap(self.now):
            self.at(server.cap_seconds * (0.5 + self.draw.random()), "refused", slot)
        elif self.draw.random() < server.chance:
            self.at(server.chance_seconds, "refused", slot)
        else:
            self.served += 1
            spread = 0.9 + 0.2 * self.draw.random()
            self.at(server.latency(self.served) * spread, "replied", slot)

    def go(self) -> Run:
        ready = self.n
        done = 0
        while done < self.n:
            while ready and self.limiter.wait_seconds() == 0:
                ready -= 1
                self.start()
            wait = self.limiter.wait_seconds()
            if ready and wait:
                self.at(wait, "look")
            began = self.now
            self.now, _, kind, slot = heapq.heappop(self.events)
            assert self.now >= began
            if kind == "replied" and slot:
                self.served -= 1
                done += 1
                self.limiter.replied(slot)
            elif kind == "refused" and slot:
                self.limiter.refused(slot, self.server.retry_after)
                self.at(self.server.retry_after or 0.2, "ready")
            elif kind == "ready":
                ready += 1
        self.run.seconds = self.now
        return self.run


def simulate(server: Server, most: int = 64, n: int = 1000) -> Run:
    return Simulation(server, most, n).go()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("most", [64, 256])
def test_a_cap_is_learnt_with_few_requests_wasted(seed: int, most: int) -> None:
    run = simulate(Server(cap=lambda _now: 32, seed=seed), most)
    assert run.requests <= 1060
    assert run.seconds <= 1.1 * 6.25
    assert 30 <= run.limiter.ceiling <= 34


@pytest.mark.parametrize("cap", [1, 8, 60, 63])
def test_any_cap_is_found(cap: int) -> None:
    run = simulate(Server(cap=lambda _now: cap), n=400)
    assert run.seconds <= 1.15 * 400 * LATENCY / cap + 1
    assert run.limiter.ceiling == cap
    assert run.requests <= 400 + 64 + 15


@pytest.mark.parametrize("seed", range(5))
def test_a_cap_that_refuses_late_costs_a_little_more(seed: int) -> None:
    run = simulate(Server(cap=lambda _now: 32, cap_seconds=LATENCY, seed=seed))
    assert run.requests <= 1200
    assert run.seconds <= 1.25 * 6.25


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("quick", [False, True])
def test_chance_refusals_do_not_cut_what_is_in_flight(seed: int, quick: bool) -> None:
    server = Server(chance=0.1, seed=seed, chance_seconds=0.002 if quick else LATENCY)
    run = simulate(server)
    assert run.limiter.ceiling == 64
    assert run.seconds < 2.4 * 3.125  # in the tail a few wait for their Retry-After, several times


def test_many_chance_refusals_are_no_cap_either() -> None:
    run = simulate(Server(chance=0.3), n=2000)
    assert run.limiter.ceiling >= 44
    assert run.seconds < 3 * 6.25


@pytest.mark.parametrize("seed", range(5))
def test_a_cap_shows_through_chance_refusals(seed: int) -> None:
    run = simulate(Server(cap=lambda _now: 32, chance=0.1, seed=seed))
    assert run.seconds <= 2.0 * 6.25
    assert run.requests <= 1330
    assert 28 <= run.limiter.ceiling <= 44


def test_a_cap_that_moves_is_followed() -> None:
    rises = simulate(Server(cap=lambda now: 16 if now < 5 else 64), n=3000)
    assert rises.limiter.ceiling == 64
    assert rises.seconds < 1.5 * (5 + (3000 - 400) * LATENCY / 64)
    falls = simulate(Server(cap=lambda now: 64 if now < 2 else 16))
    assert falls.requests < 1200
    assert falls.limiter.ceiling <= 20


def test_nothing_is_sent_in_vain_while_everything_is_refused() -> None:
    closed = Server(cap=lambda now: 0 if now < 20 else 64, retry_after=None)
    run = simulate(closed, n=200)
    assert run.requests < 200 + 64 + 20
    assert run.seconds < 45


def test_a_server_that_speeds_up_with_more_in_flight_is_not_cut() -> None:
    run = simulate(Server(latency=lambda n: LATENCY * (1 + n / 256)), most=256, n=3000)
    assert run.most == 256
    assert run.limiter.ceiling >= 170


def test_more_than_64_are_grown_into() -> None:
    limiter = Limiter(256, lambda: 0.0)
    assert limiter.limit == 64
    slots = [limiter.start() for _ in range(64)]
    assert limiter.wait_seconds() is None
    for slot in slots:
        limiter.replied(slot)
    assert limiter.limit == 128


def test_an_allowance_that_is_used_up_holds_every_start() -> None:
    now = [0.0]
    limiter = Limiter(4, lambda: now[0])
    limiter.hold(7)
    assert limiter.wait_seconds() == 7
    now[0] = 7.0
    assert limiter.wait_seconds() == 0
    limiter.hold(10_000)
    assert limiter.wait_seconds() == 60


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
    assert "no request has succeeded for 61 seconds (7 requests); the last error: HTTP 500" in str(
        breaker.stop_reason()
    )
    breaker.succeeded()
    assert breaker.wait_seconds(0) == 0
    assert breaker.stop_reason() is None


def test_a_server_that_goes_away_opens_the_breaker_at_once() -> None:
    breaker = CircuitBreaker(10, 60, lambda: 0.0)
    breaker.failed("the server does not answer", unreachable=True)
    assert not breaker.is_open  # it never was there: that is the caller's affair
    breaker.succeeded()
    breaker.failed("the server does not answer", unreachable=True)
    assert breaker.is_open
