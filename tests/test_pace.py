"""The pace against simulated servers, on a clock that costs no time."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from memoirist.generators.breaker import Breaker
from memoirist.generators.deadline import Deadline
from memoirist.generators.levels import Levels
from memoirist.generators.pace import Pace, Slot

LATENCY = 0.2


@dataclass
class Run:
    """What a simulated run came to."""

    seconds: float = 0.0
    requests: int = 0
    most: int = 0
    pace: Pace = field(default_factory=lambda: Pace(1))


@dataclass
class Server:
    """Answers after `latency`; refuses by chance, over its cap, or what `refuses` says."""

    latency: Callable[[int], float] = lambda _n: LATENCY
    chance: float = 0.0
    cap: Callable[[float], int] = lambda _now: 10**6
    cap_seconds: float = 0.002
    chance_seconds: float = LATENCY
    retry_after: float | None = 1.0
    our_work: float = 0.1
    seed: int = 0


class Simulation:
    """Sends `n` requests through a Pace as the gate does, each again until it is answered."""

    def __init__(self, server: Server, most: int, n: int) -> None:
        self.now = 0.0
        self.server, self.n = server, n
        self.pace = Pace(most, lambda: self.now, lambda: self.now * server.our_work)
        self.draw = random.Random(server.seed)
        self.events: list[tuple[float, int, str, Slot | None]] = []
        self.order: Iterator[int] = iter(range(10**9))
        self.served = 0
        self.began: dict[Slot, float] = {}
        self.run = Run(pace=self.pace)

    def at(self, seconds: float, kind: str, slot: Slot | None = None) -> None:
        heapq.heappush(self.events, (self.now + seconds, next(self.order), kind, slot))

    def start(self) -> None:
        slot = self.pace.start()
        self.began[slot] = self.now
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
            while ready and self.pace.wait_seconds() == 0:
                ready -= 1
                self.start()
            wait = self.pace.wait_seconds()
            if ready and wait:
                self.at(wait, "look")
            began = self.now
            self.now, _, kind, slot = heapq.heappop(self.events)
            assert self.now >= began
            if kind == "replied" and slot:
                self.served -= 1
                done += 1
                self.pace.replied(slot, self.now - self.began.pop(slot))
            elif kind == "refused" and slot:
                self.pace.refused(slot, self.server.retry_after)
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
    assert 30 <= run.pace.ceiling <= 34


@pytest.mark.parametrize("cap", [1, 8, 60, 63])
def test_any_cap_is_found(cap: int) -> None:
    run = simulate(Server(cap=lambda _now: cap), n=400)
    assert run.seconds <= 1.15 * 400 * LATENCY / cap + 1
    assert run.pace.ceiling == cap
    assert run.requests <= 400 + 64 + 15


@pytest.mark.parametrize("seed", range(5))
def test_a_cap_that_refuses_late_costs_a_little_more(seed: int) -> None:
    run = simulate(Server(cap=lambda _now: 32, cap_seconds=LATENCY, seed=seed))
    assert run.requests <= 1150
    assert run.seconds <= 1.25 * 6.25


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("quick", [False, True])
def test_chance_refusals_do_not_cut_what_is_in_flight(seed: int, quick: bool) -> None:
    server = Server(chance=0.1, seed=seed, chance_seconds=0.002 if quick else LATENCY)
    run = simulate(server)
    assert run.pace.ceiling == 64
    assert run.seconds < 2.4 * 3.125  # in the tail a few wait for their Retry-After, several times


def test_many_chance_refusals_are_no_cap_either() -> None:
    run = simulate(Server(chance=0.3), n=2000)
    assert run.pace.ceiling >= 44
    assert run.seconds < 3 * 6.25


@pytest.mark.parametrize("seed", range(5))
def test_a_cap_shows_through_chance_refusals(seed: int) -> None:
    run = simulate(Server(cap=lambda _now: 32, chance=0.1, seed=seed))
    assert run.seconds <= 2.0 * 6.25
    assert run.requests <= 1250
    assert 28 <= run.pace.ceiling <= 44


def test_a_cap_that_moves_is_followed() -> None:
    rises = simulate(Server(cap=lambda now: 16 if now < 5 else 64), n=3000)
    assert rises.pace.ceiling == 64
    assert rises.seconds < 1.5 * (5 + (3000 - 400) * LATENCY / 64)
    falls = simulate(Server(cap=lambda now: 64 if now < 2 else 16))
    assert falls.requests < 1200
    assert falls.pace.ceiling <= 20


def test_nothing_is_sent_in_vain_while_everything_is_refused() -> None:
    closed = Server(cap=lambda now: 0 if now < 20 else 64, retry_after=None)
    run = simulate(closed, n=200)
    assert run.requests < 200 + 64 + 20
    assert run.seconds < 45


def test_a_queue_behind_the_server_is_kept_short_without_losing_speed() -> None:
    # Eight at a time, the others queue: latency grows in proportion to what is in flight.
    run = simulate(Server(latency=lambda n: LATENCY * max(1, n / 8)), n=1000)
    assert run.pace.ceiling < 40
    assert run.seconds < 1.2 * 1000 * LATENCY / 8


def test_replies_that_wait_for_our_own_cpu_are_no_queue() -> None:
    server = Server(latency=lambda n: LATENCY * max(1, n / 8), our_work=0.8)
    assert simulate(server).pace.ceiling == 64


def test_a_server_that_speeds_up_with_more_in_flight_is_not_cut() -> None:
    run = simulate(Server(latency=lambda n: LATENCY * (1 + n / 256)), most=256, n=3000)
    assert run.most == 256
    assert run.pace.ceiling >= 170


def test_more_than_64_are_grown_into() -> None:
    pace = Pace(256, lambda: 0.0)
    assert pace.limit == 64
    slots = [pace.start() for _ in range(64)]
    assert pace.wait_seconds() is None
    for slot in slots:
        pace.replied(slot, LATENCY)
    assert pace.limit == 128


def test_an_allowance_that_is_used_up_holds_every_start() -> None:
    now = [0.0]
    pace = Pace(4, lambda: now[0])
    pace.hold(7)
    assert pace.wait_seconds() == 7
    now[0] = 7.0
    assert pace.wait_seconds() == 0
    pace.hold(10_000)
    assert pace.wait_seconds() == 60


def test_levels_tell_a_cap_from_chance() -> None:
    capped, random_ones = Levels(64), Levels(64)
    for level in range(1, 65):
        capped.count(level, refused=level > 40)
        random_ones.count(level, refused=level % 10 == 0)
    assert capped.cap(()) == 40
    assert random_ones.cap(()) is None
    assert Levels(64).cap(()) is None
    wide = Levels(4096)
    for level in range(1, 4097):
        wide.count(level, refused=level > 1000)
    assert abs((wide.cap(()) or 0) - 1000) <= 32


def test_the_deadline_is_learnt() -> None:
    deadline = Deadline(None)
    assert deadline.seconds(1) == 120
    for _ in range(20):
        deadline.saw(0.2)
    assert deadline.seconds(1) == 5
    assert deadline.seconds(2) == 10
    for n in range(100):
        deadline.saw(30.0 if n % 2 else 10.0)
    assert deadline.seconds(1) == 120
    for _ in range(100):
        deadline.saw(400.0)
    assert deadline.seconds(3) == 600
    assert Deadline(1.0).seconds(5) == 1.0


def test_a_few_hangs_do_not_stretch_the_deadline() -> None:
    deadline = Deadline(None)
    for n in range(400):
        deadline.saw(0.2 if n % 50 else deadline.seconds(1))
    assert deadline.seconds(1) == 5


def test_the_breaker_opens_pauses_and_stops() -> None:
    now = [0.0]
    breaker = Breaker(10, 60, lambda: now[0])
    for _ in range(5):
        breaker.failed("broken")
        assert breaker.wait_seconds(3) == 0
        now[0] += 2
    assert not breaker.is_open
    breaker.failed("broken")
    assert breaker.is_open
    assert breaker.wait_seconds(1) is None
    assert breaker.wait_seconds(0) == 1
    assert breaker.verdict() is None
    now[0] = 61
    breaker.failed("HTTP 500")
    assert "nothing has succeeded for 61 seconds, 7 requests; the last one: HTTP 500" in str(
        breaker.verdict()
    )
    breaker.succeeded()
    assert breaker.wait_seconds(0) == 0
    assert breaker.verdict() is None


def test_a_server_that_goes_away_opens_the_breaker_at_once() -> None:
    breaker = Breaker(10, 60, lambda: 0.0)
    breaker.failed("nothing answers", gone=True)
    assert not breaker.is_open  # it never was there: that is the caller's affair
    breaker.succeeded()
    breaker.failed("nothing answers", gone=True)
    assert breaker.is_open
