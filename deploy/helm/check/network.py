"""Rules for what finds and reaches the pods: selectors, Services, NetworkPolicies."""

from urllib.parse import urlsplit

from release import COMPONENT, MANAGEMENT_PORT, matches


def check(release):
    check_selectors(release)
    check_services(release)
    check_policies(release)


def open_ports(rule):
    return {port["port"] for port in rule.get("ports", [])}


def check_selectors(release):
    pods = [w["spec"]["template"]["metadata"]["labels"] for w in release.workloads]
    for item in release.objects:
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
            release.expect(len(chosen) == len(own) == 1, where, "does not select its own pods")
    names = {d["metadata"]["name"] for d in release.deployments.values()}
    for scaler in release.of("HorizontalPodAutoscaler"):
        release.expect(scaler["spec"]["scaleTargetRef"]["name"] in names, "HPA", "has no target")
    for service in release.services:
        count = sum(
            p["metadata"]["labels"][COMPONENT] == service
            for p in release.of("PodDisruptionBudget")
        )
        release.expect(count == 1, service, f"{count} disruption budgets")


def check_services(release):
    addresses = set()
    for item in release.of("Service"):
        name = item["metadata"]["name"]
        component = item["metadata"]["labels"][COMPONENT]
        container = release.deployments[component]["spec"]["template"]["spec"]["containers"][0]
        ports = {p["name"]: p["containerPort"] for p in container["ports"]}
        for port in item["spec"]["ports"]:
            release.expect(
                ports.get(port["targetPort"]) == port["port"], name, "port ≠ container's port"
            )
        wanted = {"management"} if name.endswith("-management") else {"http"}
        exposed = {port["targetPort"] for port in item["spec"]["ports"]}
        release.expect(exposed == wanted, name, f"exposes {exposed}")
        if wanted == {"http"}:
            host = f"{name}.{item['metadata']['namespace']}.svc"
            addresses.add((component, f"http://{host}:{item['spec']['ports'][0]['port']}"))
    if "vehicle" in release.services:
        base_url = release.configs["insurance"].get("vehicle_client.base_url")
        release.expect(("vehicle", base_url) in addresses, "insurance", f"{base_url} is no Vehicle")
    for monitor in release.of("ServiceMonitor"):
        found = {
            service["metadata"]["labels"][COMPONENT]
            for service in release.of("Service")
            for endpoint in monitor["spec"]["endpoints"]
            if matches(monitor["spec"]["selector"]["matchLabels"], service["metadata"]["labels"])
            and endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
        }
        release.expect(found == set(release.services), "ServiceMonitor", f"finds {found}")


def check_policies(release):
    policies = release.of("NetworkPolicy")
    for workload in release.workloads:
        labels = workload["spec"]["template"]["metadata"]["labels"]
        own = [p for p in policies if matches(p["spec"]["podSelector"]["matchLabels"], labels)]
        where = f"network of {labels[COMPONENT]}"
        release.expect(len(own) == 1, where, f"{len(own)} policies")
        for policy in own:
            kinds = policy["spec"]["policyTypes"]
            release.expect(kinds == ["Ingress", "Egress"], where, f"covers {kinds}")
            for direction, side in (("ingress", "from"), ("egress", "to")):
                for rule in policy["spec"].get(direction, []):
                    release.expect(rule.get(side) and rule.get("ports"), where, "is open")
                    if direction == "ingress" and MANAGEMENT_PORT in open_ports(rule):
                        release.expect(
                            rule.get("from") == release.values["networkPolicy"]["monitoring"],
                            where,
                            "lets others than monitoring reach management",
                        )
    check_way_to_vehicle(release, policies)
    check_way_to_broker(release, policies)
    check_way_to_issuer(release, policies)


def check_way_to_vehicle(release, policies):
    """Both policies between Insurance and Vehicle have to let a call pass."""
    if "vehicle" not in release.services:
        check_way_elsewhere(release, policies)
        return
    port = release.configs["vehicle"].get("server.port")
    for service, direction, side, other in (
        ("insurance", "egress", "to", "vehicle"),
        ("vehicle", "ingress", "from", "insurance"),
    ):
        labels = release.deployments[other]["spec"]["template"]["metadata"]["labels"]
        passes = any(
            port in open_ports(rule)
            and any(
                matches(peer["podSelector"]["matchLabels"], labels)
                for peer in rule.get(side, [])
                if peer.get("podSelector", {}).get("matchLabels")
            )
            for policy in policies
            if policy["metadata"]["labels"][COMPONENT] == service
            for rule in policy["spec"].get(direction, [])
        )
        release.expect(passes, f"network of {service}", f"has no way {side} {other}")


def check_way_elsewhere(release, policies):
    url = urlsplit(release.configs["insurance"]["vehicle_client.base_url"])
    release.expect(url.scheme == "https", "insurance", f"calls {url.geturl()}")
    wanted = {
        "ports": [{"port": url.port or 443}],
        "to": release.values["networkPolicy"]["vehicle"],
    }
    passes = any(
        wanted in policy["spec"]["egress"]
        for policy in policies
        if policy["metadata"]["labels"][COMPONENT] == "insurance"
    )
    release.expect(passes, "network of insurance", f"has no way to {url.netloc}")


def check_way_to_broker(release, policies):
    """Only where the values name one."""
    url, policy_values = release.values["nats"]["url"], release.values["networkPolicy"]
    wanted = {"ports": [{"port": policy_values["natsPort"]}], "to": policy_values["nats"]}
    for service in release.services:
        given = release.configs[service].get("relay.nats.url", "")
        release.expect(given == url, service, f"publishes to {given}")
        passes = any(
            wanted in policy["spec"]["egress"]
            for policy in policies
            if policy["metadata"]["labels"][COMPONENT] == service
        )
        release.expect(passes == bool(url), f"network of {service}", "has no way to NATS, or needs none")


def check_way_to_issuer(release, policies):
    """Only for services that trust one."""
    policy_values = release.values["networkPolicy"]
    wanted = {"ports": [{"port": policy_values["tokensPort"]}], "to": policy_values["tokens"]}
    for service in release.services:
        config = release.configs[service]
        issuer = config.get("tokens.issuer") or config.get("vehicle_client.token.url")
        passes = any(
            wanted in policy["spec"]["egress"]
            for policy in policies
            if policy["metadata"]["labels"][COMPONENT] == service
        )
        release.expect(passes == bool(issuer), f"network of {service}", "has no way to its issuer, or needs none")
