"""Who coordinates: elections and the replicated view by pysyncobj, the lease by our own clock. No part of safety."""

from __future__ import annotations

from cmkms.cluster.audited import check_installed

# Before any module here imports it: a traceback tells nobody what to install.
check_installed()
