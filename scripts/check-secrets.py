#!/usr/bin/env -S uv run --quiet --script
# /// script
# requires-python = ">=3.11"
# dependencies = ["detect-secrets==1.5.0", "unidiff==0.7.5"]
# ///
"""Looks for secrets in every line that the history ever added, and in what is not committed yet.

Fails on what is not in known-secrets.txt; tells what is there in vain. Needs uv.
"""

import pathlib
import subprocess
import sys

from detect_secrets.core.scan import scan_diff, scan_file
from detect_secrets.settings import default_settings

KNOWN = pathlib.Path("scripts/known-secrets.txt")
# Public by nature: the digests by which packages and queries are named.
DIGESTS = {
    "detect_secrets.filters.regex.should_exclude_line": {"pattern": [r'^\s*"hash": "[0-9a-f]{64}"$']},
    "detect_secrets.filters.regex.should_exclude_secret": {"pattern": [r"^sha512-"]},
}


def git(*arguments):
    return subprocess.run(["git", *arguments], check=True, capture_output=True).stdout.decode(errors="replace")


def secrets():
    with default_settings() as settings:
        settings.configure_filters([{"path": path, **options} for path, options in DIGESTS.items()])
        settings.disable_filters(
            "detect_secrets.filters.allowlist.is_line_allowlisted",
            # Would pass over files that are gone by now.
            "detect_secrets.filters.common.is_invalid_file",
            # Would ask the network whether it works.
            "detect_secrets.filters.common.is_ignored_due_to_verification_policies",
        )
        yield from scan_diff(git("log", "--patch", "--unified=0", "--remerge-diff", "--format=", "HEAD"))
        yield from scan_diff(git("diff", "--unified=0", "HEAD"))
        for path in git("ls-files", "-z", "--others", "--exclude-standard").split("\0")[:-1]:
            yield from scan_file(path)


known = {line.split(" ", 1)[0] for line in KNOWN.read_text().splitlines() if not line.startswith("#")}
seen, failures = set(), []
for secret in secrets():
    if secret.secret_hash not in known | seen:
        failures.append(f"{secret.filename}:{secret.line_number}: {secret.type} (SHA-1 {secret.secret_hash})")
    seen.add(secret.secret_hash)
shallow = git("rev-parse", "--is-shallow-repository").strip() == "true"
if not shallow:
    # No failure: a history that was written anew may have lost them.
    for value in sorted(known - seen):
        print(f"{KNOWN}: nothing has the value {value} any more")
if failures:
    sys.exit("\n".join(failures))
print(f"no secret in {git('rev-list', '--count', 'HEAD').strip()} commits{', all that this shallow clone has' * shallow}")
