import sys
import time

from marathon import MarathonClient
from marathon.exceptions import ConflictError, InternalServerError, MarathonHttpError, NotFoundError
from marathon.models import MarathonApp, MarathonGroup, MarathonHealthCheck
from marathon.models.app import MarathonUpgradeStrategy, PortDefinition

client = MarathonClient(sys.argv[1])


def until(what, look):
    """Looks again and again until there is something, for a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"it never came true: {what}")


def settled():
    until("no deployment is left", lambda: not client.list_deployments())


def raises(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")
