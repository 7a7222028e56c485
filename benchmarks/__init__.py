"""Side-by-side runs: ours against ours without the cache, against plain PyTorch, and against other libraries."""
