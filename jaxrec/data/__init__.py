"""Data loading: files → `Interactions` → `Split`, in numpy and pandas without JAX."""
