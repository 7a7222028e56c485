"""A package: IPython 7, which Colab runs, puts a `tests` of its own on the path."""
