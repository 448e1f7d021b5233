"""Self-contained HTML pages with charts and tables, shared by all reports."""
