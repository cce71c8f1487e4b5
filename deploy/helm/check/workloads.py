"""Rules for the pods beyond checkov's: probed, stopped in time, within their memory and the fleet."""

import json
import re

from release import COMPONENT, MANAGEMENT_PORT, containers, manual, matches

# The last traces leave in 5 s at most, which is the exporter's own bound.
SLACK_SECONDS = 6
# What a process needs besides the worst case of its `check`.
BASE_MEMORY = 64 * 1024**2
# Seconds after which a process that does not answer is taken out of the Service, or started again.
NOTICED_WITHIN = {"readinessProbe": 15, "livenessProbe": 60}
HOOKS = "pre-install,pre-upgrade"
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


def check(release):
    found = set(release.deployments)
    release.expect(found == set(release.services), "Deployments", f"are for {found}")
    for workload in release.workloads:
        check_pod(release, workload)
    for service, deployment in release.deployments.items():
        check_probes(release, service, deployment)
        check_stop(release, service, deployment)
        check_availability(release, service, deployment)
        check_config(release, service, deployment)
        check_spread(release, service, deployment)
    check_migrations(release)
    check_fleet(release)


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", text).groups()
    return int(number) * UNITS[unit]


def size(quantity):
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()
    return int(number) * {"Mi": 1024**2, "Gi": 1024**3}[unit]


def check_pod(release, workload):
    where = f"{workload['kind']} {workload['metadata']['name']}"
    pod = workload["spec"]["template"]["spec"]
    # checkov takes a user id for it.
    root = pod.get("securityContext", {}).get("runAsNonRoot") is not True
    release.expect(not root, where, "may run as root")
    chosen = release.values
    metadata = workload["spec"]["template"]["metadata"]
    for kind, wanted in (("labels", chosen["podLabels"]), ("annotations", chosen["podAnnotations"])):
        release.expect(wanted.items() <= metadata.get(kind, {}).items(), where, f"lacks {kind}")
    priority = pod.get("priorityClassName", "")
    release.expect(priority == chosen["priorityClassName"], where, f"has the priority {priority}")
    service = workload["metadata"]["labels"][COMPONENT].removesuffix("-migrate")
    affinity = pod.get("affinity", {})
    release.expect(affinity == chosen[service]["affinity"], where, f"has the affinity {affinity}")
    for container in containers(workload):
        resources = container.get("resources", {})
        wanted = chosen[service]["resources"]
        release.expect(resources == wanted, where, f"has {resources}, not {wanted}")
        image = chosen[service]["image"]["repository"] or f"{chosen['image']['registry']}/"
        release.expect(container["image"].startswith(image), where, f"runs {container['image']}")
        release.expect(
            not any("subPath" in mount for mount in container["volumeMounts"]),
            where,
            "a mount by subPath never sees a change",
        )
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        release.expect(mounted == {v["name"] for v in pod["volumes"]}, where, "mounts ≠ volumes")
        prefix = f"{service.upper()}__"
        extra = chosen[service]["extraEnv"]
        given = container.get("env", [])
        release.expect(given[len(given) - len(extra) :] == extra, where, "lacks variables")
        for variable in given[: len(given) - len(extra)]:
            path = variable["name"].removeprefix(prefix).replace("__", ".").lower()
            known = variable["name"].startswith(prefix) and path in manual(service)
            release.expect(known, where, f"{variable['name']} is no setting of {service}")


def check_probes(release, service, deployment):
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    for probe, path in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        request = container.get(probe, {}).get("httpGet", {})
        release.expect(
            request == {"path": path, "port": "management"}, service, f"{probe} is {request}"
        )
        noticed = container[probe].get("periodSeconds", 10) * container[probe].get("failureThreshold", 3)
        within = NOTICED_WITHIN[probe]
        release.expect(noticed <= within, service, f"{probe} notices after {noticed} s, not {within} s")
    config = release.configs[service]
    said = {"http": config.get("server.port"), "management": config.get("management.port")}
    release.expect(ports == said, service, f"container ports {ports}, settings {said}")
    release.expect(said["management"] == MANAGEMENT_PORT, service, "management has moved")


def check_stop(release, service, deployment):
    pod = deployment["spec"]["template"]["spec"]
    hook = pod["containers"][0].get("lifecycle", {}).get("preStop", {})
    settings = manual(service) | release.configs[service]
    needed = (
        hook.get("sleep", {}).get("seconds", 0)
        + seconds(settings["server.drain_delay"])
        + seconds(settings["server.shutdown_timeout"])
        + SLACK_SECONDS
    )
    grace = pod["terminationGracePeriodSeconds"]
    release.expect(grace >= needed, service, f"grace period {grace} s, stopping takes {needed} s")
    ready = deployment["spec"].get("minReadySeconds", 0)
    release.expect(ready >= grace, service, f"minReadySeconds {ready} < grace period {grace}")


def check_availability(release, service, deployment):
    """Neither an update nor a drained node takes more than one pod away, and none of them waits for ever."""
    update = deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"]
    release.expect(update == 0, service, f"an update takes {update} pods away")
    for budget in release.of("PodDisruptionBudget"):
        if budget["metadata"]["labels"][COMPONENT] == service:
            said = {key: it for key, it in budget["spec"].items() if key.endswith("vailable")}
            release.expect(said == {"maxUnavailable": 1}, service, f"its disruption budget is {said}")


def check_config(release, service, deployment):
    try:
        needed = BASE_MEMORY + release.memory(service, release.files[service])
    except ValueError as refusal:
        release.expect(False, service, f"`check` refuses its settings: {refusal}")
        return
    limits = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    limit = limits["memory"]
    needed_mebibytes = -(-needed // 1024**2)
    release.expect(size(limit) >= needed, service, f"{limit} of memory < {needed_mebibytes}Mi")


def check_spread(release, service, deployment):
    template = deployment["spec"]["template"]
    spread = {
        constraint["topologyKey"]
        for constraint in template["spec"].get("topologySpreadConstraints", [])
        if matches(constraint["labelSelector"]["matchLabels"], template["metadata"]["labels"])
    }
    wanted = {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    release.expect(spread == wanted, service, f"is spread over {spread}")


def check_migrations(release):
    jobs = {o["metadata"]["labels"][COMPONENT]: o for o in release.of("Job")}
    wanted = {f"{service}-migrate" for service in release.services}
    release.expect(jobs.keys() == wanted, "migrations", f"{set(jobs)}")
    brought = {
        o["metadata"]["name"]
        for o in release.of("ConfigMap")
        if o["metadata"].get("annotations", {}).get("helm.sh/hook") == HOOKS
    }
    for name, job in jobs.items():
        hooks = job["metadata"]["annotations"].get("helm.sh/hook")
        release.expect(hooks == HOOKS, name, f"runs at {hooks}")
        pod = job["spec"]["template"]["spec"]
        service = name.removesuffix("-migrate")
        serving = release.deployments[service]["spec"]["template"]["spec"]["containers"][0]
        commands = [container["args"] for container in containers(job)]
        before = serving["args"][:-1]
        wanted = [[*before, "check"], [*before, "migrate"]]
        release.expect(commands == wanted, name, f"runs {commands}")
        checked = pod["initContainers"][0]
        for what in ("image", "env", "volumeMounts"):
            release.expect(checked.get(what) == serving.get(what), name, f"checks another {what}")
        same = release.configs[name] == release.configs[service]
        release.expect(same, name, "checks other settings than those that serve")
        maps = {v["configMap"]["name"] for v in pod["volumes"] if "configMap" in v}
        release.expect(maps <= brought, name, f"waits for the release, which brings {maps}")
    for service, deployment in release.deployments.items():
        release.expect(
            "MIGRATION" not in json.dumps(deployment), service, "knows the migrator's password"
        )


def check_fleet(release):
    deployment = release.deployments["insurance"]
    name = deployment["metadata"]["name"]
    scalers = [
        o for o in release.of("HorizontalPodAutoscaler")
        if o["spec"]["scaleTargetRef"]["name"] == name
    ]
    if scalers:
        most = scalers[0]["spec"]["maxReplicas"]
        release.expect("replicas" not in deployment["spec"], name, "replicas beside autoscaling")
    else:
        most = deployment["spec"]["replicas"]
    update = deployment["spec"]["strategy"]["rollingUpdate"]
    pods = most + 2 * update["maxSurge"]
    for kind in ("single", "batch"):
        setting = f"vehicle_client.max_degree_of_parallelism_{kind}"
        cap = (manual("insurance") | release.configs["insurance"])[setting]
        capacity = release.values["legacy"]["capacity"][f"{kind}Calls"]
        release.expect(
            cap * pods <= capacity,
            "fleet",
            f"{kind}: {cap} calls × {pods} pods > the legacy system's {capacity}",
        )
