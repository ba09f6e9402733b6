"""What configs may hold, as data: one file per framework, one for cw's own keys, and the programs that make them."""
