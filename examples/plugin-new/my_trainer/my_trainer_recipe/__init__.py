"""The program that runs in the container; it is imported there without cw and without the plugin."""
