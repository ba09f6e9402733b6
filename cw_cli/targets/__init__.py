"""Where runs go. Each target is a folder of its own, and none knows another."""
