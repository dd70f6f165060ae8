/* A change of coordinators at one HRS: HELD, the peek, and no HRS that can never be signed.
 *
 * The old holder, on g1, asks all guards for v1. It may be killed at any instant, and its guard stays down with it. The
 * new one, on the last guard, was asked for v2, the same vote with another timestamp. What was sent arrives whenever it
 * likes, at whom it likes, as often as it likes. That never two values are signed does not rest on any of this, and is
 * checked in quorum.pml; what is shown here is that a majority of the living can always still sign one, and that the
 * new holder's own counting grants nothing else than what a majority holds.
 *
 * instance.pml, written by check.py, says how many guards there are. Each BREAK_ leaves out one rule.
 */
#include "instance.pml"

#define BIT(i)		(1 << (i))
#define COUNT(set)	(((set) & 1) + ((set) >> 1 & 1) + ((set) >> 2 & 1) + ((set) >> 3 & 1) + ((set) >> 4 & 1))
#define QUORUM		(GUARDS / 2 + 1)
#define SPARE		(GUARDS - QUORUM)
#define EVERYBODY	(BIT(GUARDS) - 1)
#define OLD_OWN		BIT(0)
#define NEW_OWN		BIT(GUARDS - 1)
#define LIVING		(down -> EVERYBODY & ~OLD_OWN : EVERYBODY)
#define FREE(i)		(!((holders[V1] | holders[V2]) & BIT(i)))
#define V1		1
#define V2		2
#define OTHER(v)	(3 - (v))

mtype = { RESTING, PEEKING, ASKING, GRANTED };

byte holders[3];	/* who stands at which value, for ever: a guard accepts one at this HRS */
byte deaf;		/* who answered a peek of the new term: they ignore questions of the old one */
bool down;		/* the old holder was killed, and its guard is gone with it */
bool asked[3];		/* what was ever asked of the guards: v1 by the old holder, v2 or v1 by the new one */
bool asked_again;	/* the new holder asked for v1, too */

mtype phase = RESTING;	/* of the new holder */
byte peeked, accepted, held;	/* who has answered it what */
byte value = V2;	/* what it asks for now */

/* Never a state in which neither value can get a majority of the living any more. */
#define NOT_STUCK	(COUNT(LIVING & ~holders[V2]) >= QUORUM || COUNT(LIVING & ~holders[V1]) >= QUORUM)

/* A question for v reaches guard i: decide(). Whether it is answered ACCEPTED or HELD shows in `hear`. */
#ifdef BREAK_DEAF
#define LISTENS(i)	true
#else
#define LISTENS(i)	(!(deaf & BIT(i)))
#endif

inline reach(i, v, by_new)
{
	d_step {
		(LIVING & BIT(i)) && FREE(i) && ((by_new && (v == V1 -> asked_again : asked[V2])) ||
			(!by_new && v == V1 && asked[V1] && LISTENS(i))) ->
		printf("@ g%d accepts v%d\n", i + 1, v);
		holders[v] = holders[v] | BIT(i);
		assert(!down || NOT_STUCK)
	}
}

/* The new term peeks at guard i. Product: GuardService.peek, MajorityQuorum._begin. */
inline peek(i)
{
	d_step {
		phase == PEEKING && (LIVING & BIT(i)) && !(peeked & BIT(i)) ->
		printf("@ the new holder peeks at g%d\n", i + 1);
		peeked = peeked | BIT(i);
		deaf = deaf | BIT(i);
		if
		:: holders[V1] & BIT(i) -> value = V1
		:: else
		fi
	}
}

inline ask()
{
	printf("@ the new holder asks all guards for v%d\n", value);
	phase = ASKING;
	accepted = 0;
	held = 0;
	if
	:: value == V1 -> asked_again = true
	:: else -> asked[V2] = true
	fi
}

/* More than n - q hold the other value, so that its own can no longer win. */
#ifdef BREAK_PATIENCE
#define OTHER_WINS	(held != 0 && value == V2)
#else
#define OTHER_WINS	(COUNT(held) > SPARE)
#endif

/* Guard i's answer to what is asked for now; answers to what was asked for before are not counted. A guard that stands
 * at a value gives the same answer for ever. Product: MajorityQuorum._take_answer, _judge, _change. */
inline hear(i)
{
	d_step {
		phase == ASKING && !FREE(i) && !((accepted | held) & BIT(i)) ->
		if
		:: holders[value] & BIT(i) -> accepted = accepted | BIT(i)
		:: else -> held = held | BIT(i)
		fi;
		printf("@ the new holder hears from g%d\n", i + 1);
		if
		:: COUNT(accepted) >= QUORUM ->
			printf("@ v%d is granted\n", value);
			phase = GRANTED;
			assert(COUNT(holders[value]) >= QUORUM)
		:: COUNT(accepted) < QUORUM && OTHER_WINS ->
			value = OTHER(value);
			ask()
		:: else
		fi
	}
}

/* The lease: the old holder begins nothing once the new one leads. Its own guard is asked in the same step as the
 * others are: MajorityQuorum._ask_all. */
#ifdef BREAK_LEASE
#define LEADS		!down
#else
#define LEADS		(!down && phase == RESTING)
#endif

active proctype OldHolder()
{
end:	do
	:: d_step {
		LEADS && !asked[V1] ->
		printf("@ the old holder asks all guards for v1\n");
		asked[V1] = true;
		if
		:: FREE(0) && !(deaf & OLD_OWN) ->
			printf("@ g1 accepts v1\n");
			holders[V1] = holders[V1] | OLD_OWN
		:: else
		fi
	}
	:: d_step {
		!down ->
		printf("@ the old holder is killed, and g1 with it\n");
		down = true;
		assert(NOT_STUCK)
	}
	od
}

active proctype NewHolder()
{
	d_step { printf("@ the new holder takes over\n"); phase = PEEKING };
#ifndef BREAK_PEEK
end:	do
	EVERY_PEEK
	:: d_step { phase == PEEKING && COUNT(peeked) >= QUORUM && (peeked & NEW_OWN) -> ask() }; break
	od;
#else
	d_step { ask() };
#endif
end_asking:
	do
	EVERY_ANSWER
	od
}

active proctype Network()
{
end:	do
	EVERY_QUESTION
	od
}
