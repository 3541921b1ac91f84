"""The process: environment, device, workers, random streams, files that appear whole."""
