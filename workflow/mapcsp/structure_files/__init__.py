"""Users' structure files: what each of their crystals is, or why it cannot be told; nothing is guessed in silence."""
