"""How they are trained: the adversarial update, what it receives, the loop."""
