"""Runs as processes of this machine: what a plan's manifests say, started, supervised and looked after here."""
