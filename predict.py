from segnet.cli import command

command(verb="predict")
