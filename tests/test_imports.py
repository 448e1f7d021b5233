"""Imports of the tests themselves."""

import re

from tests.paths import ROOT

OF_A_TEST = re.compile(r"^\s*(?:import|from)\s+(?:\S*\btest_|tests\S*\s+import\s+.*\btest_)", re.MULTILINE)


def test_no_module_imports_a_test_module():
    files = (ROOT / "tests").rglob("*.py")
    assert [str(file.relative_to(ROOT)) for file in files if OF_A_TEST.search(file.read_text(encoding="utf-8"))] == []
