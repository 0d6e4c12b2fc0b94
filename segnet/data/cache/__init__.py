"""Caches on disk and in memory: decoded samples, fingerprints, cache folders."""
