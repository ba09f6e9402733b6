"""What is done with plugins as such: asked in a process of their own, checked, made, installed, removed."""
