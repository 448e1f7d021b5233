"""Small data with clusters to find: every model must beat popularity on it within seconds."""

PLANTED = ("data=synthetic", "data.n_users=300", "data.n_items=120", "data.n_interactions=9000", "data.n_clusters=6")
