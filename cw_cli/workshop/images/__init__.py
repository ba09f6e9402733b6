"""What makes images: the program that builds, what it builds on, and what pip is configured with here."""
