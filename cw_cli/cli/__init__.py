"""The command line: the only place with typer and rich. One small file for each verb, one error boundary."""
