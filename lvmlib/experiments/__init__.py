"""Scripts behind the trained weights that the library ships: each rebuilds one checkpoint from nothing but the data."""
