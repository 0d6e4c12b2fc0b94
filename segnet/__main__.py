from segnet.cli import main

main()
