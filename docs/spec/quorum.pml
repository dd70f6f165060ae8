/* Guards, majorities, disks and generations: never two different values signed at one height/round/step (HRS).
 *
 * One process is one file of a guard. A lost or fused file is a process that takes no more steps: what it said stays
 * said. All that was ever said (ACCEPTED, a claim) can be used by anybody, at any time, any number of times: the sets
 * below only grow. So coordinators, drivers of a change, Raft, leases, clocks, kills of coordinators and the order of
 * messages need no process of their own: any number of them may do whatever those sets allow. Requests need none
 * either: every guard may be asked anything, at any time.
 *
 * instance.pml, written by check.py, says how many files, HRS and values there are and who is a member of which
 * generation. Each BREAK_ leaves out one rule, and must be caught.
 */
#include "instance.pml"

#define BIT(i)			(1 << (i))
#define COUNT(set)		(((set) & 1) + ((set) >> 1 & 1) + ((set) >> 2 & 1) + ((set) >> 3 & 1) + \
				 ((set) >> 4 & 1) + ((set) >> 5 & 1) + ((set) >> 6 & 1))
#define MEMBER(f, k)		((MEMBERS(k) & BIT(f)) != 0)
#define MAJORITY(k, set)	(2 * COUNT((set) & MEMBERS(k)) > COUNT(MEMBERS(k)))

#define SEAL	0		/* in the place of bytes: a watermark without any */
#define LEVELS	(HRS + 1)	/* a watermark stands at 0 (never signed) or at an HRS */
#define ACK(k, h, v)	acks[((k) * HRS + (h) - 1) * VALUES + (v) - 1]
#define CLAIM(k, h)	claims[(k) * LEVELS + (h)]

#ifdef BREAK_GROWTH
#define FIRST(f)	(MEMBER(f, 0) -> 0 : 1)
#else
#define FIRST(f)	0
#endif

mtype = { UNBOUND, MOVED, SEALED, ARMED };

byte acks[GENERATIONS * HRS * VALUES];	/* who ACCEPTED value v at h in generation k, as a set of files */
byte claims[GENERATIONS * LEVELS];	/* who told that it is at generation k and its watermark at h */
byte released[LEVELS];			/* the values that left the cluster, signed */
byte spoken[LEVELS];			/* the values in use: v2 only after v1, since names of values mean nothing */
byte losses = LOSSES;			/* how often a broken rule may still forget a file */
byte each;				/* a counter within one step, 0 between them */

/* ------------------------------------------------------------------------------------------------ coordinators */

/* A coordinator signs what a majority of one generation ACCEPTED: a set of members, each counted once.
 * Product: MajorityQuorum._take_answer, _judge. */
#ifdef BREAK_TWICE
#define ADD(k, h, v, f)		ACK(k, h, v) = ACK(k, h, v) + 1
#define ENOUGH(k, h, v)		(2 * ACK(k, h, v) > COUNT(MEMBERS(k)))
#else
#define ADD(k, h, v, f)		ACK(k, h, v) = ACK(k, h, v) | BIT(f)
#ifdef BREAK_SIGN_FIRST
#define ENOUGH(k, h, v)		(ACK(k, h, v) != 0)
#else
#define ENOUGH(k, h, v)		MAJORITY(k, ACK(k, h, v))
#endif
#endif

inline accepted(k, h, v, f)
{
	if
	:: released[h] & BIT(v)	/* nobody needs to count further */
	:: else ->
		ADD(k, h, v, f);
		if
		:: ENOUGH(k, h, v) ->
			printf("@ v%d is signed at HRS %d: enough answers of generation %d\n", v, h, k);
			released[h] = released[h] | BIT(v);
			for (each : 0 .. GENERATIONS - 1) {
				ACK(each, h, v) = 0
			}
			each = 0;
#ifdef WITNESS_SIGNED
			assert(k < GENERATIONS - 1);
#endif
			assert(COUNT(released[h]) == 1)
		:: else
		fi
	fi
}

/* -------------------------------------------------------------------------------------------------------- a guard */

/* What a durable record says to whoever asks, now and as often as they like. Product: GuardService.accept, Guard.claim. */
inline say()
{
	if
	:: phase == ARMED && bytes != SEAL ->
		accepted(generation, hrs, bytes, _pid);
#if defined(BREAK_OLDER) || defined(BREAK_GROWTH)
		if
		:: generation == 0 -> accepted(1, hrs, bytes, STANDS(_pid, 1))
		:: else
		fi
#endif
	:: else
	fi;
	if
	:: phase != UNBOUND && generation > 0 ->
		CLAIM(generation, hrs) = CLAIM(generation, hrs) | BIT(_pid)
	:: else
	fi
}

/* A changed record is in the page cache first. Nothing is said, and nothing decided, before it is on disk.
 * Without PAGE_CACHE both are one step: between them nobody can see anything of the guard. Product: GuardFile.write. */
#ifdef PAGE_CACHE
#if defined(BREAK_PENDING) || defined(BREAK_LOG)
#define WRITTEN	dirty = true; say()
#else
#define WRITTEN	dirty = true
#endif
#define SETTLED	(!dirty || trusted)
#else
#define WRITTEN	say()
#define SETTLED	true
#endif

/* Product: decide(), Guard.accept. At the same HRS other bytes are HELD or CONFLICT, a seal is SEALED, a lower HRS is
 * REGRESSION: none of these changes anything, here or there. Identical bytes are ACCEPTED again: see say(). */
inline accept(h, v)
{
	d_step {
		SETTLED && phase == ARMED && hrs < h && (v == 1 || (spoken[h] & BIT(v - 1))) ->
		printf("@ g%d (generation %d) accepts v%d at HRS %d\n", _pid + 1, generation, v, h);
		hrs = h;
		bytes = v;
		spoken[h] = spoken[h] | BIT(v);
		WRITTEN
	}
}

/* The move, once: armed at exactly the generation before k, from then on unarmed at k. Its watermark is its report. */
#ifdef BREAK_STRICT
#define SEALED_BYTES	(hrs >= s -> bytes : SEAL)
#define MOVED_BYTES	bytes
#else
#define SEALED_BYTES	SEAL
#define MOVED_BYTES	SEAL	/* the seal will drop them: dropped here, they make no states of their own */
#endif
#ifdef BREAK_ONCE
#define MAY_MOVE(k)	((phase == ARMED && generation == PARENT(k)) || \
			 (phase == MOVED && PARENT(generation) == PARENT(k) && generation != k))
#else
#define MAY_MOVE(k)	(phase == ARMED && generation == PARENT(k))
#endif

inline move(k)
{
	d_step {
		SETTLED && MAY_MOVE(k) ->
		printf("@ g%d moves from generation %d to %d; its watermark: HRS %d\n",
			_pid + 1, generation, k, hrs);
		generation = k;
		phase = MOVED;
		bytes = MOVED_BYTES;
		WRITTEN
	}
}

/* A majority of the members before k were seen at k. Any of their claims will do, the oldest as well; `s` is the
 * highest of those used. */
#define UP_TO(k, s)	(CLAIM(k, 0) | ((s) > 0 -> CLAIM(k, 1) : 0) | ((s) > 1 -> CLAIM(k, 2) : 0) | \
			 ((s) > 2 -> CLAIM(k, 3) : 0))
#if defined(BREAK_MAJORITY)
#define SEEN(k, s)	((CLAIM(k, s) & MEMBERS(PARENT(k))) != 0)
#elif defined(BREAK_HALF)
#define SEEN(k, s)	((CLAIM(k, s) & MEMBERS(PARENT(k))) && \
			 2 * COUNT(UP_TO(k, s) & MEMBERS(PARENT(k))) >= COUNT(MEMBERS(PARENT(k))))
#else
#define SEEN(k, s)	((CLAIM(k, s) & MEMBERS(PARENT(k))) && MAJORITY(PARENT(k), UP_TO(k, s)))
#endif

/* Who may be sealed for k: a new empty file, one still at an earlier generation (however much earlier, armed or not),
 * a mover to k, one that moved to a sibling of k; again, and higher, one that is sealed for k and not armed. Never one
 * that is further on. Product: next_change_step, Guard.move, Guard.seal, Guard.arm_sealed. */
#ifdef BREAK_FORWARD
#define MAY_JOIN(k)	(phase == UNBOUND || phase == MOVED || NUMBER(generation) < NUMBER(k))
#else
#define MAY_JOIN(k)	(phase == UNBOUND || NUMBER(generation) < NUMBER(k) || \
			 (phase == MOVED && NUMBER(generation) == NUMBER(k)))
#endif
#define HIGHER(k, s)	(phase == SEALED && generation == k && hrs < s)

/* A WITNESS_ asserts that something never happens which must: shown so, the model is not true for want of steps. */
#if defined(WITNESS_SIBLING)
#define WITNESSED(k, s)	assert(!(phase == MOVED && NUMBER(generation) == NUMBER(k) && generation != k))
#elif defined(WITNESS_BEHIND)
#define WITNESSED(k, s)	assert(!(phase == ARMED && NUMBER(generation) + 1 < NUMBER(k)))
#elif defined(WITNESS_OLD_CLAIM)
#define WITNESSED(k, s)	assert(!(s < HRS && released[HRS] && MAJORITY(PARENT(k), CLAIM(k, HRS))))
#else
#define WITNESSED(k, s)	skip
#endif

inline seal(k, s)
{
	d_step {
		SETTLED && MEMBER(_pid, k) && (MAY_JOIN(k) || HIGHER(k, s)) && SEEN(k, s) ->
		WITNESSED(k, s);
		generation = k;
		phase = SEALED;
		bytes = SEALED_BYTES;
#ifndef BREAK_SEAL
		hrs = (hrs > s -> hrs : s);
#endif
		printf("@ g%d is sealed for generation %d at HRS %d\n", _pid + 1, k, hrs);
		WRITTEN
	}
}

inline arm()
{
	d_step {
		SETTLED && phase == SEALED ->
		printf("@ g%d arms at generation %d\n", _pid + 1, generation);
		phase = ARMED;
		WRITTEN
	}
}

#ifdef BREAK_REPORT
/* A watermark is told for k before the guard is durably there. */
inline report(k)
{
	d_step {
		phase == ARMED && generation == PARENT(k) && !(CLAIM(k, hrs) & BIT(_pid)) ->
		printf("@ g%d reports HRS %d for generation %d, and has not moved\n", _pid + 1, hrs, k);
		CLAIM(k, hrs) = CLAIM(k, hrs) | BIT(_pid)
	}
}
#endif

#ifdef BREAK_HELD
/* HELD says that the guard holds other bytes of the class; taken for a yes to those that were asked. */
inline held(h, v)
{
	d_step {
		phase == ARMED && hrs == h && bytes != SEAL && bytes != v ->
		printf("@ g%d is asked for v%d at HRS %d, answers HELD v%d; counted as ACCEPTED\n",
			_pid + 1, v, h, bytes);
		accepted(generation, h, v, _pid)
	}
}
#endif

active [FILES] proctype Guard()
{
	/* The record as the page cache shows it, which is all that the process itself can see. */
	byte generation = FIRST(_pid), hrs = 0, bytes = SEAL;
	mtype phase = (MEMBER(_pid, generation) -> ARMED : UNBOUND);
#ifdef PAGE_CACHE
	byte disk_generation = generation, disk_hrs = 0, disk_bytes = SEAL;
	mtype disk_phase = phase;
	bool dirty, trusted;
#endif
end:	do
	EVERY_ACCEPT
	EVERY_CHANGE
	:: arm()
#ifdef PAGE_CACHE
#ifndef BREAK_LOG
	/* The sync returns. Or the process was killed first: the next start writes again what it reads, and syncs. */
	:: d_step {
		dirty ->
		printf("@ g%d: the record is on disk\n", _pid + 1);
		disk_generation = generation; disk_phase = phase; disk_hrs = hrs; disk_bytes = bytes;
		dirty = false; trusted = false;
		say()
	}
#endif
	:: d_step {
		dirty ->
#ifdef BREAK_LOG
		printf("@ g%d: killed, and its log was only in memory: back to HRS %d\n", _pid + 1, disk_hrs);
#else
		printf("@ g%d: power loss, back to HRS %d\n", _pid + 1, disk_hrs);
#endif
		generation = disk_generation; phase = disk_phase; hrs = disk_hrs; bytes = disk_bytes;
		dirty = false; trusted = false
	}
#ifdef BREAK_PAGE_CACHE
	:: d_step {
		dirty && !trusted ->
		printf("@ g%d: killed; the next start trusts what it reads from the page cache\n", _pid + 1);
		trusted = true;
		say()
	}
#endif
#ifdef BREAK_EIO
	:: d_step {
		dirty && !trusted ->
		printf("@ g%d: the sync fails, a second one finds clean pages and succeeds\n", _pid + 1);
		trusted = true;
		say()
	}
#endif
#endif
#ifdef BREAK_TWICE
	:: d_step {
		SETTLED && phase == ARMED && bytes != SEAL && !(released[hrs] & BIT(bytes)) ->
		printf("@ g%d: its ACCEPTED for v%d at HRS %d arrives a second time\n", _pid + 1, bytes, hrs);
		say()
	}
#endif
#ifdef BREAK_EMPTY
	:: d_step {
		losses > 0 && phase == ARMED ->
		printf("@ g%d: its file is lost; a new empty one answers in its place\n", _pid + 1);
		losses--;
		hrs = 0; bytes = SEAL
	}
#endif
#ifdef BREAK_ALONE
	:: d_step {
		phase == UNBOUND && MEMBER(_pid, GENERATIONS - 1) && (CLAIM(1, 0) & BIT(0)) ->
		printf("@ g%d: made in the place of a lost guard that had left; it signs alone, above HRS 0\n", _pid + 1);
		generation = GENERATIONS - 1;
		phase = ARMED
	}
#endif
	EVERY_BREAK
	od
}
