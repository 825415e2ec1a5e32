"""`python -m agentlab.demo`: the sales API in the foreground, for people; `--child` is how `server.start` runs it."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from agentlab.demo.server import GUEST_VARIABLE, TOKEN_VARIABLE, listen
from agentlab.errors import LabError

if TYPE_CHECKING:
    from uvicorn import Server

    from agentlab.demo.api import Keys


def main() -> int:
    """Serve until Ctrl-C, or as a child until the parent is gone. 1 and a reason if it can't."""
    options = _options()
    try:
        with listen(options.port) as door:
            _serve(options, door)
    except LabError as fault:
        _say({"error": str(fault)}) if options.child else print(f"error: {fault}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m agentlab.demo", description="A sales API on loopback to try things on.")
    parser.add_argument("--port", type=int, default=8765, help="0 for any free one (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=12_000, help="rows of orders (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="another seed, another shop (default: %(default)s)")
    parser.add_argument("--throttle-every", type=int, default=9, help="a 429 every N requests, 0 never (%(default)s)")
    parser.add_argument("--fail-every", type=int, default=13, help="a 500 every N requests, 0 never (%(default)s)")
    parser.add_argument("--retry-after", type=int, default=1, help="seconds that a 429 asks to wait (%(default)s)")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _serve(options: argparse.Namespace, door: socket.socket) -> None:
    keys, server = _server(options)
    url = f"http://127.0.0.1:{door.getsockname()[1]}"
    if options.child:
        _say({"url": url})
        _end_with_parent(server)
    else:
        print(f"sales API at {url}; token {keys.full}; for the products only, {keys.guest}; Ctrl-C ends it", flush=True)
    server.run(sockets=[door])


def _say(words: dict[str, str]) -> None:
    print(json.dumps(words), flush=True)


def _server(options: argparse.Namespace) -> tuple[Keys, Server]:
    from agentlab.demo.api import Faults, Keys, create_app, run_by
    from agentlab.demo.shop import build

    full, guest = (os.environ.get(name) or secrets.token_urlsafe(24) for name in (TOKEN_VARIABLE, GUEST_VARIABLE))
    faults = Faults(options.throttle_every, options.fail_every, options.retry_after)
    keys = Keys(full, guest)
    return keys, run_by(create_app(build(options.rows, options.seed), keys, faults))


def _end_with_parent(server: Server) -> None:
    for gone in (_stdin_closed, _parent_gone):
        threading.Thread(target=_end_after, args=(server, gone), daemon=True).start()


def _end_after(server: Server, gone: Callable[[], None]) -> None:
    gone()
    server.should_exit = True
    time.sleep(3)
    os._exit(0)


def _stdin_closed() -> None:
    sys.stdin.buffer.read()


def _parent_gone() -> None:
    # A process that the parent forked may hold our stdin open after the parent's death.
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
