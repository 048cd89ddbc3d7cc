"""Jobs of a sweep side by side: which of them is better, by how much, and whether that is more than chance."""
