"""Floods stderr with as many bytes as its argument says; before and after, stdout has its say."""

import os
import sys

total = int(sys.argv[1])
block = (b"noise " * 12 + b"\n") * 900
os.write(1, b"before\n")
sent = 0
while sent < total:
    sent += os.write(2, block)
os.write(2, b"the last words")
os.write(1, b"after\n")
sys.stdin.read()
