"""Who talks to whom: exchanges, sessions, the running servers."""
