"""What a run and a search leave to look at: `report.html`."""
