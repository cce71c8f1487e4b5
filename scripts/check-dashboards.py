#!/usr/bin/env python3
"""Runs the local stack and a Prometheus that scrapes it by deploy/observability/prometheus, makes
traffic of every kind, also with a Vehicle that hangs and one that refuses the key, and asks every
query of every Grafana dashboard and every runbook and every rule of it. What was measured must stay
under the worst case that is drawn above it. Then asks scripts/vehicle-guard.sh for all that it does.
Linux; Debian's prometheus; the binaries of `cargo build --workspace --bins`."""

import contextlib
import itertools
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

OBSERVABILITY = Path("deploy/observability")
BINARIES = Path(os.environ.get("CARGO_TARGET_DIR", "target")) / "debug"
# So that a breaker opens and closes, and a cached answer grows stale, within seconds.
QUICK = {
    "BREAKER__MINIMUM_CALLS": "3", "BREAKER__OPEN_FOR": "1s",
    "CACHE__FRESH": "500ms", "CACHE__SOFT_STALE": "600ms", "CACHE__NEGATIVE": "0s",
}
PERSONS = ["199001011234", "198505155678", "200310209876"]

# Gauges whose ending promtool dislikes; the first name is OpenTelemetry's.
GAUGES_NAMED_COUNT = {"db_client_connection_count", "settings_worst_case_count"}

problems = []


def complain(text):
    problems.append(text)
    print(f"check-dashboards: {text}", file=sys.stderr)


# --- the dashboards as files ---


def load_dashboards():
    """Each dashboard by its file's name, after what can be seen without running anything."""
    source = (OBSERVABILITY / "grafana/provisioning/datasources/prometheus.yml").read_text()
    provisioned = set(re.findall(r"^\s*uid: (\S+)", source, re.M))
    dashboards, uids = {}, set()
    for path in sorted((OBSERVABILITY / "grafana/dashboards").glob("*.json")):
        dashboard = json.loads(path.read_text())
        dashboards[path.name] = dashboard
        if dashboard["uid"] in uids:
            complain(f"{path.name}: uid {dashboard['uid']} is taken")
        uids.add(dashboard["uid"])
        ids, taken = set(), {}
        for panel in dashboard["panels"]:
            where = f"{path.name}: {panel['title']}"
            if panel["id"] in ids:
                complain(f"{where}: id {panel['id']} is taken")
            ids.add(panel["id"])
            if not panel.get("targets"):
                complain(f"{where}: no query")
            for holder in [panel, *panel.get("targets", [])]:
                if holder["datasource"]["uid"] not in provisioned:
                    complain(f"{where}: datasource {holder['datasource']['uid']} is not provisioned")
            place = panel["gridPos"]
            if place["x"] < 0 or place["w"] < 1 or place["x"] + place["w"] > 24:
                complain(f"{where}: beyond the grid")
            for cell in ((x, y) for x in range(place["x"], place["x"] + place["w"])
                         for y in range(place["y"], place["y"] + place["h"])):
                if cell in taken:
                    complain(f"{where}: overlaps {taken[cell]}")
                    break
                taken[cell] = panel["title"]
    if not dashboards:
        complain("no dashboards")
    return dashboards


# --- what runs ---


def request(url, key=None, method="GET", body=None, headers=(), timeout=10):
    """The status and the text of an answer; None for one that did not come in time."""
    headers = dict(headers)
    if key:
        headers["X-Api-Key"] = key
    if body is not None:
        headers["Content-Type"] = "application/json"
        body = json.dumps(body).encode()
    asked = urllib.request.Request(url, data=body, method=method, headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return None


def wait_for(what, condition, process, log, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        if process.poll() is not None:
            break
        time.sleep(0.1)
    sys.exit(f"check-dashboards: {what} did not come up\n{log.read_text()}")


@contextlib.contextmanager
def running(command, log, stop, **options):
    """A process, ended by the signal `stop` when the block ends."""
    with log.open("w") as lines:
        process = subprocess.Popen(command, stdout=lines, stderr=lines, **options)
    try:
        yield process
    finally:
        process.send_signal(stop)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            complain(f"{command[0]} did not stop by itself")


def child(parent, name):
    """The process of a service that the local stack has started."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes().split(b"\0")[1:5] == [b"service", name, b"--parent", str(parent).encode()]:
                return int(path.parent.name)
    sys.exit(f"check-dashboards: the stack has no process {name}")


class Stack:
    def __init__(self, folder, process):
        log = folder / "stack.log"
        wait_for("the local stack", lambda: log.read_text().count("\n  curl ") == 3, process, log)
        found = dict(re.findall(r"^  (\S+) +(\S+)$", log.read_text(), re.M))
        self.vehicle = found["Vehicle"].removesuffix("/swagger/")
        self.insurance = found["Insurance"].removesuffix("/swagger/")
        self.key, self.operations_key = found["X-Api-Key"], found["Operations"]
        self.toggles = Path(found["Toggles"])
        self.vehicle_process = child(process.pid, b"vehicle")
        self.insurance_process = child(process.pid, b"insurance")


def second_replica(stack):
    """The environment of another Insurance, whose key Vehicle does not know."""
    variables = Path(f"/proc/{stack.insurance_process}/environ").read_bytes().decode().split("\0")
    environment = dict(it.split("=", 1) for it in variables if it)
    environment["INSURANCE__SERVER__PORT"] = "0"
    environment["INSURANCE__VEHICLE_CLIENT__API_KEY"] = "no-key-of-vehicle-0123456789"
    return environment


def address_in(log):
    found = re.search(r'"listening".*"address":"([^"]+)"', log.read_text())
    return found and found[1]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def configure(folder, targets):
    """The project's own configuration, with other addresses and every second."""
    shutil.copytree(OBSERVABILITY / "prometheus", folder, dirs_exist_ok=True)
    path = folder / "prometheus.yml"
    text, count = re.subn(r"(_interval:) 15s", r"\1 1s", path.read_text())
    if count != 2:
        complain("prometheus.yml: expected two intervals of 15s")
    for name, addresses in targets.items():
        if name not in text:
            complain(f"prometheus.yml: {name} is not scraped")
        text = text.replace(f'"{name}"', ", ".join(f'"{it}"' for it in addresses))
    path.write_text(text)
    return path


# --- traffic ---


def everything_once(stack, replica):
    """Requests of every kind that needs no trouble."""
    for person in [*PERSONS, "111111111111", "no-number"]:
        request(f"{stack.insurance}/api/v1/insurances/{person}", stack.key)
        request(f"{replica}/api/v1/insurances/{person}", stack.key)
    request(f"{stack.insurance}/api/v1/insurances/lookup", stack.key, "POST", {"personalIdentityNumber": PERSONS[0]})
    for number in ["ABC123", "ZZZ999", "%21"]:
        request(f"{stack.vehicle}/api/v1/vehicles/{number}", stack.key)
    request(f"{stack.vehicle}/api/v1/vehicles/batch", stack.key, "POST", {"registrationNumbers": ["ABC123", "ZZZ999", "?"]})
    request(f"{stack.vehicle}/api/v1/vehicles/ABC123", stack.key, headers={"X-Deadline-Ms": "1"})
    request(f"{stack.vehicle}/api/v1/vehicles/ABC123")
    request(f"{stack.vehicle}/api/v1/vehicles/ABC123", headers={"Authorization": "Bearer none"})
    request(f"{stack.insurance}/nowhere")
    for service in [stack.vehicle, stack.insurance, replica]:
        request(f"{service}/readyz")  # as a platform does
    change(stack)
    for _ in range(10):  # enough for AvailabilityBudgetBurn
        request(f"{replica}/api/v1/insurances/{PERSONS[0]}", stack.key, headers={"Prefer": "handling=strict"})


def change(stack, numbers=itertools.count()):
    """A draft, sent twice under its key, and a vehicle that is there already."""
    draft = {"personalIdentityNumber": PERSONS[2], "product": "car", "carRegistrationNumber": "GHI789", "validFrom": "2030-01-01"}
    once = {"Idempotency-Key": f"check-dashboards-{next(numbers)}"}
    sent = [request(f"{stack.insurance}/api/v1/policies", stack.key, "POST", draft, once) for _ in range(2)]
    if not sent[0] or sent[0][0] != 201 or sent[0] != sent[1]:
        complain(f"a draft: {sent}")
    vehicle = {"make": "Volvo", "model": "XC60", "modelYear": 2021}
    request(f"{stack.vehicle}/api/v1/vehicles/ABC123", stack.key, "PUT", vehicle, {"If-None-Match": "*"})


def repeat(seconds, step):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        step()
        time.sleep(0.1)


def operate(stack, *order, **environment):
    """What operators do, by what they do it with: the exit code and what it said."""
    environment = os.environ | {"OPERATIONS_KEY": stack.operations_key, **environment}
    done = subprocess.run(["scripts/vehicle-guard.sh", *order], env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def fleet(stack, replica, *order):
    code, said = operate(stack, *order, INSURANCE=f"{stack.insurance} {replica}")
    if code != 0 or f"{order[0]}: 2 of 2 replicas" not in said:
        complain(f"vehicle-guard.sh {order}: {code}: {said}")


# The second pod is there only when the pods are listed again, and can be reached only when the
# port-forward to the first has ended; a third cannot be reached.
KUBECTL = """#!/bin/sh
forward() {{
    echo "Forwarding from 127.0.0.1:$1 -> 5082"
    trap 'kill $!; sleep 0.5; : >{folder}/ended; exit' TERM
    sleep 60 & wait
}}
case "$*" in
"get pods --output name "*"--selector app.kubernetes.io/instance=here,app.kubernetes.io/component=insurance")
    echo pod/one
    if [ -e {folder}/listed ]; then printf 'pod/two\\npod/three\\n'; fi
    : >{folder}/listed ;;
"port-forward --address 127.0.0.1 pod/one :http") forward {one} ;;
"port-forward --address 127.0.0.1 pod/two :http") [ -e {folder}/ended ] && forward {two} ;;
*) echo "error: unable to forward port" >&2; exit 1 ;;
esac
"""


def check_pods(stack, replica, folder):
    """Operators tell pods too, also those that start meanwhile, and hear which they could not tell."""
    addresses = [stack.insurance, replica]
    one, two = (it.rsplit(":", 1)[1] for it in addresses)
    kubectl = folder / "kubectl"
    kubectl.write_text(KUBECTL.format(folder=folder, one=one, two=two))
    kubectl.chmod(0o755)
    # Neither a proxy nor the operator's own options of curl may come between.
    (folder / ".curlrc").write_text('header = "X-Api-Key: of-somebody-else"\n')
    pods = {"INSURANCE": "", "RELEASE": "here", "PATH": f"{folder}:{os.environ['PATH']}",
            "HOME": str(folder), "http_proxy": "http://127.0.0.1:1"}
    code, said = operate(stack, "isolate", "60", "check-dashboards", 'a "check"', **pods)
    if code != 1 or "isolate: 2 of 3 replicas" not in said or stack.operations_key in said:
        complain(f"vehicle-guard.sh with pods: {code}: {said}")
    for address in addresses:
        _, text = request(f"{address}/api/v1/operations/vehicle-guard", stack.operations_key)
        isolation = json.loads(text)["isolation"]
        if not isolation or isolation["reason"] != 'a "check"' or isolation["remainingSeconds"] > 60:
            complain(f"{address}: after an order to every pod: {text}")
    fleet(stack, replica, "release", "check-dashboards", "done")


class Issuer(BaseHTTPRequestHandler):
    """An issuer of tokens that has no keys: its fetches are measured all the same."""

    def do_GET(self):
        url = f"http://127.0.0.1:{self.server.server_port}"
        answer = json.dumps({"issuer": url, "jwks_uri": f"{url}/keys", "keys": []}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def trusted_issuer(stack_of):
    """The environment of services that trust one."""
    server = stack_of.enter_context(HTTPServer(("127.0.0.1", 0), Issuer))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stack_of.callback(server.shutdown)
    settings = {"ISSUER": f"http://127.0.0.1:{server.server_port}", "AUDIENCE": "check-dashboards", "SUBJECT_KEY": "0" * 32}
    return {f"{service}__TOKENS__{name}": value for service in ("VEHICLE", "INSURANCE") for name, value in settings.items()}


class Portal(BaseHTTPRequestHandler):
    status = 302

    def do_GET(self):
        self.send_response(self.status)
        self.send_header("Location", "https://login.example/")
        self.end_headers()
        self.wfile.write(b"<html>Who are you?</html>")

    def log_message(self, *_):
        pass


def check_portal(stack):
    """A login page in front of a replica is not taken for its answer."""
    with HTTPServer(("127.0.0.1", 0), Portal) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for Portal.status in (302, 200):
            code, said = operate(stack, "show", INSURANCE=f"http://127.0.0.1:{server.server_port}")
            if code != 1 or f"{Portal.status} FAILED" not in said:
                complain(f"vehicle-guard.sh with a portal: {code}: {said}")
        server.shutdown()


def crowd(stack, timeout):
    """Both persons with a car, eight times at once."""
    ask = lambda person: request(f"{stack.insurance}/api/v1/insurances/{person}", stack.key, timeout=timeout)
    threads = [threading.Thread(target=ask, args=(person,)) for person in PERSONS[:2] * 8]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def make_traffic(stack, replica):
    usual = lambda: everything_once(stack, replica)
    good = stack.toggles.read_text()
    repeat(4, usual)
    stack.toggles.write_text(good.replace("batch_vehicle_call = false", "batch_vehicle_call = true"))
    repeat(4, usual)
    stack.toggles.write_text(good.replace("vehicle_enrichment = true", "vehicle_enrichment = false"))
    repeat(4, usual)
    stack.toggles.write_text("broken")
    repeat(2, usual)
    stack.toggles.write_text(good)
    repeat(3, usual)
    fleet(stack, replica, "isolate", "60", "check-dashboards", "a check")
    repeat(2, usual)
    fleet(stack, replica, "release", "check-dashboards", "done")
    repeat(2, usual)

    fleet(stack, replica, "forget", "ABC123")
    os.kill(stack.vehicle_process, signal.SIGSTOP)
    try:
        # Callers who give up, before the breaker is open and answers come at once.
        for _ in range(5):
            request(f"{stack.insurance}/api/v1/insurances/{PERSONS[0]}", stack.key, timeout=0.1)
            request(f"{stack.vehicle}/api/v1/vehicles/ABC123", stack.key, timeout=0.1)
            time.sleep(0.5)
        repeat(3, lambda: crowd(stack, 10))
        for number in ["ABC123", "DEF456"]:
            fleet(stack, replica, "forget", number)
        repeat(3, lambda: crowd(stack, 10))
        for person in PERSONS[:2]:
            request(f"{stack.insurance}/api/v1/insurances/{person}", stack.key, headers={"Prefer": "handling=strict"})
    finally:
        os.kill(stack.vehicle_process, signal.SIGCONT)
    repeat(4, usual)


# --- what Prometheus knows ---


class Prometheus:
    def __init__(self, url):
        self.url = url

    def get(self, path, **parameters):
        status, text = request(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=30)
        answer = json.loads(text)
        if status != 200:
            raise ValueError(answer.get("error", text))
        return answer["data"]


def substituted(text, variables):
    for name in sorted(["__rate_interval", *variables], key=len, reverse=True):
        value = "10s" if name == "__rate_interval" else ".+"
        text = text.replace(f"${{{name}}}", value).replace(f"${name}", value)
    if "$" in text:
        raise ValueError("it has an unknown variable")
    return text


def finite(series):
    return [number for _, value in series["values"] if math.isfinite(number := float(value))]


def check_dashboard(prometheus, name, dashboard, start, end):
    variables = [it["name"] for it in dashboard["templating"]["list"]]
    for variable in dashboard["templating"]["list"]:
        query = substituted(variable["query"]["query"], variables)
        metric, label = re.fullmatch(r"label_values\((.+), (\w+)\)", query).groups()
        if not prometheus.get(f"label/{label}/values", **{"match[]": metric}):
            complain(f"{name}: variable {variable['name']}: no values")
    asked = 0
    for panel in dashboard["panels"]:
        measured, bounds = [], []
        for target in panel["targets"]:
            where = f"{name}: {panel['title']}: {target['expr']}"
            asked += 1
            try:
                query = substituted(target["expr"], variables)
                data = prometheus.get("query_range", query=query, start=start, end=end, step=1)["result"]
            except ValueError as error:
                complain(f"{where}: {error}")
                continue
            values = [number for series in data for number in finite(series)]
            if not values:
                complain(f"{where}: no series with a number")
                continue
            for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                if not any(series["metric"].get(label) for series in data):
                    complain(f"{where}: no series has the label {label} of its legend")
            (bounds if target["refId"].startswith("bound") else measured).append(max(values))
        if bounds and measured and max(measured) > max(bounds):
            complain(f"{name}: {panel['title']}: {max(measured)} was measured, {max(bounds)} is the worst case")
    return len(dashboard["panels"]), asked


def check_rules(prometheus):
    rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    for rule in rules:
        if rule["health"] != "ok":
            complain(f"rule {rule['name']}: {rule['health']} {rule.get('lastError', '')}")
        # Of three days every fifth minute is summed, which may not have come yet.
        if rule["type"] == "recording" and rule["name"] != "job_slo:errors:increase3d" and not prometheus.get("query", query=rule["name"])["result"]:
            complain(f"rule {rule['name']}: no series")
    for alert in ["VehicleUnauthorized", "EnrichmentDegraded", "AvailabilityBudgetBurn"]:
        if not any(rule["name"] == alert and rule.get("state") == "firing" for rule in rules):
            complain(f"alert {alert} does not fire although its trouble was made")
    return len(rules)


def check_runbooks(prometheus, start, end):
    asked = 0
    for page in sorted(Path("docs/runbooks").glob("*.md")):
        for block in re.findall(r"```promql\n(.*?)```", page.read_text(), re.S):
            for query in block.splitlines():
                asked += 1
                try:
                    found = prometheus.get("query_range", query=query, start=start, end=end, step=1)["result"]
                except ValueError as error:
                    complain(f"{page}: {query}: {error}")
                    continue
                if not any(finite(series) for series in found):
                    complain(f"{page}: {query}: no series with a number")
    return asked


def check_metrics(address):
    answer = request(f"{address}/metrics")
    if not answer or answer[0] != 200 or not answer[1]:
        complain(f"{address}/metrics: {answer}")
        return
    said = subprocess.run(["promtool", "check", "metrics"], input=answer[1], capture_output=True, text=True, check=False)
    for line in (said.stdout + said.stderr).splitlines():
        name, _, fault = line.partition(" ")
        if name not in GAUGES_NAMED_COUNT or '"_count" suffix' not in fault:
            complain(f"{address}/metrics: {line}")


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("check-dashboards: stopped"))  # with what it runs
    dashboards = load_dashboards()
    began = time.monotonic()
    with contextlib.ExitStack() as stack_of:
        folder = Path(stack_of.enter_context(tempfile.TemporaryDirectory(prefix="check-dashboards-")))
        folder.chmod(0o755)  # PostgreSQL runs as another account where this is root
        environment = {key: value for key, value in os.environ.items() if key != "THREADPILOT_DATABASE_URL"}
        environment |= {f"INSURANCE__VEHICLE_CLIENT__{name}": value for name, value in QUICK.items()}
        environment |= trusted_issuer(stack_of)
        # A broker that is away has its series, too.
        environment |= {"INSURANCE__REPLICA__ENABLED": "true", "INSURANCE__RELAY__NATS__URL": "nats://127.0.0.1:1"}
        command = [BINARIES / "threadpilot", "--vehicle-port", "0", "--insurance-port", "0", "--data-dir", folder / "data"]
        process = stack_of.enter_context(running(command, folder / "stack.log", signal.SIGINT, env=environment))
        stack = Stack(folder, process)

        log = folder / "replica.log"
        command = [BINARIES / "insurance-service"]
        process = stack_of.enter_context(running(command, log, signal.SIGTERM, env=second_replica(stack)))
        replica = wait_for("the second Insurance", lambda: address_in(log), process, log)
        check_pods(stack, f"http://{replica}", folder)
        check_portal(stack)

        port, log = free_port(), folder / "prometheus.log"
        targets = {"vehicle:5081": [stack.vehicle.removeprefix("http://")],
                   "insurance:5082": [stack.insurance.removeprefix("http://"), replica]}
        command = ["prometheus", f"--config.file={configure(folder / 'prometheus', targets)}",
                   f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address=127.0.0.1:{port}"]
        process = stack_of.enter_context(running(command, log, signal.SIGTERM))
        url = f"http://127.0.0.1:{port}"
        wait_for("Prometheus", lambda: (request(f"{url}/-/ready") or [0])[0] == 200, process, log)

        start = time.time()
        make_traffic(stack, f"http://{replica}")
        time.sleep(2)  # a scrape and an evaluation
        prometheus, end = Prometheus(url), time.time()
        counts = [check_dashboard(prometheus, name, dashboard, start, end) for name, dashboard in dashboards.items()]
        rules, asked = check_rules(prometheus), check_runbooks(prometheus, start, end)
        for address in [stack.vehicle, stack.insurance, f"http://{replica}"]:
            check_metrics(address)
    if problems:
        sys.exit(f"check-dashboards: {len(problems)} problems")
    panels, queries = map(sum, zip(*counts))
    print(f"check-dashboards: {len(counts)} dashboards, {panels} panels, {queries} queries with series, "
          f"{asked} queries of runbooks as well, {rules} rules healthy, in {time.monotonic() - began:.0f} s")


main()
