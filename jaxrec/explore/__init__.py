"""What is in the data, before anything is trained: Interactions → small tables → charts → one page."""
