"""The validator's side of the wire, and the judge of any signer: simulated node, recorder, oracle, latency.

It shares no code with the signer (only the roots of the errors): its codec, its SecretConnection and its sign-bytes are
written a second time, by hand, so that a mistake made on one side is not repeated, unseen, on the other.
It must never sign anything and never decide anything for a signer; it asks, keeps what it got, and judges.
"""

__all__: list[str] = []
