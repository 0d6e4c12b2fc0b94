"""What every other package stands on: atomic writes, signals, memory, remote files, overlapped work."""
