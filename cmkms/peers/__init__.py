"""The peer link: replica to replica, TLS 1.3, both sides pinned, one message a frame."""
