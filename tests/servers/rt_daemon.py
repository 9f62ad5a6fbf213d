"""Leaves a daemon behind, forked twice, in a session of its own, holding stdout; then echoes."""

import os
import sys
import time

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        sys.stdout.write("daemon\n")
        sys.stdout.flush()
        time.sleep(1000)
    os._exit(0)
os.wait()
for line in sys.stdin:
    sys.stdout.write(line)
    sys.stdout.flush()
