"""The guard: a durable watermark per chain and key that only moves forward, and the quorum over guards.

The rule that is never broken is in `decide.py`, what makes it durable in `file.py`, how a guard begins in `birth.py`.
"""
