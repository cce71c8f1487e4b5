"""What Linux says of processes and of the machine."""

import os
import platform
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def postgres_pid(port):
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"-p" in words and words[words.index(b"-p") + 1] == str(port).encode():
            return int(name)
    raise SystemExit("PostgreSQL is not to be seen")


def stat(pid):
    """Parent, and CPU seconds without and with those of children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    own, ended = sum(map(int, fields[11:13])), sum(map(int, fields[13:15]))
    return int(fields[1]), own / TICK, (own + ended) / TICK


def tree(root):
    """A process and all that it has started."""
    stats = {int(name): stat(name) for name in os.listdir("/proc") if name.isdigit()}
    found, children = [root], {}
    for pid, its in stats.items():
        if its:
            children.setdefault(its[0], []).append(pid)
    for pid in found:
        found += children.get(pid, [])
    return found


def cpu_seconds(root):
    return sum(its[2] for its in map(stat, tree(root)) if its)


def memory_mb(root):
    """Resident memory; what processes of one program share counts once for each."""
    total = 0
    for pid in tree(root):
        try:
            pages = Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1]
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += int(pages) * os.sysconf("SC_PAGE_SIZE")
    return total / 2**20


def describe():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8") if "model name" in line), "")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return f"{os.cpu_count()} cores ({model or platform.machine()}), {memory:.0f} GB, Linux {platform.release().split('-')[0]}"
