"""Pages of charts and tables in one file, offline: what reports of runs, searches, pipelines and data are made of."""
