"""What a run leaves, and what is made of it: folders, checkpoints, samples, pictures, films."""
