"""What each check must refuse, and what none may, so that no check is ever asleep."""

from docs.checker import Checker
from docs.document import Document

BROKEN = {
    "[x](nowhere.md)": "no file `docs/nowhere.md`",
    "[x](../README.md#nowhere)": "no heading `#nowhere`",
    "`server.prot`": "no setting `server.prot`",
    "`serve.port = 1`": "no setting `serve.port`",
    "`api_keys.<id>.keys`": "no setting `api_keys.<id>.keys`",
    "VEHICLE__VEHICLE_CLIENT__BASE_URL=x": "no setting for the variable",
    "`vehicle_client_lookups`": "no metric `vehicle_client_lookups`",
    "`http_server_request_duration_second{status}`": "no metric",
    "```promql\nrate(http_server_requests_total[1m])\n```": "no metric `http_server_requests_total`",
    "`no_such_test_is_there`": "nothing is called",
    "GET /api/v1/vehicle/ABC123": "no route `GET /api/v1/vehicle/ABC123`",
    "`POST /api/v1/vehicles/{registrationNumber}`": "no route `POST",
    "see scripts/nowhere.sh": "no file `scripts/nowhere.sh`",
    "`crates/*/nowhere.rs`": "no file `crates/*/nowhere.rs`",
    "`nowhere.toml`": "no file `nowhere.toml`",
    "```toml\n[server]\nprot = 1\n```": "no setting `server.prot` for the TOML",
    "```text\n": "does not end",
}
GOOD = """
# A heading: with `code`
[a](#a-heading-with-code) [b](../README.md#run-it) [c](../migrations) [d](https://example.com/x.md)
`server.port` `api_keys.<id>.scopes` `enrichment.status` `http.route` `application/json`
`INSURANCE__API_KEYS__CORE_SYSTEM__SHA256` `http_server_request_duration_seconds{http_route}`
`settings_worst_case_*` `vehicle_client_queue_wait_seconds_bucket` `enrichment_incomplete` `config.toml`
```promql
sum by (http_route) (rate(http_server_request_duration_seconds_count{http_route=~"/api/v1/.+"}[5m]))
```
`GET /api/v1/vehicles/abc-123`, `/api/v1/operations/` `crates/*/config.toml` `secrets.local.json`
"""


def samples(repository, documents):
    for text, expected in BROKEN.items():
        checker = Checker(repository, documents)
        checker.check(Document("docs/sample.md", text))
        if not any(expected in problem for problem in checker.problems):
            yield f"check-docs.py itself: `{text}` was not refused, but gave {checker.problems}"
    sample = Document("docs/sample.md", GOOD)
    checker = Checker(repository, [*documents, sample])
    checker.check(sample)
    yield from (f"check-docs.py itself: {problem}" for problem in checker.problems)
