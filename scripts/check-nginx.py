#!/usr/bin/env python3
"""Runs the example of a reverse proxy, deploy/nginx/nginx.conf: `nginx -t`, then real requests
through it to a stand-in for the service. Needs nginx (Debian: nginx-light) and openssl."""

import http.client
import json
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CONF = Path(__file__).resolve().parent.parent / "deploy" / "nginx" / "nginx.conf"
PERSON = "199001011234"
PATH = f"/api/v1/insurances/{PERSON}"
INNER = ["/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/swagger/", "/api/v1/vehicles/ABC123"]
INNER += ["/api/v1/operations/vehicle-guard", "/api/v1/insurances/../operations/vehicle-guard"]
INNER += ["/api/v1/insurances/%2e%2e/operations/vehicle-guard"]


class Service(BaseHTTPRequestHandler):
    """Answers with the request as it arrived."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        seen = {"path": self.path, "headers": {name.lower(): it for name, it in self.headers.items()}}
        body = json.dumps(seen).encode()
        # The service's own refusal has to pass as it is.
        self.send_response(503 if self.headers.get("Prefer") else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Request-Id", "the-services-own")
        # Nothing is left of it once it is stopped.
        self.send_header("Connection", "close")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def replaced(text, old, new):
    assert text.count(old) == 1, f"`{old}` is {text.count(old)} times in {CONF.name}"
    return text.replace(old, new)


def main():
    nginx = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if not nginx:
        sys.exit("check-nginx.py: no nginx; apt-get install nginx-light")
    service = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        text = replaced(CONF.read_text(), "listen 443 ", f"listen 127.0.0.1:{port} ")
        text = replaced(text, "127.0.0.1:5082", f"127.0.0.1:{service.server_port}")
        # In a place of its own: as root, nginx's workers are somebody else and could not go in.
        (folder / "nginx.conf").write_text("user root;\n" + text if is_root() else text)
        (folder / "tls").mkdir()
        make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout tls/key.pem -out tls/certificate.pem"
        subprocess.run(make.split(), cwd=folder, check=True, capture_output=True)
        command = [nginx, "-p", str(folder), "-c", "nginx.conf"]
        command += ["-e", "stderr", "-g", "daemon off;"]
        test = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
        print(test.stderr.strip())
        if test.returncode != 0 or "[warn]" in test.stderr:
            sys.exit("check-nginx.py: nginx -t refuses the configuration or warns")
        with open(folder / "errors", "w", encoding="utf-8") as errors:
            process = subprocess.Popen(command, stderr=errors)
        try:
            problems = list(through(port, service))
        finally:
            process.terminate()
            process.wait(10)
        logged = (folder / "access.log").read_text() + (folder / "errors").read_text()
        if re.search(PERSON, logged):
            problems.append("a log names a person")
        if "the-services-own" not in logged:
            problems.append("the access log has no request id of the service")
    for problem in problems:
        print(f"check-nginx.py: {problem}")
    print(f"nginx example: {len(problems)} problems")
    return 1 if problems else 0


def is_root():
    return subprocess.run(["id", "-u"], capture_output=True, text=True, check=True).stdout.strip() == "0"


def through(port, service):
    """What is wrong with answers that come through the proxy."""

    def ask(path, method="GET", body=None, **headers):
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=5)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer, answer.read()

    for _ in range(50):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            time.sleep(0.1)
    given = {"X-Api-Key": "k", "X-Deadline-Ms": "250", "X-Request-Id": "r", "traceparent": "t"}
    answer, body = ask(PATH, **given)
    if answer.status != 200:
        yield f"{answer.status} for a request that should pass"
        return
    seen = json.loads(body)
    if seen["path"] != PATH:
        yield f"the path arrives as {seen['path']}"
    for header, value in given.items():
        if seen["headers"].get(header.lower()) != value:
            yield f"{header} does not arrive"
    if "max-age=31536000" not in answer.headers.get("Strict-Transport-Security", ""):
        yield "no Strict-Transport-Security"
    answer, body = ask(PATH, Prefer="handling=strict")
    if answer.status != 503 or b"headers" not in body:
        yield "the service's own 503 does not pass as it is"
    for path in INNER:
        answer, body = ask(path)
        if answer.status != 404 or json.loads(body).get("code") != "route_not_found":
            yield f"{path} is answered with {answer.status}"
    answer, body = ask("/api/v1/insurances/lookup", "POST", b"x" * (64 * 1024 + 1))
    if answer.status != 413 or json.loads(body)["code"] != "body_too_large":
        yield f"a large body is answered with {answer.status}"
    service.shutdown()
    service.server_close()
    answer, body = ask(PATH)
    if answer.status != 503 or not answer.headers.get("Retry-After"):
        yield f"without the service, {answer.status} and no Retry-After"
    elif json.loads(body)["code"] != "edge_unavailable":
        yield "without the service, no problem document"


if __name__ == "__main__":
    sys.exit(main())
