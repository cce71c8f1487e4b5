"""What must hold of the rendered objects, beyond what their schemas say."""

import json
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("vehicle", "insurance")
COMPONENT = "app.kubernetes.io/component"
# The last traces leave in 5 s at most, which is the exporter's own bound.
SLACK_SECONDS = 6
# What a service's `check` adds up: requests' heads and bodies on both listeners, the cache, and
# Vehicle's answers; and what a process needs besides.
BASE_MEMORY = 64 * 1024**2
HEAD_BYTES = 128 * 1024
CACHE_MEMORY_BY_WEIGHT = 3
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


def flat(tree, path=()):
    """The leaves of nested tables, by their dotted path."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from flat(value, (*path, key))
        else:
            yield ".".join((*path, key)), value


def manual(service):
    """A service's settings and their defaults, from the manuals embedded in its binary."""
    settings = {}
    for crate in ("service-defaults", "service-database", f"{service}-service"):
        settings |= flat(tomllib.loads((ROOT / "crates" / crate / "config.toml").read_text()))
    return settings


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", text).groups()
    return int(number) * UNITS[unit]


def size(quantity):
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()
    return int(number) * {"Mi": 1024**2, "Gi": 1024**3}[unit]


def matches(selector, labels):
    return selector.items() <= labels.items()


class Release:
    """The objects of one rendering, and what is found wrong with them."""

    def __init__(self, objects, values):
        self.objects = objects
        self.values = values
        self.faults = []
        self.workloads = [o for o in objects if o["kind"] in ("Deployment", "Job")]
        self.deployments = {
            o["metadata"]["labels"][COMPONENT]: o for o in self.of("Deployment")
        }
        self.configs = {
            o["metadata"]["labels"][COMPONENT]: dict(flat(tomllib.loads(o["data"]["config.toml"])))
            for o in self.of("ConfigMap")
        }

    def of(self, kind):
        return [o for o in self.objects if o["kind"] == kind]

    def expect(self, holds, where, what):
        if not holds:
            self.faults.append(f"{where}: {what}")

    def check(self):
        for service in SERVICES:
            self.expect(service in self.deployments, service, "has no Deployment")
        for workload in self.workloads:
            self.check_pod(workload)
        for service, deployment in self.deployments.items():
            self.check_probes(service, deployment)
            self.check_stop(service, deployment)
            self.check_config(service, deployment)
        self.check_selectors()
        self.check_services()
        self.check_migrations()
        self.check_policies()
        self.check_fleet()
        return self.faults

    def check_pod(self, workload):
        where = f"{workload['kind']} {workload['metadata']['name']}"
        pod = workload["spec"]["template"]["spec"]
        security = pod.get("securityContext", {})
        self.expect(security.get("runAsNonRoot") is True, where, "may run as root")
        self.expect(security.get("seccompProfile") == {"type": "RuntimeDefault"}, where, "seccomp")
        self.expect(pod.get("automountServiceAccountToken") is False, where, "mounts a token")
        for container in pod["containers"]:
            context = container.get("securityContext", {})
            self.expect(
                context.get("allowPrivilegeEscalation") is False
                and context.get("readOnlyRootFilesystem") is True
                and context.get("capabilities") == {"drop": ["ALL"]},
                where,
                "the container is not restricted",
            )
            for bound in ("requests", "limits"):
                stated = container.get("resources", {}).get(bound, {})
                self.expect({"cpu", "memory"} <= stated.keys(), where, f"lacks {bound}")
            self.expect(
                re.search(r"@sha256:[0-9a-f]{64}$|:(?!latest$)[\w.-]+$", container["image"]),
                where,
                f"the image {container['image']} has no fixed version",
            )
            self.expect(
                not any("subPath" in mount for mount in container["volumeMounts"]),
                where,
                "a mount by subPath never sees a change",
            )
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            self.expect(mounted == {v["name"] for v in pod["volumes"]}, where, "mounts ≠ volumes")
            service = workload["metadata"]["labels"][COMPONENT].removesuffix("-migrate")
            prefix = f"{service.upper()}__"
            for variable in container.get("env", []):
                path = variable["name"].removeprefix(prefix).replace("__", ".").lower()
                known = variable["name"].startswith(prefix) and path in manual(service)
                self.expect(known, where, f"{variable['name']} is no setting of {service}")

    def check_probes(self, service, deployment):
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        ports = {p["name"]: p["containerPort"] for p in container["ports"]}
        for probe, path in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
            request = container.get(probe, {}).get("httpGet", {})
            self.expect(
                request == {"path": path, "port": "management"}, service, f"{probe} is {request}"
            )
        config = self.configs[service]
        said = {"http": config.get("server.port"), "management": config.get("management.port")}
        self.expect(ports == said, service, f"container ports {ports}, settings {said}")

    def check_stop(self, service, deployment):
        pod = deployment["spec"]["template"]["spec"]
        hook = pod["containers"][0].get("lifecycle", {}).get("preStop", {})
        settings = manual(service) | self.configs[service]
        needed = (
            hook.get("sleep", {}).get("seconds", 0)
            + seconds(settings["server.drain_delay"])
            + seconds(settings["server.shutdown_timeout"])
            + SLACK_SECONDS
        )
        grace = pod["terminationGracePeriodSeconds"]
        self.expect(grace >= needed, service, f"grace period {grace} s, stopping takes {needed} s")
        ready = deployment["spec"].get("minReadySeconds", 0)
        self.expect(ready >= grace, service, f"minReadySeconds {ready} < grace period {grace}")

    def check_config(self, service, deployment):
        defaults = manual(service)
        for path, value in self.configs[service].items():
            if path not in defaults:
                self.expect(False, service, f"{path} is no setting")
                continue
            kind = type(defaults[path])
            fits = isinstance(value, (int, float) if kind is float else kind)
            self.expect(fits, service, f"{path} = {value!r} is no {kind.__name__}")
        settings = defaults | self.configs[service]
        limits = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
        needed = BASE_MEMORY + 2 * settings["server.max_connections"] * (
            HEAD_BYTES + settings["limits.max_body_bytes"]
        )
        if service == "insurance":
            client = {k.removeprefix("vehicle_client."): v for k, v in settings.items()}
            needed += CACHE_MEMORY_BY_WEIGHT * client["cache.max_bytes"] + client[
                "max_answer_bytes"
            ] * sum(client[f"max_degree_of_parallelism_{kind}"] for kind in ("single", "batch"))
        limit = limits["memory"]
        needed_mebibytes = -(-needed // 1024**2)
        self.expect(size(limit) >= needed, service, f"{limit} of memory < {needed_mebibytes}Mi")

    def check_selectors(self):
        pods = [w["spec"]["template"]["metadata"]["labels"] for w in self.workloads]
        for item in self.objects:
            spec = item.get("spec", {})
            where = f"{item['kind']} {item['metadata']['name']}"
            selector = None
            if item["kind"] == "Service":
                selector = spec["selector"]
            elif item["kind"] in ("Deployment", "PodDisruptionBudget"):
                selector = spec["selector"]["matchLabels"]
            elif item["kind"] == "NetworkPolicy":
                selector = spec["podSelector"]["matchLabels"]
            if selector is not None:
                chosen = [labels for labels in pods if matches(selector, labels)]
                own = [c for c in chosen if c[COMPONENT] == item["metadata"]["labels"][COMPONENT]]
                self.expect(len(chosen) == len(own) == 1, where, "does not select its own pods")
        names = {d["metadata"]["name"] for d in self.deployments.values()}
        for scaler in self.of("HorizontalPodAutoscaler"):
            self.expect(scaler["spec"]["scaleTargetRef"]["name"] in names, "HPA", "has no target")
        for service in SERVICES:
            count = sum(
                p["metadata"]["labels"][COMPONENT] == service
                for p in self.of("PodDisruptionBudget")
            )
            self.expect(count == 1, service, f"{count} disruption budgets")

    def check_services(self):
        addresses = set()
        for item in self.of("Service"):
            name = item["metadata"]["name"]
            component = item["metadata"]["labels"][COMPONENT]
            container = self.deployments[component]["spec"]["template"]["spec"]["containers"][0]
            ports = {p["name"]: p["containerPort"] for p in container["ports"]}
            for port in item["spec"]["ports"]:
                self.expect(
                    ports.get(port["targetPort"]) == port["port"], name, "port ≠ container's port"
                )
            wanted = {"management"} if name.endswith("-management") else {"http"}
            exposed = {port["targetPort"] for port in item["spec"]["ports"]}
            self.expect(exposed == wanted, name, f"exposes {exposed}")
            if wanted == {"http"}:
                host = f"{name}.{item['metadata']['namespace']}.svc"
                addresses.add((component, f"http://{host}:{item['spec']['ports'][0]['port']}"))
        base_url = self.configs["insurance"].get("vehicle_client.base_url")
        self.expect(("vehicle", base_url) in addresses, "insurance", f"{base_url} is no Vehicle")
        for monitor in self.of("ServiceMonitor"):
            found = {
                service["metadata"]["labels"][COMPONENT]
                for service in self.of("Service")
                for endpoint in monitor["spec"]["endpoints"]
                if matches(monitor["spec"]["selector"]["matchLabels"], service["metadata"]["labels"])
                and endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
            }
            self.expect(found == set(SERVICES), "ServiceMonitor", f"finds {found}")

    def check_migrations(self):
        jobs = {o["metadata"]["labels"][COMPONENT]: o for o in self.of("Job")}
        self.expect(jobs.keys() == {f"{s}-migrate" for s in SERVICES}, "migrations", f"{set(jobs)}")
        for name, job in jobs.items():
            hooks = job["metadata"]["annotations"].get("helm.sh/hook")
            self.expect(hooks == "pre-install,pre-upgrade", name, f"runs at {hooks}")
            pod = job["spec"]["template"]["spec"]
            self.expect(pod["containers"][0]["args"][-1] == "migrate", name, "does not migrate")
            self.expect(
                all("secret" in volume for volume in pod["volumes"]), name, "waits for the release"
            )
        for service, deployment in self.deployments.items():
            self.expect(
                "MIGRATION" not in json.dumps(deployment), service, "knows the migrator's password"
            )

    def check_policies(self):
        policies = self.of("NetworkPolicy")
        for workload in self.workloads:
            labels = workload["spec"]["template"]["metadata"]["labels"]
            own = [p for p in policies if matches(p["spec"]["podSelector"]["matchLabels"], labels)]
            where = f"network of {labels[COMPONENT]}"
            self.expect(len(own) == 1, where, f"{len(own)} policies")
            for policy in own:
                kinds = policy["spec"]["policyTypes"]
                self.expect(kinds == ["Ingress", "Egress"], where, f"covers {kinds}")
                for direction, side in (("ingress", "from"), ("egress", "to")):
                    for rule in policy["spec"].get(direction, []):
                        self.expect(rule.get(side) and rule.get("ports"), where, "is open")
                        ports = [port["port"] for port in rule["ports"]]
                        self.expect(
                            "management" not in ports
                            or rule["from"] == self.values["networkPolicy"]["monitoring"],
                            where,
                            "lets others than monitoring reach management",
                        )

    def check_fleet(self):
        deployment = self.deployments["insurance"]
        name = deployment["metadata"]["name"]
        scalers = [
            o for o in self.of("HorizontalPodAutoscaler")
            if o["spec"]["scaleTargetRef"]["name"] == name
        ]
        if scalers:
            most = scalers[0]["spec"]["maxReplicas"]
            self.expect("replicas" not in deployment["spec"], name, "replicas beside autoscaling")
        else:
            most = deployment["spec"]["replicas"]
        update = deployment["spec"]["strategy"]["rollingUpdate"]
        pods = most + 2 * update["maxSurge"]
        for kind in ("single", "batch"):
            cap = self.configs["insurance"][f"vehicle_client.max_degree_of_parallelism_{kind}"]
            capacity = self.values["legacy"]["capacity"][f"{kind}Calls"]
            self.expect(
                cap * pods <= capacity,
                "fleet",
                f"{kind}: {cap} calls × {pods} pods > the legacy system's {capacity}",
            )
