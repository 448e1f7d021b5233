"""HTML pages parsed for tests: text, attributes and charts."""

import base64
import json
from html.parser import HTMLParser

import numpy as np

EVIL = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'
VOID = {"meta", "link", "br", "img", "input", "hr", "wbr"}


class Page(HTMLParser):
    """Text, attributes and charts of a page; tags not closed in order are an error."""

    def __init__(self, source):
        super().__init__()
        self.open, self.text, self.tags, self.charts = [], [], [], []
        self.after_break = False  # whether a word continues behind a <wbr>
        self.feed(source)
        self.close()
        assert self.open == []
        self.content = " ".join(" ".join(self.text).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.after_break = tag == "wbr"
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.after_break = False

    def handle_data(self, data):
        if self.open[-1:] == ["script"]:
            if self.tags[-1][1].get("type") == "application/json":
                self.charts.append(json.loads(data))
        elif self.open[-1:] != ["style"]:
            if self.after_break:
                self.text[-1] += data
            else:
                self.text.append(data)
            self.after_break = False


def numbers(chart, trace, axis):
    """Return the values of a trace of a chart."""
    return unpacked(chart["data"][trace][axis])


def unpacked(found):
    """Decode an array of numbers, which Plotly stores as base64."""
    if isinstance(found, list):
        return found
    return np.frombuffer(base64.b64decode(found["bdata"]), found["dtype"]).tolist()
