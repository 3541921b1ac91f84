"""The process: environment, device, random streams, files that appear whole."""
