"""`python3 -m cw_train.wait_for ROLE=SECONDS=URL …`: waits until every service answers, or says which one did not.

Standard library only: it runs before anything heavy is imported. A URL that begins with `tcp:` asks for a connection
and nothing more.
"""

from __future__ import annotations

import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from urllib.parse import urlsplit

from cw_train.guard import guard_is_gone, tell_guard

NEVER_HEALTHY = 3
"""Exit code; 2 is for a config that is refused."""
TIMEOUT = 5.0
BETWEEN_TRIES = 1.0
BETWEEN_WORDS = 15.0
BETWEEN_GUARDS = 30.0
"""A guard that is lost with its node is replaced within this time."""


def main(arguments: Sequence[str]) -> int:
    begin = time.monotonic()
    for argument in arguments:
        role, seconds, url = argument.split("=", 2)
        if not wait_for(role, float(seconds) - (time.monotonic() - begin), url):
            tell_guard("ended")
            return NEVER_HEALTHY
    tell_guard("started")
    return 0


def wait_for(role: str, seconds: float, url: str) -> bool:
    """Whether the service answers within the time; says what it waits for, and why in vain."""
    begin = spoken = guarded = time.monotonic()
    print(f"waiting for the {role} service at {url}", flush=True)
    while (problem := trouble(url)) is not None:
        now = time.monotonic()
        if now - begin > seconds:
            print(f"error: the {role} service did not answer within {seconds:.0f} seconds: {problem}", file=sys.stderr)
            return False
        guarded = now if not guard_is_gone() else guarded
        if now - guarded > BETWEEN_GUARDS:
            lost = "the services were freed before the trainer started: it came too late (start_limit)"
            print(f"error: {lost}", file=sys.stderr)
            return False
        if now - spoken > BETWEEN_WORDS:
            print(f"still waiting for the {role} service after {now - begin:.0f} seconds: {problem}", flush=True)
            spoken = now
        time.sleep(BETWEEN_TRIES)
    print(f"the {role} service answers", flush=True)
    return True


def trouble(url: str) -> str | None:
    """What is wrong with the service, in a few words; None when it answers."""
    parts = urlsplit(url)
    try:
        if parts.scheme == "tcp":
            socket.create_connection((parts.hostname, parts.port), TIMEOUT).close()
        else:
            # Nothing on this way is a proxy's business.
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=TIMEOUT).close()
    except urllib.error.HTTPError as error:
        return f"it answers {error.code} {error.reason}"
    except urllib.error.URLError as error:
        return str(error.reason)
    except (OSError, ValueError) as error:
        return str(error) or type(error).__name__
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
