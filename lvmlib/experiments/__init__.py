"""Scripts behind what the library ships: each rebuilds one checkpoint, or the data files, from the data alone."""
