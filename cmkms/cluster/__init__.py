"""Who coordinates: elections and the replicated view by pysyncobj, the lease by our own clock. No part of safety."""
