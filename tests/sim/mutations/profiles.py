"""What befalls a cluster in one life of it, by weights. Values only; `adversity.py` knows how each blow is done."""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = [
    "BIRTHS",
    "BRIDGED",
    "BRIDGED_LATE",
    "CAMPAIGN",
    "CHANGES",
    "CUT_LINKS",
    "FAILING_DISKS",
    "FIVE",
    "HALVED",
    "LATE",
    "LEASES",
    "LOST_HOMES",
    "PROFILES",
    "RESTARTS",
    "ROLLED_BACK",
    "ROT",
    "STARVED",
    "TAKEOVERS",
    "Profile",
]


@dataclass(frozen=True, slots=True)
class Profile:
    """`blows`: the name of each as often as it weighs; one about every `every` seconds. `strange`: how often a node
    asks for something else than its chain needs: another block at a place that is signed, an older place, a repeat.

    `general` is the campaign of all faults (`tests/sim/campaign`), without weights of its own.
    """

    name: str
    sentence: str
    blows: tuple[str, ...] = ()
    replicas: int = 3
    sentries: int = 2
    seconds: float = 8.0
    every: float = 0.8
    strange: float = 0.3
    pace: float = 0.1
    """How long a node waits before it asks for the next signature, in seconds, half as long or half as long again."""
    impatient: float = 0.0
    """How often a second a node hangs up and asks the next replica."""
    restless_births: bool = False
    """Replicas are killed in the midst of their birth, and homes that are bound to nothing are made anew."""
    ending: str = ""
    """What befalls one guard at the end, while another lags: `rot`, `roll_back`, `lose_the_home` or `replace`; or how
    five become three: `halved`, `bridged` or `bridged_late` (`fewer.py`)."""
    watches_leases: bool = False
    """Whether it is looked at every moment who holds the lease, and not now and then only."""
    general: bool = False


CAMPAIGN = Profile("campaign", "everything that the campaign has, nodes that contradict each other", general=True)
CUT_LINKS = Profile(
    "cut links",
    "links are cut, one way or both, and what was held up arrives late; nodes hang up and ask elsewhere",
    ("cut_one_way",) * 4 + ("cut_a_link",) * 2 + ("isolate", "stop", "kill"),
    sentries=3,
    every=0.4,
    impatient=1.0,
)
FIVE = Profile(
    "five, cut links",
    "five replicas; links are cut, one way or both, and nodes hang up and ask elsewhere",
    ("cut_one_way",) * 4 + ("cut_a_link",) * 3 + ("isolate", "stop", "kill"),
    replicas=5,
    sentries=3,
    every=0.2,
    impatient=1.0,
)
STARVED = Profile(
    "starved",
    "the lease holder is cut off for less than its lease, what it sent is lost; nodes that wait there hang up",
    ("starve",) * 6 + ("cut_one_way", "kill"),
    sentries=3,
    every=0.4,
    strange=0.6,
    pace=0.03,
)
TAKEOVERS = Profile(
    "takeovers",
    "the lease holder dies in the midst of a flight, and stays away while a majority is well",
    ("take_over",),
    sentries=3,
    seconds=10.0,
    every=0.2,
    strange=0.0,
)
RESTARTS = Profile(
    "restarts",
    "processes are killed in the midst of a write, machines lose power, all of them together, too",
    ("kill_in_a_write",) * 3 + ("cut_power", "cut_all_power", "kill", "isolate", "isolate"),
    every=0.6,
)
FAILING_DISKS = Profile(
    "failing disks",
    "writes and syncs fail at a minority of the replicas, which are killed and started again",
    ("break_a_disk",) * 3 + ("isolate",) * 2 + ("kill", "cut_power"),
    every=0.5,
)
ROT = Profile(
    "rot",
    "the newest record of one guard rots while its replica is down, and another guard lags behind",
    ("isolate", "kill", "cut_power", "rot"),
    seconds=4.0,
    ending="rot",
)
ROLLED_BACK = Profile(
    "rolled back",
    "one guard goes back to a snapshot, and the others see it; another lags behind; then all start again",
    ("isolate", "kill", "stop"),
    seconds=4.0,
    ending="roll_back",
)
LOST_HOMES = Profile(
    "lost homes",
    "the home of one replica is made anew, and another guard lags behind",
    ("isolate", "isolate", "lose_the_home", "kill"),
    seconds=6.0,
    every=0.5,
    ending="lose_the_home",
)
CHANGES = Profile(
    "changes",
    "a lost guard is replaced by a change of generation, and another guard lags behind",
    ("isolate", "kill"),
    seconds=3.0,
    ending="replace",
)
HALVED = Profile(
    "halved",
    "two guards of five keep what the others have not signed; then these two and one of the others are the generation",
    ("isolate", "kill"),
    replicas=5,
    seconds=1.5,
    ending="halved",
)
BRIDGED = Profile(
    "bridged",
    "five become three; two of these are cut off from the lease holder, which signs on with the third",
    ("isolate", "kill"),
    replicas=5,
    seconds=1.5,
    pace=0.02,
    ending="bridged",
)
BRIDGED_LATE = replace(
    BRIDGED,
    name="bridged, late",
    sentence="as bridged, and the third hears late of those who have moved",
    ending="bridged_late",
)
LEASES = Profile(
    "leases",
    "links are cut and come back one way first, processes stop and go on; it is looked at all the time who leads",
    ("swizzle",) * 4 + ("cut_a_link",) * 2 + ("stop", "kill"),
    every=0.7,
    strange=0.0,
    pace=1.5,
    watches_leases=True,
)
LATE = replace(
    LEASES,
    name="late acknowledgements",
    sentence="what the lease holder hears comes late, and then nobody hears it; it is looked at all the time who leads",
    blows=("fade",) * 6 + ("kill",),
    every=0.3,
)
BIRTHS = Profile(
    "births",
    "replicas die in the midst of their birth, and homes that are bound to nothing yet are made anew",
    (),
    seconds=3.0,
    restless_births=True,
)
PROFILES = (
    CAMPAIGN, CUT_LINKS, FIVE, STARVED, TAKEOVERS, RESTARTS, FAILING_DISKS, ROT, ROLLED_BACK, LOST_HOMES, CHANGES,
    HALVED, BRIDGED, BRIDGED_LATE, LEASES, LATE, BIRTHS,
)  # fmt: skip
