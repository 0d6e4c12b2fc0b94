from segnet.cli import main

main(verb="train")
