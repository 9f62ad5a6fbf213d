"""What the bytes mean. Pure: no event loop, no clock, no files, no logging.

Bytes and messages go in; messages and events come out.
"""
