"""Nobody waits longer for others having more sessions: played on one worker, whose clock is only a number."""

from dataclasses import dataclass

import pytest
from keepworld_runtime.engine.fairness import Shares
from keepworld_runtime.engine.scheduler import Turn, choose

CHUNK_S = 16 / 24


@dataclass
class Player:
    """A session: whose, what its chunks take, whether by the clock; how long its reader lets it wait after each."""

    tenant: str
    chunk_s: float = 0.1
    is_realtime: bool = False
    reads_s: float = 0.0
    ready_s: float = 0.0
    deadline_s: float = 0.5
    drawn: int = 0
    late_s: float = 0.0

    @property
    def given_s(self) -> float:
        return self.drawn * self.chunk_s


def play(players: list[Player], until_s: float) -> None:
    shares, now_s = Shares(str), 0.0  # a session's id is its tenant
    while now_s < until_s:
        turns = [
            Turn(
                key=player,
                deadline_s=player.deadline_s if player.is_realtime else player.ready_s + CHUNK_S,
                chunk_s=player.chunk_s,
                is_realtime=player.is_realtime,
                given_s=shares.given_s(player.tenant),
            )
            for player in players
            if player.ready_s <= now_s
        ]
        choice = choose(turns, now_s, shares.owed_s)
        player = choice.key
        if player is None:
            now_s = min([choice.wake_s, *(each.ready_s for each in players if each.ready_s > now_s)])
            continue
        now_s += player.chunk_s
        player.drawn += 1
        if player.is_realtime:
            player.late_s = max(player.late_s, now_s - player.deadline_s)
            player.deadline_s = max(player.deadline_s, now_s) + CHUNK_S
            if not all(turn.is_realtime for turn in turns):
                shares.keep_waiting(player.chunk_s)
        else:
            shares.give(player.tenant, player.chunk_s)
            player.ready_s = now_s + player.reads_s


def by_tenant(players: list[Player]) -> dict[str, float]:
    given = dict.fromkeys((player.tenant for player in players), 0.0)
    for player in players:
        given[player.tenant] += player.given_s
    return given


def test_one_greedy_and_four_polite_tenants_have_a_fifth_each():
    players = [*(Player("greedy") for _ in range(40)), *(Player(f"polite {i}") for i in range(4))]
    play(players, 600.0)
    for given_s in by_tenant(players).values():
        assert given_s == pytest.approx(120, abs=0.2)
    greedy = [player.drawn for player in players if player.tenant == "greedy"]
    assert max(greedy) - min(greedy) <= 1  # its own sessions take turns


def test_dear_chunks_are_paid_for_in_time_and_not_in_chunks():
    players = [Player("dear", 2.0), *(Player("cheap", 0.05) for _ in range(3))]
    play(players, 600.0)
    assert by_tenant(players) == {"dear": pytest.approx(300, abs=2), "cheap": pytest.approx(300, abs=2)}


@pytest.mark.parametrize("reads_s", [0.01, 0.05])
def test_who_reads_slowly_between_chunks_still_has_four_fifths_of_a_fair_share(reads_s):
    players = [*(Player("greedy") for _ in range(20)), Player("polite", reads_s=reads_s)]
    play(players, 600.0)
    assert by_tenant(players)["polite"] >= 0.8 * 300


def test_who_comes_back_has_saved_nothing_up_and_owes_nothing():
    late = Player("late", ready_s=300.0)
    players = [*(Player("greedy") for _ in range(20)), late]
    play(players, 600.0)
    assert late.given_s == pytest.approx(150, abs=0.2)


def test_what_was_promised_holds_and_its_rest_is_shared():
    promised = [Player("greedy", 0.15, is_realtime=True) for _ in range(2)]
    players = [*promised, *(Player("greedy") for _ in range(20)), Player("polite", 0.2)]
    play(players, 600.0)
    assert all(player.late_s <= 0 for player in promised)
    assert [player.drawn for player in promised] == pytest.approx([900, 900], abs=2)
    waiting = [player for player in players if not player.is_realtime]
    assert by_tenant(waiting) == {"greedy": pytest.approx(165, rel=0.02), "polite": pytest.approx(165, rel=0.02)}


def test_tenants_that_are_no_more_are_forgotten():
    shares = Shares(str)
    for number in range(1000):
        shares.give(f"tenant {number}", 0.1)
    for _ in range(2):
        shares.give("the one that stays", 0.1)
    assert list(shares._given_s) == ["the one that stays"]


def test_where_more_was_promised_than_can_be_kept_nobody_gets_nothing():
    promised = [Player("a", 0.4, is_realtime=True) for _ in range(2)]
    waiting = [Player("b", chunk_s) for chunk_s in (0.1, 0.1, 1.0)]
    play([*promised, *waiting], 600.0)
    assert min(player.given_s for player in promised) > 0.45 * 600
    assert sum(player.given_s for player in waiting) > 0.02 * 600
    assert min(player.drawn for player in waiting) > 0
