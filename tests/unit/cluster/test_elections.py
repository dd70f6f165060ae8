"""When a member stands, and whom it lets stand: the rules one by one, without network and pysyncobj."""

from __future__ import annotations

from cmkms.cluster.elections import Elections, LogEnd
from cmkms.cluster.timing import Timing

TIMING = Timing.of(0.4)  # elections after 0.45 to 0.7 s, stagger 0.03 s
THREE = ("a", "b", "c")
END = LogEnd(3, 9)
START = 10.0


def member(
    me: str = "b", *, members: tuple[str, ...] = THREE, restarted: bool = False, chance: float = 0.5
) -> Elections:
    return Elections(me, members, TIMING, lambda: chance, START, restarted=restarted)


def following(me: str = "b", leader: str = "a", *, at: float = START, members: tuple[str, ...] = THREE) -> Elections:
    elections = member(me, members=members)
    for other in members:
        if other != me:
            elections.link_up(other, START)
    elections.hear(leader, at)
    return elections


def test_nobody_stands_without_links_to_a_majority() -> None:
    elections = member()
    assert not elections.due(START + 99)
    elections.link_up("c", START + 99)
    assert elections.due(START + 99 + TIMING.stagger)


def test_at_the_start_members_stand_by_rank() -> None:
    first, third = member("a"), member("c")
    first.link_up("b", START)
    third.link_up("b", START)
    assert first.due(START)
    assert not third.due(START + 0.059)
    assert third.due(START + 0.061)


def test_whoever_hears_a_leader_stands_back() -> None:
    elections = following()
    assert not elections.due(START + 0.449)


def test_silence_makes_it_stand_between_the_shortest_and_the_longest_timeout() -> None:
    for chance, when in ((0.0, 0.45), (1.0, 0.7)):
        elections = member(chance=chance)
        elections.link_up("a", START)
        elections.hear("a", START)
        assert not elections.due(START + when - 0.001)
        assert elections.due(START + when + 0.001)


def test_a_dead_leader_is_succeeded_at_once_by_rank() -> None:
    """Ranks are counted among those who are left."""
    for me, wait in (("b", 0.0), ("c", 0.03)):
        elections = following(me)
        elections.link_down("a", START + 0.1, goodbye=False)
        elections.refuse("a", START + 0.1)
        assert elections.gone == "a"
        assert not elections.due(START + 0.1 + wait - 0.001)
        assert elections.due(START + 0.1 + wait + 0.001)


def test_an_ended_link_alone_is_no_death() -> None:
    elections = following()
    elections.link_down("a", START + 0.1, goodbye=False)
    assert not elections.due(START + 0.449)
    assert not elections.grants("c", END, END, "", START + 0.449)


def test_a_refusing_port_with_the_link_still_there_is_no_death() -> None:
    elections = following()
    elections.refuse("a", START + 0.1)
    assert elections.hears_leader(START + 0.2)
    elections.link_down("a", START + 0.2, goodbye=False)
    assert elections.hears_leader(START + 0.2)


def test_a_goodbye_is_a_death() -> None:
    elections = following()
    elections.link_down("a", START + 0.1, goodbye=True)
    assert elections.due(START + 0.1)


def test_the_death_of_another_than_the_leader_starts_nothing() -> None:
    elections = following("b")
    elections.link_down("c", START + 0.1, goodbye=True)
    assert not elections.due(START + 0.449)


def test_a_leader_that_is_back_is_not_gone() -> None:
    elections = following()
    elections.link_down("a", START + 0.1, goodbye=True)
    elections.link_up("a", START + 0.2)
    assert not elections.gone


def test_no_pre_vote_while_a_leader_is_heard() -> None:
    elections = following()
    assert not elections.grants("c", END, END, "", START + 0.44)
    assert elections.grants("c", END, END, "", START + 0.46)


def test_the_candidate_may_have_seen_the_port_refuse_where_only_the_link_ended() -> None:
    elections = following()
    elections.link_down("a", START + 0.1, goodbye=False)
    assert elections.grants("c", END, END, "a", START + 0.11)
    assert elections.gone == "a"


def test_a_candidates_word_does_not_count_while_the_own_link_is_there() -> None:
    elections = following()
    assert not elections.grants("c", END, END, "a", START + 0.1)


def test_the_leader_itself_may_ask_again() -> None:
    elections = following()
    assert elections.grants("a", END, END, "", START + 0.1)
    assert elections.admits("a", START + 0.1, transfer=False)


def test_no_pre_vote_for_a_shorter_log() -> None:
    elections = member()
    assert not elections.grants("c", LogEnd(3, 8), END, "", START)
    assert not elections.grants("c", LogEnd(2, 99), END, "", START)
    assert elections.grants("c", LogEnd(4, 1), END, "", START)


def test_a_given_pre_vote_holds_its_giver_back_for_a_step() -> None:
    elections = member("a")
    elections.link_up("b", START)
    assert elections.due(START)
    assert elections.grants("c", END, END, "", START)
    assert not elections.due(START + 0.029)
    assert elections.due(START + 0.031)


def test_a_given_vote_holds_its_giver_back_for_two_steps() -> None:
    elections = member("a")
    elections.link_up("b", START)
    elections.voted(START)
    assert not elections.due(START + 0.059)
    assert elections.due(START + 0.061)


def test_of_two_who_ask_each_other_the_first_goes_on() -> None:
    first, second = member("a"), member("b")
    first.ask(4, START)
    second.ask(4, START)
    assert not first.grants("b", END, END, "", START + 0.001)
    assert second.grants("a", END, END, "", START + 0.001)


def test_who_asks_gives_way_to_a_longer_log() -> None:
    first = member("a")
    first.ask(4, START)
    assert first.grants("b", LogEnd(3, 10), END, "", START + 0.001)


def test_a_real_vote_is_refused_while_a_leader_is_heard_unless_it_hands_over() -> None:
    elections = following()
    assert not elections.admits("c", START + 0.1, transfer=False)
    assert elections.admits("c", START + 0.1, transfer=True)
    assert elections.admits("c", START + 0.46, transfer=False)


def test_after_a_restart_it_is_as_if_a_leader_had_been_heard() -> None:
    elections = member("a", restarted=True)
    elections.link_up("b", START)
    assert not elections.due(START + 0.449)
    assert not elections.grants("c", END, END, "", START + 0.449)
    assert not elections.admits("c", START + 0.449, transfer=False)
    assert elections.due(START + 0.451)


def test_once_a_leader_was_heard_the_restart_is_forgotten() -> None:
    elections = member("b", restarted=True)
    elections.link_up("a", START)
    elections.link_up("c", START)
    elections.hear("a", START + 0.1)
    elections.link_down("a", START + 0.2, goodbye=True)
    assert elections.due(START + 0.2)


def test_pre_votes_are_counted_once_per_member() -> None:
    five = ("a", "b", "c", "d", "e")
    elections = member("a", members=five)
    elections.ask(4, START)
    assert not elections.granted("b", 4, START)
    assert not elections.granted("b", 4, START)
    assert not elections.granted("stranger", 4, START)
    assert not elections.granted("a", 4, START)
    assert elections.granted("c", 4, START)


def test_pre_votes_of_another_term_count_for_nothing() -> None:
    elections = member("a")
    elections.ask(4, START)
    assert not elections.granted("b", 3, START)
    assert not elections.granted("c", 5, START)


def test_an_answer_that_comes_after_the_next_attempt_still_counts() -> None:
    elections = member("a", members=("a", "b", "c", "d", "e"))
    elections.ask(4, START)
    assert not elections.granted("b", 4, START + 0.03)
    elections.ask(4, START + 0.06)
    assert elections.granted("c", 4, START + 0.07)


def test_an_old_pre_vote_counts_no_more() -> None:
    elections = member("a", members=("a", "b", "c", "d", "e"))
    elections.ask(4, START)
    elections.granted("b", 4, START)
    assert not elections.granted("c", 4, START + 0.46)


def test_whoever_hears_a_leader_meanwhile_does_not_stand() -> None:
    elections = member("a")
    elections.ask(4, START)
    elections.hear("c", START)
    assert not elections.granted("b", 4, START)


def test_one_member_alone_needs_nobody() -> None:
    elections = member("a", members=("a",))
    assert elections.due(START)
    assert elections.ask(1, START)


def test_an_attempt_is_repeated_after_one_to_three_steps() -> None:
    for chance, wait in ((0.0, 0.03), (1.0, 0.09)):
        elections = member("a", chance=chance)
        elections.link_up("b", START)
        elections.ask(4, START)
        assert not elections.due(START + wait - 0.001)
        assert elections.due(START + wait + 0.001)


def test_whoever_handed_over_stands_back_for_a_second() -> None:
    elections = following("a", "b")
    elections.handed_over("b", START)
    assert not elections.due(START + 1.0)
    assert elections.due(START + 1.03)


def test_unless_its_successor_goes_away() -> None:
    elections = following("a", "c")
    elections.handed_over("b", START)
    elections.link_down("b", START + 0.1, goodbye=False)
    assert elections.due(START + 0.71)


def test_whoever_was_overtaken_without_a_new_leader_stands_at_once() -> None:
    elections = member("b")
    elections.link_up("a", START)
    elections.won(START + 1)
    elections.overtaken(START + 2)
    assert elections.due(START + 2)
