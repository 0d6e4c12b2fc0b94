"""A trained model behind HTTP: a page for people and `POST /predict` for programs. The command is `segnet serve`."""
