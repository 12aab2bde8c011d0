"""Which machine: descriptions of clusters, and how to open one."""
