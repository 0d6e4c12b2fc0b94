"""Lightning callbacks: exact resumption, EMA weights, non-finite losses, progress, profiling."""
