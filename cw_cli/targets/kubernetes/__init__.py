"""A Kubernetes cluster as a place for runs; the only folder that imports the official client, in `connection.py`."""
