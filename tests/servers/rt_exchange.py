"""Writes as many bytes as its argument says before it reads a single one, then counts."""

import sys

size = int(sys.argv[1])
sys.stdout.write("x" * size + "\n")
sys.stdout.flush()
read = len(sys.stdin.readline())
sys.stdout.write(f"read {read}\n")
sys.stdout.flush()
sys.stdin.read()
