"""One replica of several: joins guards, quorum, lease and peer link. Knows no sockets and no event loop."""
