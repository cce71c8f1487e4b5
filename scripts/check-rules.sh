#!/bin/sh
# Checks deploy/observability/prometheus with Debian's promtool: the configuration, the rules and
# their tests, and that each alert has a runbook, a test in which it fires and one in which it does
# not. What the services really expose is the matter of check-dashboards.py.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
command -v promtool >/dev/null || { echo 'check-rules: promtool is missing (apt-get install prometheus)' >&2; exit 1; }
folder=deploy/observability/prometheus
failed=0
complain() { echo "check-rules: $*" >&2; failed=1; }

promtool check config --lint=all --lint-fatal "$folder/prometheus.yml" || failed=1
promtool check rules --lint=all --lint-fatal "$folder"/rules/*.yml || failed=1
promtool test rules "$folder"/tests/*.yml || failed=1

# "name yes" for each test in which an alert fires, "name no" for each in which it does not.
tested=$(awk '
    /alertname: / { name = $0; sub(/.*alertname: /, "", name); sub(/[, ].*/, "", name) }
    /exp_alerts:/ { print name, (/exp_alerts: \[\]/ ? "no" : "yes") }
' "$folder"/tests/*.yml)
alerts=$(sed -n 's/^ *- alert: //p' "$folder/rules/alerts.yml" | sort -u)
[ -n "$alerts" ] || complain 'no alerts'
for alert in $alerts; do
    page=docs/runbooks/$alert.md
    [ -s "$page" ] || complain "$alert: $page is missing"
    grep -q "runbook_url: $page\$" "$folder/rules/alerts.yml" || complain "$alert: no runbook_url names $page"
    grep -qF "($alert.md)" docs/runbooks/README.md || complain "$alert: not in docs/runbooks/README.md"
    for heading in 'What it means' 'What callers see' 'How to look' 'What to do' 'When to escalate'; do
        grep -q "^## $heading\$" "$page" || complain "$page: no \"$heading\""
    done
    echo "$tested" | grep -qx "$alert yes" || complain "$alert: no test in which it fires"
    echo "$tested" | grep -qx "$alert no" || complain "$alert: no test in which it does not fire"
done
rules=$(grep -c '^ *- alert: ' "$folder/rules/alerts.yml")
pages=$(grep -c '^ *runbook_url: docs/runbooks/[A-Za-z]*\.md$' "$folder/rules/alerts.yml")
[ "$rules" -eq "$pages" ] || complain "$rules alert rules, but $pages runbook_urls"
for page in docs/runbooks/*.md; do
    name=$(basename "$page" .md)
    [ "$name" = README ] || echo "$alerts" | grep -qx "$name" || complain "$page: no such alert"
done

[ "$failed" -eq 0 ] || exit 1
echo "check-rules: $(echo "$alerts" | wc -l) alerts with runbooks and tests"
