"""Keeps schemathesis from asking for a 503: a caller who leaves a service no time gets one, as documented. Nor does it
wait at the end of an event log for what never comes."""

import schemathesis

ENOUGH_MS = 5_000
LONGEST_WAIT_MS = 50


@schemathesis.hook
def before_call(context, case, kwargs):
    deadline = (case.headers or {}).get("X-Deadline-Ms")
    if isinstance(deadline, int) or str(deadline).isdecimal():
        if int(deadline) < ENOUGH_MS:
            case.headers["X-Deadline-Ms"] = str(ENOUGH_MS)
    wait = str((case.query or {}).get("timeout"))
    if wait.isdecimal() and LONGEST_WAIT_MS < int(wait) <= 30_000:
        case.query["timeout"] = LONGEST_WAIT_MS
