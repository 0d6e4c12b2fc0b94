"""Operating system and network: atomic writes, signals, machine errors, remote files, overlapped work."""
