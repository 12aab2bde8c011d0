"""One self-contained page about a run: what was done, what came of it, what to look at."""
