"""HTML reports of runs, searches and grids."""
