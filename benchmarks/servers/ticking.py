"""The gateway with a clock beside it that notices how long the event loop was held.

A line on stdin starts a new measurement; the answer, one JSON line, is the one before.
"""

import asyncio
import json
import os
import sys
import time

import uvloop

from mcpgw.app import serve
from mcpgw.config.load import load
from mcpgw.observe import logs

_TICK = 0.001


class Ticker:
    """Ticks every millisecond, and remembers the longest wait for a tick."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.start()
        self._again()

    def start(self) -> None:
        """Forget what was."""
        self.wall = self.cpu = 0.0
        self._wall, self._cpu = time.perf_counter(), time.thread_time()

    def answer(self) -> None:
        """Tell the longest waits since the last question, in seconds; forget them."""
        if not os.read(0, 4096):
            self._loop.remove_reader(0)
            return
        print(json.dumps({"wall": self.wall, "cpu": self.cpu}), flush=True)
        self.start()

    def _tick(self) -> None:
        wall, cpu = time.perf_counter(), time.thread_time()
        self.wall = max(self.wall, wall - self._wall)
        self.cpu = max(self.cpu, cpu - self._cpu)
        self._wall, self._cpu = wall, cpu
        self._again()

    def _again(self) -> None:
        self._loop.call_later(_TICK, self._tick)


async def main(config: str) -> None:
    """Run the gateway until killed."""
    settings = load(config)
    logs.configure(settings.log.level, "json")  # as the command line does: stdout is ours
    loop = asyncio.get_running_loop()
    loop.add_reader(0, Ticker(loop).answer)
    await serve(settings, asyncio.Event())


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
