"""A written page, read for what it says and draws."""

import json
from html.parser import HTMLParser

EVIL = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Text, attributes and charts of a page; tags that are not closed in their order are an error."""

    def __init__(self, source):
        super().__init__()
        self.open, self.text, self.tags, self.charts = [], [], [], []
        self.feed(source)
        self.close()
        assert self.open == []
        self.said = " ".join(" ".join(self.text).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["script"]:
            if self.tags[-1][1].get("type") == "application/json":
                self.charts.append(json.loads(data))
        elif self.open[-1:] != ["style"]:
            self.text.append(data)
