"""Ignores the end of its stdin and the signals named by its arguments."""

import signal
import sys
import time

for name in sys.argv[1:]:
    signal.signal(getattr(signal, name), signal.SIG_IGN)
sys.stdout.write("ready\n")
sys.stdout.flush()
while True:
    time.sleep(1000)
