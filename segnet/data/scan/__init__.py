"""The dataset scan that runs before training and in `segnet inspect`, and its report."""
