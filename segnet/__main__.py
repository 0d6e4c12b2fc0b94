from segnet.cli import command

command()
