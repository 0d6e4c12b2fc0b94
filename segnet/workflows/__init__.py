"""What each verb of the command line does, as a Python function without Hydra."""
