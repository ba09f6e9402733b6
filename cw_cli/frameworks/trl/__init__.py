"""TRL: its framework, and what its configs may hold beyond what its dataclasses say."""
