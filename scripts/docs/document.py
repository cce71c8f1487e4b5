"""A Markdown file, taken apart."""

import posixpath
import re


class Document:
    """A Markdown file, taken apart."""

    def __init__(self, name, text):
        self.name, self.text = name, text
        self.folder = posixpath.dirname(name)
        self.prose, self.blocks = [], []
        fence = None
        for number, line in enumerate(text.split("\n"), 1):
            mark = re.match(r"\s*(`{3,}|~{3,})\s*([\w-]*)", line)
            if fence is None and mark:
                fence = (mark.group(1), mark.group(2), number, [])
            elif fence and re.match(rf"\s*{re.escape(fence[0])}\s*$", line):
                self.blocks.append((fence[1], fence[2], "\n".join(fence[3])))
                fence = None
            elif fence:
                fence[3].append(line)
            else:
                self.prose.append((number, line))
        self.unclosed = fence[2] if fence else None

    def anchors(self):
        known, seen = set(), {}
        for _, line in self.prose:
            known |= set(re.findall(r'<a (?:id|name)="([^"]+)"', line))
            heading = re.match(r"#{1,6}\s+(.*?)\s*#*$", line)
            if heading:
                words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.group(1)).lower()
                slug = re.sub(r"[^\w\- ]", "", words.replace("`", "")).replace(" ", "-")
                known.add(slug + (f"-{seen[slug]}" if slug in seen else ""))
                seen[slug] = seen.get(slug, 0) + 1
        return known
